"""Small networks of several tasks, written as files, with sets whose truth they nearly know: boxes, class maps, texts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image

__all__ = ["TOKENS", "detector", "photos_of_blocks", "photos_of_lines", "photos_of_regions", "reader_of_lines", "segmenter"]

TOKENS = "abc"
_COLOURS = np.array([[30, 30, 30], [220, 40, 40], [40, 220, 40], [40, 40, 220]])
_CELL, _SIDE = 8, 4
_PIXELS = _CELL * _SIDE


def detector(path: Path) -> None:
    """Write a network that looks for red and green cells of 8 x 8: outputs ``boxes`` (corners) and ``scores``; blue moves a box."""
    places = np.stack(np.meshgrid(np.arange(_SIDE), np.arange(_SIDE)), axis=-1).reshape(-1, 2) * _CELL
    weights = {
        "look": np.array([[12.0, -6, -6], [-6, 12, -6]])[:, :, None, None],
        "bias": np.array([-3.0, -3]),
        "move": np.tile([[0.0, 0, 2]], (4, 1))[:, :, None, None],
        "anchors": np.concatenate([places, places + _CELL], axis=1)[None],
    }
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[_CELL, _CELL], strides=[_CELL, _CELL]),
        helper.make_node("Conv", ["cells", "look", "bias"], ["seen"]),
        helper.make_node("Sigmoid", ["seen"], ["likely"]),
        helper.make_node("Reshape", ["likely", "two"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["scores"], perm=[0, 2, 1]),
        helper.make_node("Conv", ["cells", "move"], ["moved"]),
        helper.make_node("Reshape", ["moved", "four"], ["shifts"]),
        helper.make_node("Transpose", ["shifts"], ["offsets"], perm=[0, 2, 1]),
        helper.make_node("Add", ["offsets", "anchors"], ["boxes"]),
    ]
    count = _SIDE * _SIDE
    outputs = {"boxes": [1, count, 4], "scores": [1, count, 2]}
    _save(path, nodes, [1, 3, _PIXELS, _PIXELS], outputs, weights, two=np.array([1, 2, count]), four=np.array([1, 4, count]))


def segmenter(path: Path) -> None:
    """Write a network that tells dark, red, green and blue pixels of an image of 16 x 16 apart."""
    weights = {"k": (_COLOURS / 255 - 0.3)[:, :, None, None] * 6, "b": -((_COLOURS / 255) ** 2).sum(axis=1) * 3}
    _save(path, [helper.make_node("Conv", ["image", "k", "b"], ["classes"])], [1, 3, 16, 16], {"classes": [1, 4, 16, 16]}, weights)


def reader_of_lines(path: Path) -> None:
    """Write a network that reads a line of five cells: dark is CTC's blank, colours are letters."""
    weights = {"k": (_COLOURS / 255 - 0.3)[:, :, None, None] * 6, "b": -((_COLOURS / 255) ** 2).sum(axis=1) * 3}
    nodes = [
        helper.make_node("AveragePool", ["image"], ["cells"], kernel_shape=[_CELL, _CELL], strides=[_CELL, _CELL]),
        helper.make_node("Conv", ["cells", "k", "b"], ["seen"]),
        helper.make_node("Reshape", ["seen", "line"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["steps"], perm=[0, 2, 1]),
    ]
    _save(path, nodes, [1, 3, _CELL, 5 * _CELL], {"steps": [1, 5, 4]}, weights, line=np.array([1, 4, 5]))


def photos_of_blocks(folder: Path, count: int, seed: int) -> None:
    """Write noisy photos with red and green cells, twice as large as the detector's input, and COCO's annotations."""
    random = np.random.default_rng(seed)
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    folder.mkdir()
    for number in range(count):
        kinds = np.where(random.random((_SIDE, _SIDE)) < 0.3, random.integers(1, 3, (_SIDE, _SIDE)), 0)
        name = f"{number:03}.png"
        _photo(kinds, 2 * _CELL, random, 60).save(folder / name)
        images.append({"id": number + 1, "file_name": name, "width": 2 * _PIXELS, "height": 2 * _PIXELS})
        for row, column in zip(*np.nonzero(kinds), strict=True):
            box = [float(2 * _CELL * column), float(2 * _CELL * row), 2.0 * _CELL, 2.0 * _CELL]
            one = {"image_id": number + 1, "category_id": int(kinds[row, column]) * 10, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            annotations.append({"id": len(annotations) + 1, **one})
    known = {"images": images, "annotations": annotations, "categories": [{"id": 10, "name": "red"}, {"id": 20, "name": "green"}]}
    (folder / "annotations.json").write_text(json.dumps(known))


def photos_of_regions(folder: Path, count: int, seed: int) -> None:
    """Write noisy photos of 32 x 32 and their class maps, whose upper edge does not count."""
    random = np.random.default_rng(seed)
    (folder / "masks").mkdir(parents=True)
    for number in range(count):
        kinds = random.integers(0, 4, (4, 4))
        _photo(kinds, _CELL, random, 120).save(folder / f"{number:03}.png")
        mask = np.kron(kinds, np.ones((_CELL, _CELL), int)).astype(np.uint8)
        mask[:3] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{number:03}.png")


def photos_of_lines(folder: Path, count: int, seed: int) -> None:
    """Write noisy photos of lines of five cells, and what they say, with the light they were taken in."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "light"])
        for number in range(count):
            kinds = random.integers(0, 4, 5)
            kinds[1:][kinds[1:] == kinds[:-1]] = 0
            night = number % 4 == 0
            _photo(kinds[None], _CELL, random, 900 if night else 300).save(folder / f"{number:03}.png")
            text = "".join(TOKENS[kind - 1] for place, kind in enumerate(kinds) if kind and (not place or kinds[place - 1] != kind))
            writer.writerow([f"{number:03}.png", text or "a", "night" if night else "day"])


def _photo(kinds: np.ndarray, cell: int, random: np.random.Generator, noise: float) -> Image.Image:
    pixels = np.kron(_COLOURS[kinds].transpose(2, 0, 1), np.ones((1, cell, cell))).transpose(1, 2, 0)
    return Image.fromarray(np.clip(pixels + random.normal(0, noise, pixels.shape), 0, 255).astype(np.uint8))


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    shape: list[int],
    outputs: dict[str, list[int]],
    weights: dict[str, np.ndarray],
    **whole: np.ndarray,
) -> None:
    floats = onnx.TensorProto.FLOAT
    constants = {name: array.astype(np.float32) for name, array in weights.items()} | whole
    body = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", floats, shape)],
        [helper.make_tensor_value_info(name, floats, sides) for name, sides in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    onnx.save(helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)

"""Operators that change an image's size without weights: resizing, and moving channels into pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.runtimes.tflite.chain import chained, picked
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import NHWC
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

_LINEAR = frozenset({"align_corners", "asymmetric", "half_pixel", "half_pixel_symmetric", "pytorch_half_pixel"})


def _resize(e: Emission, node: Node) -> None:
    before, after = e.graph.shapes[node.inputs[0]], e.graph.shapes[node.outputs[0]]
    if len(before) != 4 or before[:2] != after[:2]:
        raise Unsupported("it resizes other axes than those of an image", fix="resize the last two of four dimensions only")
    if node.attrs.get("antialias") or _transformation(node) == "tf_crop_and_resize":
        raise Unsupported("it crops or antialiases", fix="export a plain resize")
    mode = node.attrs.get("mode", "nearest")
    if mode == "nearest":
        _nearest(e, node)
    elif mode == "linear":
        _linear(e, node)
    else:
        raise Unsupported(f"{mode} interpolation", fix="resize by 'linear' or 'nearest'")


def _transformation(node: Node) -> str:
    return str(node.attrs.get("coordinate_transformation_mode", "half_pixel"))


def _linear(e: Emission, node: Node) -> None:
    """RESIZE_BILINEAR, which samples by the ratio of the sizes."""
    name, out, transformation = node.inputs[0], node.outputs[0], _transformation(node)
    before, after = e.graph.shapes[name][2:], e.graph.shapes[out][2:]
    if transformation not in _LINEAR:
        raise Unsupported(f"linear interpolation by {transformation!r}", fix="resize with coordinate_transformation_mode 'half_pixel'")
    uneven = any(abs(b * s - a) > 1e-3 for a, b, s in zip(after, before, _scales(e, node), strict=True))
    if uneven and transformation != "align_corners":
        raise Unsupported(f"its scales {_scales(e, node)} do not give whole sizes", fix="export the model with sizes instead of scales")
    # Of one pixel PyTorch takes the first, not the middle.
    if transformation == "pytorch_half_pixel" and any(a == 1 != b for a, b in zip(after, before, strict=True)):
        raise Unsupported("it resizes to one pixel by 'pytorch_half_pixel'", fix="take a mean instead")
    half, corners = "half_pixel" in transformation, transformation == "align_corners"
    inputs = [e.read(name, NHWC), e.integers("size", after)]
    e.op("RESIZE_BILINEAR", inputs, [e.declare(out, NHWC)], "ResizeBilinearOptions", halfPixelCenters=half, alignCorners=corners)


def _nearest(e: Emission, node: Node) -> None:
    """RESIZE_NEAREST_NEIGHBOR where it picks the pixels ONNX does; else a GATHER of them along each axis."""
    name, out = node.inputs[0], node.outputs[0]
    before, after = e.graph.shapes[name][2:], e.graph.shapes[out][2:]
    places = [_nearest_places(node, b, a, s) for b, a, s in zip(before, after, _scales(e, node), strict=True)]
    source = e.read(name, NHWC)
    # TensorFlow, kernels/internal/reference/resize_nearest_neighbor.h: floor(x * in / out), in float32.
    own = [np.minimum(np.floor(np.arange(a, dtype=np.float32) * np.float32(b / a)), b - 1) for b, a in zip(before, after, strict=True)]
    if all(np.array_equal(one, other) for one, other in zip(own, places, strict=True)):
        inputs = [source, e.integers("size", after)]
        e.op("RESIZE_NEAREST_NEIGHBOR", inputs, [e.declare(out, NHWC)], "ResizeNearestNeighborOptions")
    else:
        changed = ((axis, at) for axis, at in enumerate(places, start=1) if not np.array_equal(at, np.arange(e.writer.shape(source)[axis])))
        chained(e, out, NHWC, source, picked(e, e.writer.shape(source), changed))


def _scales(e: Emission, node: Node) -> list[float]:
    """Return by how much height and width grow: as given, else by the sizes."""
    before, after = e.graph.shapes[node.inputs[0]], e.graph.shapes[node.outputs[0]]
    given = e.weight(node.inputs[2]).tolist() if len(node.inputs) > 2 and node.inputs[2] else []
    if len(given) == 4:
        return [float(scale) for scale in given[2:]]
    return [a / b for a, b in zip(after[2:], before[2:], strict=True)]


def _nearest_places(node: Node, before: int, after: int, scale: float) -> Array:
    """Return which pixel each output pixel takes (ONNX operator Resize, ``coordinate_transformation_mode``, ``nearest_mode``).

    In float32, as onnxruntime does, for places half-way between two pixels are common.
    """
    x, factor, half = np.arange(after, dtype=np.float32), np.float32(scale), np.float32(0.5)
    transformation, rule = _transformation(node), node.attrs.get("nearest_mode", "round_prefer_floor")
    if transformation == "asymmetric":
        whole = abs(scale * before - after) < 1e-3
        origin = x * np.float32(before) / np.float32(after) if whole else x / factor
    elif transformation == "align_corners":
        origin = x * np.float32((before - 1) / (after - 1)) if after > 1 else 0 * x
    elif transformation == "half_pixel_symmetric":
        adjustment = np.float32(after) / (factor * np.float32(before))
        origin = np.float32(before / 2) * (1 - adjustment) + (x + half) / factor - half
    elif transformation == "pytorch_half_pixel" and after == 1:
        origin = 0 * x
    else:
        origin = (x + half) / factor - half
    rounded = {
        "floor": np.floor(origin),
        "ceil": np.ceil(origin),
        "round_prefer_floor": np.ceil(origin - half),
        "round_prefer_ceil": np.floor(origin + half),
    }[str(rule)]
    places: Array = np.clip(rounded, 0, before - 1).astype(np.int64)
    return places


def _blocks(code: str, options: str) -> Callable[[Emission, Node], None]:
    def lower(e: Emission, node: Node) -> None:
        if node.attrs.get("mode", "DCR") != "DCR":
            raise Unsupported("its mode is CRD", fix="prepare the graph for this runtime before planning it")
        source = e.read(node.inputs[0], NHWC)
        e.op(code, [source], [e.declare(node.outputs[0], NHWC)], options, blockSize=int(node.attrs["blocksize"]))

    return lower


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "DepthToSpace": Operator(_blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"), same_scale=True, moves=True),
        "Resize": Operator(_resize, same_scale=True),
        "SpaceToDepth": Operator(_blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"), same_scale=True, moves=True),
    }
)

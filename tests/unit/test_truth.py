"""What is true of a sample and is no class: each form of dataset, each kind of truth, and the columns beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgekit.dataset import Dataset, open_dataset
from edgekit.errors import InputError
from edgekit.metrics import Truth

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 6, 8, 3), dtype=np.uint8)
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "0.png"}, {"id": 9, "file_name": "1.png"}, {"id": 8, "file_name": "2.png", "licence": 3}],
    "annotations": [
        {"id": 1, "image_id": 9, "category_id": 20, "bbox": [1, 2, 3, 4], "area": 10.5, "iscrowd": 1, "segmentation": []},
        {"id": 2, "image_id": 9, "category_id": 3, "bbox": [0, 0, 2.5, 2]},
    ],
    "categories": [{"id": 20, "name": "cat"}, {"id": 3, "name": "dog"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images" / "masks").mkdir(parents=True)
    for number, pixels in enumerate(PIXELS):
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number}.png")
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(tmp_path / "images" / "masks" / f"{number}.png")
    return tmp_path


def read(word: str, folder: Path, truth: Truth, **options: Any) -> Dataset:
    return open_dataset(word, folder, folder / "container.npz", truth=truth, **options)


def truths(found: Dataset) -> list[dict[str, Any]]:
    assert found.labels is None
    assert found.truths is not None
    return list(found.truths)


def test_boxes_of_a_coco_file_with_classes_in_the_order_of_their_ids(folder: Path) -> None:
    (folder / "images" / "annotations.json").write_text(json.dumps(COCO))
    none, two, _ = truths(read("images", folder, "boxes"))
    assert none["boxes"].shape == (0, 4)
    assert none["size"].tolist() == [6, 8]
    assert two["boxes"].tolist() == [[1, 2, 3, 4], [0, 0, 2.5, 2]]
    assert (two["classes"].tolist(), two["crowd"].tolist(), two["area"].tolist()) == ([1, 0], [1, 0], [10.5, 5])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": COCO["images"][:2]}, "image 8"),
        ({"annotations": [{"image_id": 9, "category_id": 4, "bbox": [0, 0, 1, 1]}]}, "category 4"),
        ({"annotations": [{"image_id": 9, "category_id": 3, "bbox": [0, 0, -1, 1]}]}, "bbox"),
        ({"categories": 3}, "categories"),
    ],
)
def test_a_coco_file_that_contradicts_itself_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    known = {**COCO, **changes}
    if "images" in changes:
        known["annotations"] = [{"image_id": 8, "category_id": 3, "bbox": [0, 0, 1, 1]}]
    (folder / "images" / "annotations.json").write_text(json.dumps(known))
    with pytest.raises(InputError, match=message):
        read("images", folder, "boxes")


def test_without_a_coco_file_there_are_no_boxes(folder: Path) -> None:
    with pytest.raises(InputError, match=r"annotations\.json: boxes stand in it"):
        read("images", folder, "boxes")


def test_masks_beside_the_images_or_named(folder: Path) -> None:
    assert [int(one["mask"].max()) for one in truths(read("images", folder, "mask"))] == [0, 1, 2]
    (folder / "images" / "labels.csv").write_text("file,mask,site\n2.png,masks/1.png,a\n0.png,masks/2.png,b\n")
    found = read("images", folder, "mask")
    assert [int(one["mask"].max()) for one in truths(found)] == [1, 2]
    assert found.columns == {"site": ("a", "b")}


def test_texts_and_columns_of_a_list(folder: Path) -> None:
    (folder / "images" / "labels.csv").write_text('file,label,light,n\n0.png,"nö, 12",day,1\n1.png,7,night,\n')
    found = read("images", folder, "text")
    assert [bytes(one["text"]).decode() for one in truths(found)] == ["nö, 12", "7"]
    assert found.columns == {"light": ("day", "night"), "n": ("1", "")}
    (folder / "images" / "labels.csv").write_text("file,label\n0.png,nö, 12\n")
    with pytest.raises(InputError, match=r"labels\.csv:2: it has not as many fields"):
        read("images", folder, "text")


@pytest.mark.parametrize(
    ("truth", "y", "key"),
    [
        ("vector", np.ones((3, 4), np.float32), "vector"),
        ("mask", np.ones((3, 6, 8), np.int64), "mask"),
        ("text", np.array(["a", "b", ""]), "text"),
        ("any", np.arange(3), "label"),
    ],
)
def test_y_of_an_npz(folder: Path, truth: Truth, y: Any, key: str) -> None:
    np.savez(folder / "set.npz", x=PIXELS, y=y, site=np.array(["a", "b", "a"]))
    found = read("set.npz", folder, truth)
    assert {key} < set(truths(found)[0])
    assert found.columns == {"site": ("a", "b", "a")}
    assert found.arrays == ("x",)


@pytest.mark.parametrize(
    ("truth", "y", "message"),
    [
        ("vector", np.array([["a"]] * 3), "no vector"),
        ("mask", np.full((3, 6, 8), -1), "no mask"),
        ("mask", np.ones((3, 6, 8)), "no mask"),
        ("text", np.arange(3), "no text"),
        ("vector", np.full((3, 2), np.nan), "no vector"),
        ("boxes", np.ones((3, 4)), "no boxes"),
    ],
)
def test_a_truth_of_another_kind_is_refused(folder: Path, truth: Truth, y: Any, message: str) -> None:
    np.savez(folder / "set.npz", x=PIXELS, y=y)
    with pytest.raises(InputError, match=message):
        read("set.npz", folder, truth)


def test_a_class_beside_vectors_says_nothing_of_them(folder: Path) -> None:
    np.savez(folder / "set.npz", x=PIXELS, y=np.arange(3))
    assert read("set.npz", folder, "vector").truths is None


def test_a_function_gives_truth_and_columns(folder: Path) -> None:
    (folder / "street_samples.py").write_text(
        "import numpy as np\n"
        "def load():\n"
        "    for n in range(3):\n"
        "        boxes = dict(boxes=np.ones((n, 4)), classes=[1] * n)\n"
        "        yield np.zeros((4, 5, 3), np.uint8), boxes, dict(site='ab'[n % 2])\n"
    )
    found = read("street_samples:load", folder, "boxes")
    assert [len(one["boxes"]) for one in truths(found)] == [0, 1, 2]
    assert found.columns == {"site": ("a", "b", "a")}


def test_the_truth_is_part_of_what_names_a_set(folder: Path) -> None:
    digests = set()
    for text in ("a", "b"):
        np.savez(folder / "set.npz", x=PIXELS, y=np.array([text] * 3))
        digests.add(read("set.npz", folder, "text").sha256)
    digests.add(read("set.npz", folder, "none").sha256)
    assert len(digests) == 3


def test_a_truth_for_some_samples_is_none(folder: Path) -> None:
    (folder / "images" / "masks" / "1.png").unlink()
    with pytest.raises(InputError, match="2 of 3 samples have a truth"):
        read("images", folder, "mask")


def test_as_many_samples_as_there_are_up_to_a_number(folder: Path) -> None:
    assert len(read("images", folder, "none", at_most=200)) == 3
    assert len(read("images", folder, "none", count=3, at_most=2)) == 2
    with pytest.raises(InputError, match="5 were asked for"):
        read("images", folder, "none", count=5, at_most=200)


def test_three_rows_are_a_sample(folder: Path) -> None:
    (folder / "row_samples.py").write_text("def load():\n    yield [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]\n")
    (sample,) = read("row_samples:load", folder, "class")
    assert sample["x"].shape == (3, 2)


def test_truths_of_two_kinds_are_refused(folder: Path) -> None:
    (folder / "mixed_samples.py").write_text("def load():\n    yield [[1.0]], 'a'\n    yield [[1.0]], 3\n")
    with pytest.raises(InputError, match=r"mixed_samples:load\[1\]: its truth holds label; the first one text"):
        read("mixed_samples:load", folder, "any")

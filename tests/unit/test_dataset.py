"""Datasets: three forms, one digest, and a message for each thing that can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.dataset import open_dataset, refuse_overlap
from edgekit.errors import InputError


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path, pixels: np.ndarray) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(images / f"{number}.png")
    rows = "".join(f"{number}.png,{number % 3}\n" for number in range(len(pixels)))
    (images / "labels.csv").write_text("file,label\n" + rows)
    np.savez_compressed(tmp_path / "set.npz", x=pixels, y=np.arange(len(pixels)) % 3)
    return tmp_path


def test_folder_and_npz_of_the_same_images_are_the_same_dataset(folder: Path) -> None:
    images, packed = open_dataset("images", folder), open_dataset("set.npz", folder)
    assert images.sha256 == packed.sha256
    assert images.labels == (0, 1, 2, 0, 1, 2)
    assert len(images) == 6


def test_skip_and_samples_cut_a_window(folder: Path, pixels: np.ndarray) -> None:
    part = open_dataset("set.npz", folder, skip=2, samples=3)
    assert len(part) == 3
    assert all((sample.x == want).all() for sample, want in zip(part, pixels[2:5], strict=True))
    assert part.sha256 != open_dataset("set.npz", folder).sha256


def test_function(folder: Path, pixels: np.ndarray) -> None:
    code = "import numpy as np\ndef load():\n    for i in range(4):\n        yield np.full((2,), i), i\n"
    (folder / "my_meter_samples.py").write_text(code)
    found = open_dataset("my_meter_samples:load", folder)
    assert found.labels == (0, 1, 2, 3)
    assert [int(sample.x[0]) for sample in found] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="my_meter_samples:lod"):
        open_dataset("my_meter_samples:lod", folder)


def test_images_without_labels(folder: Path) -> None:
    (folder / "images" / "labels.csv").unlink()
    assert open_dataset("images", folder).labels is None


def test_one_unreadable_image_is_named(folder: Path) -> None:
    broken = folder / "images" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=r"images/3\.png: not a readable image"):
        len(open_dataset("images", folder))


def test_overlap_is_refused(folder: Path) -> None:
    whole, part = open_dataset("set.npz", folder), open_dataset("images", folder, skip=4)
    with pytest.raises(InputError, match="share 2 samples, the first is evaluation sample 0"):
        refuse_overlap(whole, part)
    refuse_overlap(open_dataset("set.npz", folder, samples=4), part)


@pytest.mark.parametrize(
    ("word", "message"),
    [("nowhere", "no such dataset"), ("text.txt", "not a dataset"), ("empty", "no images in it"), ("junk.npz", "not a readable .npz")],
)
def test_no_dataset_there(folder: Path, word: str, message: str) -> None:
    (folder / "text.txt").write_text("hello")
    (folder / "empty").mkdir()
    (folder / "junk.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match=message):
        len(open_dataset(word, folder))


def test_npz_must_hold_x_and_matching_y(folder: Path, pixels: np.ndarray) -> None:
    np.savez(folder / "noname.npz", data=pixels)
    np.savez(folder / "short.npz", x=pixels, y=np.zeros(3, dtype=np.int64))
    np.savez(folder / "float.npz", x=pixels, y=np.zeros(6))
    for word, message in (("noname.npz", "no array 'x'"), ("short.npz", "y"), ("float.npz", "whole numbers")):
        with pytest.raises(InputError) as caught:
            len(open_dataset(word, folder))
        assert message in f"{caught.value.message} {caught.value.fix}"


def test_pickles_are_never_loaded(folder: Path) -> None:
    np.savez(folder / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not a readable"):
        len(open_dataset("objects.npz", folder))


def test_labels_must_be_whole_numbers(folder: Path) -> None:
    (folder / "images" / "labels.csv").write_text("file,label\n0.png,seven\n")
    with pytest.raises(InputError, match=r"labels\.csv:2: the label 'seven'"):
        open_dataset("images", folder)
    (folder / "images" / "labels.csv").write_text("name,class\n0.png,7\n")
    with pytest.raises(InputError, match="no column 'file'"):
        open_dataset("images", folder)

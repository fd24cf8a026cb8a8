"""Datasets: three forms, one digest, and a message for each thing that can be wrong."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.dataset import Dataset, open_dataset, refuse_overlap
from edgekit.errors import InputError


def read(word: str, folder: Path, *, skip: int = 0, samples: int | None = None) -> Dataset:
    """Open a dataset with a container of its own."""
    return open_dataset(word, folder, folder / f"{uuid.uuid4().hex}.container", skip=skip, count=samples)


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
    images, packed = read("images", folder), read("set.npz", folder)
    assert images.sha256 == packed.sha256
    assert images.labels == (0, 1, 2, 0, 1, 2)
    assert len(images) == 6


def test_skip_and_samples_cut_a_window(folder: Path, pixels: np.ndarray) -> None:
    part = read("set.npz", folder, skip=2, samples=3)
    assert len(part) == 3
    assert all((x == want).all() for x, want in zip(part, pixels[2:5], strict=True))
    assert part.sha256 != read("set.npz", folder).sha256


def test_function(folder: Path, pixels: np.ndarray) -> None:
    code = "import numpy as np\ndef load():\n    for i in range(4):\n        yield np.full((2,), i), i\n"
    (folder / "my_meter_samples.py").write_text(code)
    found = read("my_meter_samples:load", folder)
    assert found.labels == (0, 1, 2, 3)
    assert [int(x[0]) for x in found] == [0, 1, 2, 3]
    with pytest.raises(InputError, match="my_meter_samples:lod"):
        read("my_meter_samples:lod", folder)


def test_images_without_labels(folder: Path) -> None:
    (folder / "images" / "labels.csv").unlink()
    assert read("images", folder).labels is None


def test_one_unreadable_image_is_named(folder: Path) -> None:
    broken = folder / "images" / "3.png"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(InputError, match=r"images/3\.png: not a readable image"):
        read("images", folder)


def test_overlap_is_refused(folder: Path) -> None:
    whole, part = read("set.npz", folder), read("images", folder, skip=4)
    with pytest.raises(InputError, match="share 2 samples, the first is evaluation sample 0"):
        refuse_overlap(whole, part)
    refuse_overlap(read("set.npz", folder, samples=4), part)


@pytest.mark.parametrize(
    ("word", "message"),
    [("nowhere", "no such dataset"), ("text.txt", "not a dataset"), ("empty", "no images in it"), ("junk.npz", "not a readable .npz")],
)
def test_no_dataset_there(folder: Path, word: str, message: str) -> None:
    (folder / "text.txt").write_text("hello")
    (folder / "empty").mkdir()
    (folder / "junk.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InputError, match=message):
        read(word, folder)


def test_npz_must_hold_x_and_matching_y(folder: Path, pixels: np.ndarray) -> None:
    np.savez(folder / "noname.npz", data=pixels)
    np.savez(folder / "short.npz", x=pixels, y=np.zeros(3, dtype=np.int64))
    np.savez(folder / "float.npz", x=pixels, y=np.zeros(6))
    for word, message in (("noname.npz", "no array 'x'"), ("short.npz", "y"), ("float.npz", "whole numbers")):
        with pytest.raises(InputError) as caught:
            read(word, folder)
        assert message in f"{caught.value.message} {caught.value.fix}"


def test_pickles_are_never_loaded(folder: Path) -> None:
    np.savez(folder / "objects.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(InputError, match="not a readable"):
        read("objects.npz", folder)


def test_labels_must_be_whole_numbers(folder: Path) -> None:
    (folder / "images" / "labels.csv").write_text("file,label\n0.png,seven\n")
    with pytest.raises(InputError, match=r"labels\.csv:2: the label 'seven'"):
        read("images", folder)
    (folder / "images" / "labels.csv").write_text("name,class\n0.png,7\n")
    with pytest.raises(InputError, match="no column 'file'"):
        read("images", folder)


def test_every_pass_is_the_same_even_for_a_loader_that_shuffles(folder: Path) -> None:
    code = "import random\nimport numpy as np\ndef load():\n    rows = list(range(50))\n    random.shuffle(rows)\n    for i in rows:\n"
    (folder / "my_shuffled_samples.py").write_text(code + "        yield np.full((2,), i), i\n")
    found = read("my_shuffled_samples:load", folder)
    assert [int(x[0]) for x in found] == [int(x[0]) for x in found] == list(found.labels or ())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise RuntimeError('no camera')", "RuntimeError: no camera"),
        ("return None", "TypeError"),
        ("return ['text']", "not numbers"),
        ("return [(np.ones(2), 'seven')]", "ValueError"),
        ("return [(np.ones(2), -1)]", "negative"),
        ("return [np.array([1.0, np.nan])]", "not finite"),
        ("return []", "0 samples"),
    ],
)
def test_a_function_that_fails_is_the_users_error(folder: Path, body: str, message: str) -> None:
    name = f"my_module_{abs(hash(body))}"
    (folder / f"{name}.py").write_text(f"import numpy as np\ndef load():\n    {body}\n")
    with pytest.raises(InputError) as caught:
        read(f"{name}:load", folder)
    assert message in caught.value.message


def test_pairs_may_be_lists(folder: Path) -> None:
    (folder / "my_list_samples.py").write_text("import numpy as np\ndef load():\n    return [[np.ones(3), 1], [np.zeros(3), 0]]\n")
    assert read("my_list_samples:load", folder).labels == (1, 0)


def test_fewer_samples_than_asked_for(folder: Path) -> None:
    with pytest.raises(InputError, match="6 samples after the first 0, 7 were asked for"):
        read("set.npz", folder, samples=7)
    with pytest.raises(InputError, match="0 samples after the first 6"):
        read("set.npz", folder, skip=6)


def test_labels_as_a_spreadsheet_writes_them(folder: Path) -> None:
    (folder / "images" / "labels.csv").write_bytes("\ufefffile,label\r\n0.png,4\r\n".encode())
    assert read("images", folder).labels == (4,)
    (folder / "images" / "labels.csv").write_bytes(b"file,label\nm\xfchle.png,1\n")
    with pytest.raises(InputError, match="UTF-8"):
        read("images", folder)


def test_one_example_of_each_shape(folder: Path) -> None:
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(folder / "images" / "odd.png")
    with (folder / "images" / "labels.csv").open("a") as file:
        file.write("odd.png,1\n")
    assert [sample.x.shape for sample in read("images", folder).examples] == [(8, 8, 3), (4, 5, 3)]

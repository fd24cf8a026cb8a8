"""Datasets: three forms, one digest, and a message for each thing that can be wrong."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

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
    assert all((sample["x"] == want).all() for sample, want in zip(part, pixels[2:5], strict=True))
    assert part.sha256 != read("set.npz", folder).sha256


@pytest.mark.parametrize(
    ("inputs", "taken"),
    [
        (["image"], {"x"}),
        (["x"], {"x"}),
        (["more"], {"x"}),
        (["x", "more"], {"more", "x"}),
        (["image", "mask"], {"more", "x"}),
        (None, {"more", "x"}),
    ],
)
def test_what_no_input_takes_is_left_out(folder: Path, pixels: np.ndarray, inputs: list[str] | None, taken: set[str]) -> None:
    np.savez(folder / "more.npz", x=pixels, y=np.zeros(6, np.int64), more=np.arange(6))
    found = open_dataset("more.npz", folder, folder / "more.container", inputs=inputs)
    assert set(found.arrays) == taken
    assert all(set(sample) == taken for sample in found)


def test_function(folder: Path, pixels: np.ndarray) -> None:
    code = "import numpy as np\ndef load():\n    for i in range(4):\n        yield np.full((2,), i), i\n"
    (folder / "my_meter_samples.py").write_text(code)
    found = read("my_meter_samples:load", folder)
    assert found.labels == (0, 1, 2, 3)
    assert [int(sample["x"][0]) for sample in found] == [0, 1, 2, 3]
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
    np.savez(folder / "noname.npz", y=np.arange(6))
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
    assert [int(sample["x"][0]) for sample in found] == [int(sample["x"][0]) for sample in found] == list(found.labels or ())


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
        ("return [{'a': np.ones(2)}, {'b': np.ones(2)}]", "[1]: holds the arrays b; "),
        ("return [{'a': np.ones(2), 'b': ['text']}]", "[0]: b: holds <U4, not numbers"),
        ("return [{'a': np.ones(2), 'b\\n': np.ones(2)}]", "no name for an array"),
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
    assert [sample.arrays["x"].shape for sample in read("images", folder).examples] == [(8, 8, 3), (4, 5, 3)]


TEXTS: dict[str, Any] = {"ids": np.arange(12).reshape(4, 3), "mask": np.ones((4, 3), bool)}


def test_an_npz_holds_an_array_for_each_input(folder: Path) -> None:
    np.savez(folder / "texts.npz", y=np.arange(4) % 2, **TEXTS)
    found = read("texts.npz", folder, skip=1, samples=2)
    assert (found.arrays, found.labels, len(found)) == (("ids", "mask"), (1, 0), 2)
    for number, sample in enumerate(found, start=1):
        assert {name: x.tolist() for name, x in sample.items()} == {name: x[number].tolist() for name, x in TEXTS.items()}
        assert [sample[name].dtype for name in TEXTS] == [np.int64, bool]


def test_a_function_gives_an_array_for_each_input(folder: Path) -> None:
    code = "import numpy as np\ndef load():\n    for i in range(4):\n"
    code += "        yield {'ids': np.arange(3) + 3 * i, 'mask': np.ones(3, bool)}, i % 2\n"
    (folder / "my_text_samples.py").write_text(code)
    np.savez(folder / "texts.npz", y=np.arange(4) % 2, **TEXTS)
    found = read("my_text_samples:load", folder)
    assert found.sha256 == read("texts.npz", folder).sha256
    with pytest.raises(InputError, match="share 4 samples"):
        refuse_overlap(found, read("texts.npz", folder))


def test_samples_may_differ_in_length(folder: Path) -> None:
    (folder / "my_long_samples.py").write_text("import numpy as np\ndef load():\n    return [np.arange(1 + i % 3) for i in range(9)]\n")
    found = read("my_long_samples:load", folder)
    assert [sample["x"].size for sample in found] == [1, 2, 3] * 3
    assert [example.arrays["x"].size for example in found.examples] == [1, 2, 3]


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_npz_is_read_as_it_was_written(folder: Path, save: Callable[..., None], order: Literal["C", "F"]) -> None:
    x = np.asarray(np.random.default_rng(0).normal(size=(7, 3, 5)).astype(">f4"), order=order)
    save(folder / "some.npz", x=x, y=np.arange(7, dtype=np.uint8))
    found = read("some.npz", folder, skip=2)
    assert found.labels == (2, 3, 4, 5, 6)
    assert np.array_equal([sample["x"] for sample in found], x[2:])


def test_arrays_of_several_lengths_are_no_set(folder: Path) -> None:
    np.savez(folder / "mixed.npz", x_train=np.zeros((6, 2)), x_test=np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"x_train \[6, 2\], x_test \[3, 2\], and must be of one length"):
        read("mixed.npz", folder)


@pytest.mark.parametrize("place", [300, -200, -60])
def test_a_damaged_npz_is_refused(folder: Path, place: int, pixels: np.ndarray) -> None:
    data = bytearray((folder / "set.npz").read_bytes())
    data[place : place + 8] = b"\xff" * 8
    (folder / "set.npz").write_bytes(data)
    with pytest.raises(InputError, match=r"set\.npz: not a readable \.npz"):
        read("set.npz", folder)


MEMORY = """
import re, sys
from pathlib import Path
from edgekit.dataset import open_dataset

def peak_mib(word):
    open_dataset(word, Path(sys.argv[1]), Path(sys.argv[1]) / "container")
    return int(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1]) / 1024

print(peak_mib("few.npz"), peak_mib("many.npz"), peak_mib("my_uneven_samples:load"))
"""


def test_memory_does_not_grow_with_the_set(tmp_path: Path) -> None:
    """Reading the larger .npz whole would show as 117 MiB, keeping one image of each size as 75."""
    code = "import numpy as np\n\ndef load():\n    for side in range(400):\n        yield np.zeros((256, 56 + side, 3), np.uint8)\n"
    (tmp_path / "my_uneven_samples.py").write_text(code)
    np.savez_compressed(tmp_path / "few.npz", x=np.zeros((20, 256, 256, 3), np.uint8))
    np.savez_compressed(tmp_path / "many.npz", x=np.zeros((625, 256, 256, 3), np.uint8))
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", MEMORY, str(tmp_path)], cwd=root, capture_output=True, text=True, check=True)
    few, many, uneven = (float(word) for word in done.stdout.split())
    assert uneven - few < 15
    assert many - few < 15

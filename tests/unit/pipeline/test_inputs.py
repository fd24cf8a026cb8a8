"""`build` of networks with several inputs: from the samples through the device's agent to the proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import open_bundle
from edgekit.errors import InputError
from edgekit.ondevice.samples import Samples
from edgekit.parse import into
from edgekit.pipeline.build import Built, build
from edgekit.project import Project
from edgekit.target import load_target
from tests.unit.pipeline.networks import CLASSES, TOKENS, fusion, reader, texts

RNG = np.random.default_rng(11)
IMAGES = RNG.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8)
FACTS = RNG.standard_normal((60, 5)).astype(np.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fusion(tmp_path / "net.onnx")
    np.savez(tmp_path / "cal.npz", image=IMAGES[:20], facts=FACTS[:20])
    np.savez(tmp_path / "eval.npz", image=IMAGES[20:], facts=FACTS[20:], y=np.arange(40) % CLASSES)
    return tmp_path


def run(folder: Path, *, target: str = "local", **sections: dict[str, Any]) -> Built:
    base = {"preprocess": {"scale": 1 / 255}, "calibration": {"dataset": "cal.npz"}, "evaluation": {"dataset": "eval.npz"}}
    project = into({**base, **sections}, Project, "test")
    return build(project, folder, load_target(target), model_path=folder / "net.onnx", output=folder / "out")


def sqnr(built: Built) -> float:
    (value,) = [m.value for m in built.report.measurements if m.name == "output_sqnr"]
    assert value is not None
    return value


@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_an_image_and_a_vector(folder: Path, io_dtype: str, tmp_path: Path) -> None:
    built = run(folder, build={"io_dtype": io_dtype})
    assert sqnr(built) > 20
    assert [(spec.name, spec.shape) for spec in built.manifest.inputs] == [("facts", (1, 5)), ("image", (1, 8, 8, 3))]
    assert (built.manifest.preprocess["inputs"], built.manifest.preprocess["layout"]) == (["image"], "nhwc")
    with open_bundle(built.path) as bundle:
        (tmp_path / "golden").write_bytes(bundle.read(built.manifest.golden.samples))
    with Samples(tmp_path / "golden") as golden:
        assert golden.arrays == ("facts", "image")
        assert np.array_equal(golden[1]["image"], IMAGES[21])
        assert np.array_equal(golden[1]["facts"], FACTS[21])


def test_the_order_of_arrays_and_inputs_is_of_no_matter(folder: Path) -> None:
    first = run(folder)
    np.savez(folder / "cal.npz", facts=FACTS[:20], image=IMAGES[:20])
    assert run(folder).path.name == first.path.name


def test_random_data_feeds_every_input(folder: Path) -> None:
    project = into({"preprocess": {"scale": 1 / 255}, "evaluation": {"dataset": "eval.npz"}}, Project, "test")
    target = load_target("local")
    built = build(project, folder, target, model_path=folder / "net.onnx", output=folder / "out", allow_random=True)
    assert built.manifest.taints == ("calibrated on random data",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMAGES[:20]}, "cal.npz holds the arrays image; the model's inputs are facts, image"),
        ({"x": IMAGES[:20]}, "cal.npz holds the arrays x"),
        ({"image": IMAGES[:20], "facts": FACTS[:20, :4]}, "the shape of its facts is [1, 4], the model's input 'facts' takes [1, 5]"),
    ],
)
def test_samples_that_do_not_fit_are_named(folder: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(folder / "cal.npz", **arrays)
    with pytest.raises(InputError) as refused:
        run(folder)
    assert message in refused.value.message


def test_an_image_that_goes_in_as_it_is_cannot_be_turned(folder: Path) -> None:
    for name, part in (("cal", slice(0, 20)), ("eval", slice(20, 60))):
        np.savez(folder / f"{name}.npz", image=IMAGES[part].transpose(0, 3, 1, 2) / np.float32(255), facts=FACTS[part])
    with pytest.raises(InputError, match="'image' goes in as it is"):
        run(folder, preprocess={"inputs": []})
    assert sqnr(run(folder, preprocess={"inputs": []}, build={"layout": "nchw"})) > 20


@pytest.fixture
def texts_folder(tmp_path: Path) -> Path:
    reader(tmp_path / "net.onnx")
    for name, count, seed in (("cal", 60, 1), ("eval", 80, 2)):
        ids, mask = texts(count, seed)
        np.savez(tmp_path / f"{name}.npz", input_ids=ids, attention_mask=mask, y=np.arange(count) % CLASSES)
    return tmp_path


SHAPES = {"input_ids": [1, TOKENS], "attention_mask": [1, TOKENS]}


@pytest.mark.parametrize(
    ("target", "section", "dtype"),
    [("local", {"io_dtype": "int8"}, "int32"), ("local", {"io_dtype": "float32"}, "int32"), ("edge-x86", {}, "int64")],
)
def test_token_ids_and_their_mask(texts_folder: Path, target: str, section: dict[str, str], dtype: str) -> None:
    built = run(texts_folder, target=target, model={"shapes": SHAPES}, preprocess={}, build=section)
    assert sqnr(built) > 20
    assert {(spec.name, spec.dtype) for spec in built.manifest.inputs} == {("input_ids", dtype), ("attention_mask", dtype)}
    assert built.manifest.preprocess["inputs"] == []


def test_texts_of_any_length_are_padded_where_declared(texts_folder: Path) -> None:
    """A set of short texts, padded as declared, is the set of padded ones."""
    padded = run(texts_folder, model={"shapes": SHAPES}, preprocess={})
    code = "import numpy as np\n\ndef {name}():\n    held = np.load('{path}')\n"
    code += "    for ids, mask, y in zip(held['input_ids'], held['attention_mask'], held['y']):\n"
    code += "        yield {{'input_ids': ids[: mask.sum()], 'attention_mask': mask[: mask.sum()]}}, y\n"
    (texts_folder / "my_short_texts.py").write_text(
        "".join(code.format(name=name, path=texts_folder / f"{name}.npz") for name in ("cal", "eval"))
    )
    sets: dict[str, Any] = {"calibration": {"dataset": "my_short_texts:cal"}, "evaluation": {"dataset": "my_short_texts:eval"}}
    with pytest.raises(InputError, match="the shape of its input_ids is") as refused:
        run(texts_folder, model={"shapes": SHAPES}, preprocess={}, **sets)
    assert "pad = { input_ids = 0 } under [preprocess]" in str(refused.value.fix)
    short = run(texts_folder, model={"shapes": SHAPES}, preprocess={"pad": {"input_ids": 0, "attention_mask": 0}}, **sets)
    assert sqnr(short) == sqnr(padded)
    assert short.manifest.preprocess["pad"] == {"input_ids": 0, "attention_mask": 0}


def test_an_id_that_the_file_cannot_hold_is_refused(texts_folder: Path) -> None:
    ids, mask = texts(80, 2)
    np.savez(texts_folder / "eval.npz", input_ids=np.where(ids == 7, 1 << 40, ids), attention_mask=mask)
    with pytest.raises(InputError):
        run(texts_folder, model={"shapes": SHAPES}, preprocess={})

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import InputError
from edgekit.model import TensorSpec
from edgekit.sources import SOURCES, source_for
from edgekit.sources.onnx import OnnxSource


def tiny(opset: int = 17, ir: int = 8) -> onnx.ModelProto:
    weight = numpy_helper.from_array(np.arange(2048, dtype=np.float32).reshape(32, 64), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")],
        "tiny",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", 32])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", 64])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "meter.onnx"
    onnx.save(tiny(), path)
    return path


def with_external(path: Path) -> None:
    onnx.save(tiny(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)


def test_read_says_what_the_model_declares(model_file: Path) -> None:
    model = source_for(model_file).read(model_file)
    assert model.format == "onnx"
    assert model.inputs == (TensorSpec("x", "float32", (-1, 32)),)
    assert model.outputs == (TensorSpec("y", "float32", (-1, 64)),)
    assert len(model.sha256) == 64


def test_load_returns_the_weights(model_file: Path) -> None:
    source = source_for(model_file)
    proto = source.load(source.read(model_file))
    assert numpy_helper.to_array(proto.graph.initializer[0]).sum() == 2047 * 1024


def test_every_entry_of_the_table_can_be_loaded(tmp_path: Path) -> None:
    for suffix in SOURCES:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(b"x")
        assert callable(source_for(path).read)


def test_a_missing_file_suggests_a_near_name(model_file: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean .*meter\.onnx"):
        source_for(model_file.with_name("metre.onnx"))


def test_a_missing_file_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such file$"):
        source_for(tmp_path / "nowhere" / "m.onnx")


def test_a_folder_names_the_model_inside(model_file: Path) -> None:
    with pytest.raises(InputError, match="a folder") as caught:
        source_for(model_file.parent)
    assert "meter.onnx" in str(caught.value.fix)


@pytest.mark.parametrize(
    ("name", "hint"), [("m.h5", "tf2onnx"), ("m.pt", "torch.onnx"), ("m.bin", "export to ONNX"), ("m", "export to ONNX")]
)
def test_an_unknown_suffix_lists_the_known_and_the_way(tmp_path: Path, name: str, hint: str) -> None:
    (tmp_path / name).write_bytes(b"1")
    with pytest.raises(InputError, match=r"it reads: \.onnx") as caught:
        source_for(tmp_path / name)
    assert hint in str(caught.value.fix)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"hello, I am a text file\n", "a text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"\x00\x01\x02\xff" * 100, "not an ONNX model"),
    ],
)
def test_what_is_not_a_model_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        OnnxSource().read(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_model_is_refused(model_file: Path, share: float) -> None:
    data = model_file.read_bytes()
    model_file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match="cut short"):
        OnnxSource().read(model_file)


def test_versions_that_are_too_new(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(tiny(ir=99), path)
    with pytest.raises(InputError, match="IR version 99"):
        OnnxSource().read(path)
    onnx.save(tiny(opset=99), path)
    with pytest.raises(InputError, match="operator set 99"):
        OnnxSource().read(path)


def test_a_model_against_the_standard_is_refused(tmp_path: Path) -> None:
    proto = tiny()
    proto.graph.node[0].op_type = "NoSuchOperator"
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    source = OnnxSource()
    with pytest.raises(InputError, match="not a valid ONNX model"):
        source.load(source.read(path))


def test_a_change_between_read_and_load_is_noticed(model_file: Path) -> None:
    source = OnnxSource()
    model = source.read(model_file)
    proto = tiny()
    proto.producer_name = "another"
    onnx.save(proto, model_file)
    with pytest.raises(InputError, match="changed"):
        source.load(model)


def test_external_weights_are_read_and_in_the_digest(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with_external(path)
    source = OnnxSource()
    model = source.read(path)
    proto = source.load(model)
    assert numpy_helper.to_array(proto.graph.initializer[0]).sum() == 2047 * 1024
    weights = tmp_path / "weights.bin"
    weights.write_bytes(bytes(weights.stat().st_size))
    assert source.read(path).sha256 != model.sha256


def test_external_weights_absent_or_cut_short(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with_external(path)
    weights = tmp_path / "weights.bin"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="cut short: 100 bytes"):
        OnnxSource().read(path)
    weights.unlink()
    with pytest.raises(InputError, match="absent"):
        OnnxSource().read(path)


def test_a_model_beyond_two_gigabytes_is_refused_before_its_weights_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    with_external(path)
    # A hole: 2.5 GB that take no room.
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.truncate(2_500_000_000)
    with pytest.raises(InputError, match=r"m\.onnx: 2\.5 GB with its weights; edgekit reads models of 2\.1 GB at most"):
        OnnxSource().read(path)
    with path.open("r+b") as file:
        file.truncate(2_200_000_000)
    with pytest.raises(InputError, match=r"2\.2 GB"):
        OnnxSource().read(path)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "C:\\secret.bin", ""])
def test_external_weights_outside_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "m.onnx"
    with_external(path)
    shutil.copy(folder / "weights.bin", tmp_path / "secret.bin")
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match="outside"):
        OnnxSource().read(path)


def test_external_weights_behind_a_link_that_leaves_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "m.onnx"
    with_external(path)
    (folder / "weights.bin").rename(tmp_path / "secret.bin")
    (folder / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(InputError, match="outside"):
        OnnxSource().read(path)

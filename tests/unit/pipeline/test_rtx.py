"""NVIDIA's compiler on the host, asked through the agent: what it takes, what it refuses by name, and what it dies of."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import BuildError
from edgekit.pipeline.rtx import check

pytestmark = pytest.mark.tensorrt


@pytest.fixture
def python() -> str:
    found = os.environ.get("EDGEKIT_TENSORRT_RTX_PYTHON")
    if not found:
        pytest.skip("set EDGEKIT_TENSORRT_RTX_PYTHON to an interpreter with tensorrt-rtx")
    return found


def network(zero_point: int) -> bytes:
    """Return a Conv whose input goes through int8."""
    kernel = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    weights = {"k": kernel, "scale": np.float32(0.05), "zero": np.int8(zero_point)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"], name="round"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"], name="unround"),
        helper.make_node("Conv", ["d", "k"], ["y"], name="conv"),
    ]
    floats = onnx.TensorProto.FLOAT
    body = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", floats, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", floats, [1, 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    data: bytes = helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return data


def test_a_good_file_is_compiled(python: str, tmp_path: Path) -> None:
    checked = check({"model.onnx": network(0)}, tmp_path, python=python)
    assert checked.version is not None
    assert checked.version.startswith("1.")
    assert checked.notes == ()


def test_a_refused_node_is_named(python: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"refuses model\.onnx") as caught:
        check({"model.onnx": network(3)}, tmp_path, python=python)
    assert "round" in caught.value.message


def test_no_compiler_behind_the_name_is_an_error_and_no_pass(tmp_path: Path) -> None:
    lacking = tmp_path / "python"
    lacking.write_text('#!/bin/sh\nexec /usr/bin/env python3 -S "$@"\n')
    lacking.chmod(0o755)
    with pytest.raises(BuildError, match="gives no answer"):
        check({"model.onnx": network(0)}, tmp_path, python=str(lacking))

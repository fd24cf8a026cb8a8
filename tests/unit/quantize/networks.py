"""Small ONNX models in ONNX's own text form, and how to run one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, parser

from edgekit.graph import Array, Graph
from edgekit.quantize.normalise import normalise

generator = np.random.default_rng(7)


def normal(*shape: int, scale: float = 0.5) -> Array:
    """Return random weights."""
    return (generator.standard_normal(shape) * scale).astype(np.float32)


def positive(*shape: int) -> Array:
    """Return random values between 0.5 and 1.5, for variances and gains."""
    return (generator.random(shape) + 0.5).astype(np.float32)


def model(
    body: str,
    weights: Mapping[str, Array] | None = None,
    *,
    x: str = "float[N,4,8,8] x",
    y: str = "float[] y",
    opset: int = 17,
    **more: Array,
) -> onnx.ModelProto:
    """Build a model from the lines of its graph; ``weights`` and keyword arrays become its constants."""
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["": {opset}]> agraph ({x}) => ({y}) {{ {body} }}')
    for value in proto.graph.output:
        value.type.tensor_type.ClearField("shape")
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in {**(weights or {}), **more}.items()
    )
    return proto


def run(proto: onnx.ModelProto, **feeds: Array) -> list[Array]:
    """Run a model exactly as it is written, without optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    runner = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs: list[Array] = runner.run(None, feeds)
    return outputs


def fed(graph: Graph, *, scale: float = 1.0) -> dict[str, Array]:
    """Return random values for every input; integers are zeros and ones, a mask."""
    return {
        spec.name: normal(*spec.shape, scale=scale) if spec.dtype == "float32" else generator.integers(0, 2, spec.shape).astype(spec.dtype)
        for spec in graph.inputs
    }


def checked(proto: onnx.ModelProto, *, scale: float = 3.0, rtol: float = 1e-5, **feeds: Array) -> Graph:
    """Normalise, and hold the result to the original's outputs on random input, relative to the largest value."""
    graph = normalise(proto)
    feeds = {**fed(graph, scale=scale), **feeds}
    for wanted, got in zip(run(proto, **feeds), run(graph.to_onnx(), **feeds), strict=True):
        assert got.shape == wanted.shape
        assert np.isfinite(wanted).all()
        np.testing.assert_allclose(got, wanted, rtol=0, atol=rtol * float(np.abs(wanted).max()))
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def scalars(**values: float) -> dict[str, Array]:
    """Return one-element constants by name."""
    return {name: np.array(value, np.float32) for name, value in values.items()}


def integers(**values: list[int]) -> dict[str, Array]:
    """Return constants such as axes and sizes by name."""
    return {name: np.array(value, np.int64) for name, value in values.items()}


def has_onnxruntime(version: tuple[int, int]) -> bool:
    return tuple(int(part) for part in onnxruntime.__version__.split(".")[:2]) >= version


def needs_onnxruntime(version: tuple[int, int], what: str) -> None:
    """Skip the test where the installed ONNX Runtime is older: it refuses such a model, or fails on it, by itself."""
    if not has_onnxruntime(version):
        pytest.skip(f"onnxruntime {onnxruntime.__version__} {what}")

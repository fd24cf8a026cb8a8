"""The graph's inputs and outputs: their dtype and layout in the file. Called by ``emit``."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.plan import Precision
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC, TO_ONNX, Layout, permuted
from edgekit.runtimes.tflite.operator import Unsupported

__all__ = ["declare_inputs", "write_outputs"]

# int8 -> uint8: the same numbers, 128 higher.
_UINT8_OFFSET = 128


def declare_inputs(
    e: Emission, dtypes: Mapping[str, str], layout: str, precisions: Mapping[str, Precision]
) -> tuple[dict[str, int], dict[str, str]]:
    """Write the graph's inputs, real ones of these dtypes; return the file's input tensors and their layouts, by name."""
    tensors: dict[str, int] = {}
    layouts: dict[str, str] = {}
    for spec in e.graph.inputs:
        name, io_dtype = spec.name, dtypes[spec.name]
        image = len(spec.shape) == 4 and spec.dtype == "float32"
        inner: Layout = "nhwc" if image and not _channels_last(e.graph, name) else "onnx"
        layouts[name] = layout if image else "as-is"
        # A real input that int8 nodes alone read is turned into int8 at once.
        in_float = io_dtype == "float32" and any(precisions[node.name] == "float32" for node in e.graph.consumers.get(name, ()))
        e.precision = "float32" if in_float else "int8"
        try:
            target = e.declare(name, inner)
        except Unsupported as problem:
            raise BuildError(f"input {name!r} is {spec.dtype}", fix=problem.fix) from problem
        if layouts[name] == "nchw":
            # NCHW of the image: for a model that is channels-last already, not the order ONNX has.
            moved = e.temporary(name, permuted(e.shape(name, inner), TO_ONNX), e.params[name])
            e.transpose(moved, target, TO_NHWC)
            e.writer.rename(target, f"{name}/nhwc")
            e.writer.rename(moved, name)
            target = moved
        if spec.dtype == "float32" and io_dtype != e.precision:
            outer = _outer(e, name, target, io_dtype)
            e.quantize(outer, target)
            target = outer
        tensors[name] = target
    return tensors, layouts


def _channels_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX input is NHWC: everybody who reads it first turns it to NCHW."""
    readers = graph.consumers.get(name, ())
    return bool(readers) and all(node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(TO_ONNX) for node in readers)


def write_outputs(e: Emission, dtypes: Mapping[str, str], layout: str) -> tuple[dict[str, int], dict[str, str]]:
    """Write what the graph's outputs need, real ones of these dtypes; return the file's output tensors and their layouts, by name."""
    tensors: dict[str, int] = {}
    layouts: dict[str, str] = {}
    entries = {spec.name for spec in e.graph.inputs}
    for spec in e.graph.outputs:
        name, io_dtype = spec.name, dtypes[spec.name]
        e.precision = "float32" if io_dtype == "float32" else "int8"
        if name in entries or name in e.graph.weights:
            raise BuildError(f"output {name!r} is not computed by any node")
        layouts[name] = layout if len(spec.shape) == 4 and not _turned_last(e.graph, name) else "as-is"
        wanted: Layout = "nhwc" if layouts[name] == "nhwc" else "onnx"
        inner = e.read(name, wanted)
        e.writer.rename(e.home(name), f"{name}/inner")
        e.writer.rename(inner, name)
        if spec.dtype == "float32" and io_dtype == "uint8":
            outer = _outer(e, name, inner, io_dtype)
            e.quantize(inner, outer)
            inner = outer
        tensors[name] = inner
    return tensors, layouts


def _turned_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX output is NHWC: the last thing the model does is turn it from NCHW."""
    node = graph.producers[name]
    return node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(TO_NHWC)


def _outer(e: Emission, name: str, inner: int, io_dtype: str) -> int:
    """Return the tensor that the user sees beside an int8 one."""
    e.writer.rename(inner, f"{name}/int8")
    params, shape = e.params[name], e.writer.shape(inner)
    if io_dtype == "uint8":
        return e.writer.tensor(name, "uint8", shape, scales=(params.scale,), zero_point=params.zero_point + _UINT8_OFFSET)
    return e.writer.tensor(name, io_dtype, shape)

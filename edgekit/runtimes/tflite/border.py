"""The graph's inputs and outputs: their dtype and layout in the file. Called by ``emit``."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.plan import Precision
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import NHWC, ONNX, TO_NCHW
from edgekit.runtimes.tflite.operator import Unsupported

__all__ = ["declare_inputs", "write_outputs"]

# Of an image (wanted layout, whether ONNX has the channels last): which ONNX axis each axis of the file is.
_ORDERS = {("nhwc", False): NHWC, ("nhwc", True): ONNX, ("nchw", False): ONNX, ("nchw", True): TO_NCHW}
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
        layouts[name] = layout if len(spec.shape) == 4 and spec.dtype == "float32" else "as-is"
        # Images in NHWC or NCHW, also where ONNX has the other one.
        order = _ORDERS[layouts[name], _channels_last(e.graph, name)] if layouts[name] != "as-is" else ONNX
        # A real input that int8 nodes alone read is turned into int8 at once.
        in_float = io_dtype == "float32" and any(precisions[node.name] == "float32" for node in e.graph.consumers.get(name, ()))
        e.precision = "float32" if in_float else "int8"
        try:
            target = e.declare(name, order)
        except Unsupported as problem:
            raise BuildError(f"input {name!r} is {spec.dtype}", fix=problem.fix) from problem
        if spec.dtype == "float32" and io_dtype != e.precision:
            outer = _outer(e, name, target, io_dtype)
            e.quantize(outer, target)
            target = outer
        tensors[name] = target
    return tensors, layouts


def _channels_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX input is NHWC: everybody who reads it first turns it to NCHW."""
    readers = graph.consumers.get(name, ())
    return bool(readers) and all(node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(TO_NCHW) for node in readers)


def write_outputs(e: Emission, dtypes: Mapping[str, str], layout: str, inputs: Collection[int]) -> tuple[dict[str, int], dict[str, str]]:
    """Write what the graph's outputs need, real ones of these dtypes; return the file's output tensors and their layouts, by name.

    ``inputs`` are the file's input tensors.
    """
    tensors: dict[str, int] = {}
    layouts: dict[str, str] = {}
    taken = set(inputs)
    entries = {spec.name for spec in e.graph.inputs}
    for spec in e.graph.outputs:
        name, io_dtype = spec.name, dtypes[spec.name]
        e.precision = "float32" if io_dtype == "float32" else "int8"
        if name in entries or name in e.graph.weights:
            raise BuildError(f"output {name!r} is not computed by any node")
        layouts[name] = layout if len(spec.shape) == 4 and not _turned_last(e.graph, name) else "as-is"
        inner, home = e.read(name, NHWC if layouts[name] == "nhwc" else ONNX), e.home(name)
        if home not in taken:
            e.writer.rename(home, f"{name}/inner")
        if inner in taken:
            # It only hands on an input, or another output.
            inner = e.copy(name, inner)
        e.writer.rename(inner, name)
        if spec.dtype == "float32" and io_dtype == "uint8":
            outer = _outer(e, name, inner, io_dtype)
            e.quantize(inner, outer)
            inner = outer
        tensors[name] = inner
        taken.add(inner)
    return tensors, layouts


def _turned_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX output is NHWC: the last thing the model does is turn it from NCHW."""
    node = graph.producers[name]
    return node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(NHWC)


def _outer(e: Emission, name: str, inner: int, io_dtype: str) -> int:
    """Return the tensor that the user sees beside an int8 one."""
    e.writer.rename(inner, f"{name}/int8")
    params, shape = e.params[name], e.writer.shape(inner)
    if io_dtype == "uint8":
        return e.writer.tensor(name, "uint8", shape, scales=(params.scale,), zero_point=params.zero_point + _UINT8_OFFSET)
    return e.writer.tensor(name, io_dtype, shape)

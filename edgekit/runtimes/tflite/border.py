"""The graph's inputs and outputs: their dtype and layout in the file. Called by ``emit``."""

from __future__ import annotations

from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.runtimes.tflite.emission import TO_NHWC, TO_ONNX, Emission, Layout

__all__ = ["read_inputs", "write_outputs"]

# int8 -> uint8: the same numbers, 128 higher.
_UINT8_OFFSET = 128


def read_inputs(e: Emission, io_dtype: str, layout: str) -> tuple[dict[str, int], dict[str, str]]:
    """Write the graph's inputs; return the file's input tensors and their layouts, by name."""
    tensors: dict[str, int] = {}
    layouts: dict[str, str] = {}
    for spec in e.graph.inputs:
        name = spec.name
        if spec.dtype != "float32":
            raise BuildError(f"input {name!r} is {spec.dtype}: an int8 TFLite model takes images or other real values")
        inner: Layout = "nhwc" if len(spec.shape) == 4 and not _channels_last(e.graph, name) else "onnx"
        target = e.declare(name, inner)
        if len(spec.shape) != 4:
            layouts[name] = "as-is"
        else:
            layouts[name] = layout
        if layouts[name] == "nchw":
            # NCHW of the image: for a model that is channels-last already, not the order ONNX has.
            shape = e.shape(name, inner)
            moved = e.temporary(name, tuple(shape[axis] for axis in TO_ONNX), e.params[name])
            e.transpose(moved, target, TO_NHWC)
            e.writer.rename(target, f"{name}/nhwc")
            e.writer.rename(moved, name)
            target = moved
        tensors[name] = _outer(e, name, target, io_dtype, entering=True)
    return tensors, layouts


def _channels_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX input is NHWC: everybody who reads it first turns it to NCHW."""
    readers = graph.consumers.get(name, ())
    return bool(readers) and all(node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(TO_ONNX) for node in readers)


def write_outputs(e: Emission, io_dtype: str, layout: str) -> tuple[dict[str, int], dict[str, str]]:
    """Write what the graph's outputs need; return the file's output tensors and their layouts, by name."""
    tensors: dict[str, int] = {}
    layouts: dict[str, str] = {}
    entries = {spec.name for spec in e.graph.inputs}
    for spec in e.graph.outputs:
        name = spec.name
        if name in entries or name in e.graph.weights:
            raise BuildError(f"output {name!r} is not computed by any node")
        layouts[name] = "as-is" if len(spec.shape) != 4 or _turned_last(e.graph, name) else layout
        wanted: Layout = "nhwc" if layouts[name] == "nhwc" else "onnx"
        inner, home = e.read(name, wanted), e.read(name)
        if inner != home:
            e.writer.rename(home, f"{name}/inner")
            e.writer.rename(inner, name)
        tensors[name] = _outer(e, name, inner, io_dtype, entering=False)
    return tensors, layouts


def _turned_last(graph: Graph, name: str) -> bool:
    """Tell whether an ONNX output is NHWC: the last thing the model does is turn it from NCHW."""
    node = graph.producers[name]
    return node.op == "Transpose" and list(node.attrs.get("perm", ())) == list(TO_NHWC)


def _outer(e: Emission, name: str, inner: int, io_dtype: str, *, entering: bool) -> int:
    """Return the tensor the user sees for an int8 one: itself, or one of another dtype beside it."""
    if io_dtype == "int8":
        return inner
    e.writer.rename(inner, f"{name}/int8")
    params, shape = e.params[name], e.writer.shape(inner)
    if io_dtype == "uint8":
        zero_point = params.zero_point + _UINT8_OFFSET
        outer = e.writer.tensor(name, "uint8", shape, scales=(params.scale,), zero_point=zero_point)
    else:
        outer = e.writer.tensor(name, "float32", shape)
    if entering:
        e.op("QUANTIZE", [outer], [inner], "QuantizeOptions")
    elif io_dtype == "uint8":
        e.op("QUANTIZE", [inner], [outer], "QuantizeOptions")
    else:
        e.op("DEQUANTIZE", [inner], [outer], "DequantizeOptions")
    return outer

"""Weights as TensorRT before 10 reads them: float32 behind a QuantizeLinear. Called by `work`.

A file of edgekit stores a weight as int8 with a DequantizeLinear. TensorRT's documentation allows that today ("Explicit Quantization",
"Quantized Weights"); 8.4 refused every int8 constant ("invalid weights type of Int8", onnxruntime issue 11535), and of 8.5 to 9 nothing is
proven. So there the values are written out, and TensorRT rounds them to the very same integers. Not proven on hardware.

The file is rewritten field by field, by the numbers of onnx.proto and the wire format of protocol buffers (protobuf.dev, "Encoding").
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..wire import AgentError

__all__ = ["bytes_read", "takes_int8", "with_float_weights"]

# The first release that gets the file as it is; an int8 constant is in the operators' reference of 10 ("Constant").
FROM = 10
# A weight grows from int8 to float32.
GROWTH = 4

_GRAPH = 7  # of ModelProto
_NODE, _INITIALIZER = 1, 5  # of GraphProto
_INPUT, _OUTPUT, _NAME, _OPERATOR, _ATTRIBUTE = 1, 2, 3, 4, 5  # of NodeProto
_DIMS, _TYPE, _TENSOR_NAME, _RAW = 1, 2, 8, 9  # of TensorProto
_FLOAT, _INT8 = 1, 3  # of TensorProto.DataType


def takes_int8(version: str) -> bool:
    """Return whether a release of TensorRT gets files as they are."""
    return int(version.partition(".")[0]) >= FROM


def bytes_read(file_bytes: int, version: str) -> int:
    """Return how large a file may be as that release reads it."""
    return file_bytes * (1 if takes_int8(version) else GROWTH)


def with_float_weights(model: bytes) -> bytes:
    """Return the model with its int8 weights as float32, each with a QuantizeLinear of the same scale; without such, the same bytes."""
    parts = []
    for number, value, raw in _fields(model):
        parts.append(_field(_GRAPH, _graph(value)) if number == _GRAPH else raw)
    return b"".join(parts)


def _graph(graph: bytes) -> bytes:
    tensors = {}
    for number, value, _ in _fields(graph):
        if number == _INITIALIZER:
            tensor = _read(value)
            tensors[bytes(tensor[_TENSOR_NAME][0])] = tensor
    weights, nodes = {}, {}
    for number, value, raw in _fields(graph):
        node = _read(value) if number == _NODE else {}
        if node and bytes(node[_OPERATOR][0]) == b"DequantizeLinear" and tensors.get(node[_INPUT][0], {}).get(_TYPE) == [_INT8]:
            name = node[_INPUT][0]
            if name in weights:
                raise AgentError("input", "two nodes of the network read the int8 weight %r: it is no file of edgekit" % name.decode())
            weights[name] = _spread(tensors[name], tensors[node[_INPUT][1]], _axis(node))
            nodes[raw] = _rounded(node)
    parts = []
    for number, value, raw in _fields(graph):
        name = bytes(_read(value)[_TENSOR_NAME][0]) if number == _INITIALIZER else None
        parts.append(nodes.get(raw, raw) if name not in weights else _field(_INITIALIZER, weights[name]))
    return b"".join(parts)


def _rounded(node: dict[int, list[Any]]) -> bytes:
    """Return a DequantizeLinear with a QuantizeLinear in front of it, as fields of a graph."""
    source, scale, zero_point = node[_INPUT]
    made = source + b"/again"
    attributes = b"".join(_field(_ATTRIBUTE, value) for value in node.get(_ATTRIBUTE, []))
    pairs = [(b"QuantizeLinear", made, source, made), (b"DequantizeLinear", node[_NAME][0], made, node[_OUTPUT][0])]
    written = b""
    for operator, name, first, output in pairs:
        inputs = b"".join(_field(_INPUT, value) for value in (first, scale, zero_point))
        written += _field(_NODE, inputs + _field(_OUTPUT, output) + _field(_NAME, name) + _field(_OPERATOR, operator) + attributes)
    return written


def _axis(node: dict[int, list[Any]]) -> int:
    """Return the only attribute there is; of AttributeProto, 3 is a whole number."""
    return next((_read(value)[3][0] for value in node.get(_ATTRIBUTE, [])), 1)


def _spread(tensor: dict[int, list[Any]], scale: dict[int, list[Any]], axis: int) -> bytes:
    """Return int8 values times their scales as a float32 tensor."""
    import numpy as np

    dims, steps = tensor.get(_DIMS, []), np.frombuffer(scale[_RAW][0], "<f4")
    shape = [-1 if place == axis else 1 for place in range(len(dims))] if len(steps) > 1 else []
    values = np.frombuffer(tensor[_RAW][0], np.int8).reshape(dims).astype("<f4") * steps.reshape(shape)
    sizes = b"".join(_varint(_DIMS << 3) + _varint(size) for size in dims)
    return sizes + _varint(_TYPE << 3) + _varint(_FLOAT) + _field(_TENSOR_NAME, tensor[_TENSOR_NAME][0]) + _field(_RAW, values.tobytes())


def _read(message: bytes) -> dict[int, list[Any]]:
    """Return a message's fields by number."""
    found = {}  # type: dict[int, list[Any]]
    for number, value, _ in _fields(message):
        found.setdefault(number, []).append(value)
    return found


def _fields(message: bytes) -> Iterator[tuple[int, Any, bytes]]:
    """Yield each field's number, value (a whole number, or bytes) and its own bytes."""
    place = 0
    while place < len(message):
        start = place
        tag, place = _number(message, place)
        kind = tag & 7
        size, place = _number(message, place) if kind in (0, 2) else ({1: 8, 5: 4}[kind], place)
        value = size  # type: Any
        if kind != 0:
            value, place = message[place : place + size], place + size
        yield tag >> 3, value, message[start:place]


def _number(message: bytes, place: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place


def _varint(value: int) -> bytes:
    written = bytearray()
    while value > 127:
        written.append(value & 127 | 128)
        value >>= 7
    return bytes([*written, value])


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value

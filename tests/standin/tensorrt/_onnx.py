"""As much of an ONNX file as the doubles need, read without the onnx package: boards have none, and Python 3.8 has none here.

Field numbers: onnx.proto. Protocol buffers' wire format: protobuf.dev, "Encoding".
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple, Tuple, Union

Fields = Dict[int, List[Union[int, bytes]]]


class Node(NamedTuple):
    name: str
    op: str
    domain: str
    outputs: Tuple[str, ...]


class Graph(NamedTuple):
    nodes: Tuple[Node, ...]
    inputs: Dict[str, Tuple[int, ...]]  # name -> shape, -1 where it is open


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not data[at - 1] & 0x80:
            return value, at


def _fields(data: bytes) -> Fields:
    found: Fields = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        if tag & 7 == 0:
            value, at = _varint(data, at)
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if tag & 7 == 2:
                size, at = _varint(data, at)
            if size is None or at + size > len(data):
                raise ValueError("not a protocol buffer")
            value, at = data[at : at + size], at + size
        found.setdefault(tag >> 3, []).append(value)
    return found


def _parts(data: Fields, *path: int) -> list[bytes]:
    found = [part for part in data.get(path[0], []) if isinstance(part, bytes)]
    return found if len(path) == 1 else [part for outer in found for part in _parts(_fields(outer), *path[1:])]


def _texts(data: Fields, number: int) -> tuple[str, ...]:
    return tuple(part.decode() for part in _parts(data, number))


def read(data: bytes) -> Graph:
    """Return the graph, or raise ``ValueError`` or ``IndexError``."""
    graphs = _parts(_fields(data), 7)
    if not graphs:
        raise ValueError("no graph")
    graph = _fields(graphs[0])
    weights = {name for tensor in _parts(graph, 5) for name in _texts(_fields(tensor), 8)}
    nodes = []
    for part in _parts(graph, 1):
        node = _fields(part)
        name, op, domain = ("".join(_texts(node, number)) for number in (3, 4, 7))
        nodes.append(Node(name, op, domain, _texts(node, 2)))
    inputs = {}
    for part in _parts(graph, 11):
        entry = _fields(part)
        dims = [_fields(dim) for dim in _parts(entry, 2, 1, 2, 1)]
        sizes = [dim.get(1, [-1])[0] for dim in dims]
        inputs["".join(_texts(entry, 1))] = tuple(size for size in sizes if isinstance(size, int))
    return Graph(tuple(nodes), {name: shape for name, shape in inputs.items() if name not in weights})

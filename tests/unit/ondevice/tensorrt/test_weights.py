"""int8 weights written out for TensorRT before 10: which bytes change, and what a builder of each release gets."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from edgekit.ondevice.tensorrt.weights import bytes_read, with_float_weights
from edgekit.ondevice.wire import AgentError

from .boards import WAYS, Make, board
from .conftest import CHAIN, VERSIONS, _field, _tensor

__all__ = ["board"]  # a fixture


def node(operator: str, inputs: str, output: str, axis: int | None = None) -> bytes:
    """Return a node as a field of a graph (onnx.proto)."""
    names = b"".join(_field(1, name) for name in inputs.split()) + _field(2, output) + _field(3, output) + _field(4, operator)
    return _field(1, names + (b"" if axis is None else _field(5, _field(1, "axis") + _field(3, axis) + _field(20, 2))))


def constant(name: str, kind: int, dims: tuple[int, ...], raw: bytes) -> bytes:
    return _field(5, b"".join(_field(1, size) for size in dims) + _field(2, kind) + _field(8, name) + _field(9, raw))


INT8 = constant("w", 3, (2, 2), struct.pack("4b", 127, -127, 3, 0))
FLOAT = constant("w", 1, (2, 2), struct.pack("<4f", 63.5, -63.5, 0.75, 0.0))


def model(nodes: bytes, weight: bytes = INT8) -> bytes:
    """Return a network of one input and one output, with a weight of two rows, and their scales."""
    constants = weight + constant("s", 1, (2,), struct.pack("<2f", 0.5, 0.25)) + constant("z", 3, (2,), bytes(2))
    graph = nodes + _field(2, "g") + constants + _field(11, _tensor("x", (2, 2))) + _field(12, _tensor("y", (2, 2)))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, "") + _field(2, 17))


PRODUCT = node("Mul", "x r", "y")
WEIGHTED = model(node("DequantizeLinear", "w s z", "r", axis=0) + PRODUCT)


def test_the_values_are_written_out_and_rounded_again() -> None:
    pytest.importorskip("numpy")
    pair = node("QuantizeLinear", "w s z", "w/again", axis=0) + node("DequantizeLinear", "w/again s z", "r", axis=0)
    assert with_float_weights(WEIGHTED) == model(pair + PRODUCT, FLOAT)


def test_other_networks_stay_as_they_are() -> None:
    assert with_float_weights(CHAIN) == CHAIN


def test_a_weight_that_two_nodes_read_is_refused() -> None:
    pytest.importorskip("numpy")
    twice = node("DequantizeLinear", "w s z", "r", axis=0) + node("DequantizeLinear", "w s z", "q", axis=1)
    with pytest.raises(AgentError, match="two nodes of the network read the int8 weight 'w'"):
        with_float_weights(model(twice + node("Mul", "q r", "y")))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_builder_gets_what_it_can_read(board: Make, tmp_path: Path, way: str, version: str) -> None:
    pytest.importorskip("numpy")
    there = board(way, TENSORRT_VERSION=version)
    engine = there.ask("engine.build", **there.fields(WEIGHTED))["engine"]
    built = (there.root / "engines" / engine / "engine.plan").read_bytes()
    assert (b"w/again" in built) == version.startswith("8.")
    assert not (there.root / "engines" / engine / "network.onnx").exists()


def test_the_room_that_a_file_takes_as_it_is_read() -> None:
    assert [bytes_read(100, version) for version in ("8.5.2.2", "8.6.1", "10.3.0", "11.1.0")] == [400, 400, 100, 100]

"""Networks written without the onnx package, for the wing's tests run on Python 3.8 too, and the double of TensorRT as a module."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

STANDINS = Path(__file__).resolve().parents[3] / "standin"
VERSIONS = ("8.5.2", "8.6.1", "10.3.0", "11.1.0")
DOUBLES = ("tensorrt", "standin_gpu")


def _varint(value: int) -> bytes:
    return bytes([value]) if value < 0x80 else bytes([value & 0x7F | 0x80]) + _varint(value >> 7)


def _field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protocol buffer: whole numbers, or bytes with their length (protobuf.dev, "Encoding")."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _tensor(name: str, shape: tuple[int, ...]) -> bytes:
    dims = b"".join(_field(1, _field(2, "N") if size < 0 else _field(1, size)) for size in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, dims)))


def network(*nodes: tuple[str, str], shape: tuple[int, ...] = (1, 4), domain: str = "") -> bytes:
    """A chain of nodes of one input, each a name and an operator (onnx.proto; opset 17, float32)."""
    written = b""
    for number, (name, operator) in enumerate(nodes):
        source, drain = f"t{number}" if number else "x", "y" if number == len(nodes) - 1 else f"t{number + 1}"
        written += _field(1, _field(1, source) + _field(2, drain) + _field(3, name) + _field(4, operator) + _field(7, domain))
    graph = written + _field(2, "g") + _field(11, _tensor("x", shape)) + _field(12, _tensor("y", shape))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, domain) + _field(2, 17))


CHAIN = network(("first", "Relu"), ("middle", "Sigmoid"), ("last", "Relu"))


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Import the double of a release, with settings; the next import is a new one."""
    pytest.importorskip("numpy")
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] in DOUBLES}

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] in DOUBLES]:
            del sys.modules[name]

    def load(version: str, **settings: str) -> Any:
        monkeypatch.setenv("STANDIN_TENSORRT_VERSION", version)
        for name, value in settings.items():
            monkeypatch.setenv("STANDIN_" + name, value)
        forget()
        return importlib.import_module("tensorrt")

    monkeypatch.syspath_prepend(str(STANDINS))
    yield load
    forget()
    sys.modules.update(kept)

"""Reads ``tests/cases/tflite/*.toml`` (its README says what a case is) into graphs."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.graph import Array, Graph, from_onnx

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FOLDER = Path(__file__).resolve().parents[3] / "cases" / "tflite"
_CALIBRATION = 32


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    name: str
    inputs: dict[str, tuple[int, ...]]
    body: str
    weights: dict[str, tuple[int, ...]] = {}
    outputs: tuple[str, ...] = ("y",)
    opset: int = 17
    input_scale: float = 1.0
    channels_last: bool = False
    operators: tuple[str, ...] = ()
    sqnr_db: float = 0.0
    refused: str = ""

    def graph(self) -> Graph:
        def listed(names: Any) -> str:
            return ", ".join(f"float[{','.join(map(str, shape))}] {name}" for name, shape in names.items())

        outputs = ", ".join(f"float[{name}_open] {name}" for name in self.outputs)
        text = f'<ir_version: 8, opset_import: ["": {self.opset}]> case ({listed(self.inputs)}) => ({outputs}) {{ {self.body} }}'
        proto = onnx.parser.parse_model(text)
        for name, shape in self.weights.items():
            values = self._random(name).normal(size=shape).astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(values, name))
        for output in proto.graph.output:
            output.type.tensor_type.ClearField("shape")
        return from_onnx(proto)

    def samples(self) -> list[Array]:
        ((name, shape),) = self.inputs.items()
        return list((self.input_scale * self._random(name).normal(size=(_CALIBRATION, *shape))).astype(np.float32))

    def _random(self, name: str) -> np.random.Generator:
        return np.random.default_rng(zlib.crc32(f"{self.name}/{name}".encode()))


def all_cases() -> dict[str, Case]:
    """Every case by ``file/name``."""
    found: dict[str, Case] = {}
    for path in sorted(FOLDER.glob("*.toml")):
        for raw in tomllib.loads(path.read_text("utf-8"))["case"]:
            case = msgspec.convert(raw, Case)
            found[f"{path.stem}/{case.name}"] = case
    return found

"""Reads ``tests/cases/tflite/*.toml`` (its README says what a case is) into graphs."""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from edgekit.graph import Array, Graph, from_onnx
from edgekit.quantize.normalise import normalise
from edgekit.runtimes.tflite import TfliteRuntime

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
    integers: dict[str, tuple[int, int]] = {}
    weights: dict[str, tuple[int, ...]] = {}
    outputs: tuple[str, ...] = ("y",)
    opset: int = 17
    input_scale: float = 1.0
    input_range: tuple[float, float] | None = None
    channels_last: bool = False
    normalised: bool = False
    operators: tuple[str, ...] = ()
    float_nodes: tuple[str, ...] = ()
    sqnr_db: float = 0.0
    agreement: float = 1.0
    relative: float = 1e-4
    litert_only: str = ""
    onnxruntime_1_23: str = ""
    refused: str = ""

    def graph(self) -> Graph:
        if not self.normalised:
            return from_onnx(self.proto())
        return TfliteRuntime().prepare(normalise(self.typed()))

    def typed(self) -> onnx.ModelProto:
        """The model with the dtypes of its outputs, as exporters write it."""
        proto = onnx.shape_inference.infer_shapes(self.proto())
        for output in proto.graph.output:
            # Of an operator that is a function to be spelled out nothing is known.
            output.type.tensor_type.elem_type = output.type.tensor_type.elem_type or onnx.TensorProto.FLOAT
        return proto

    def proto(self) -> onnx.ModelProto:
        entries = ", ".join(
            f"{'int64' if name in self.integers else 'float'}[{','.join(map(str, shape))}] {name}" for name, shape in self.inputs.items()
        )
        outputs = ", ".join(f"float[{name}_open] {name}" for name in self.outputs)
        text = f'<ir_version: 8, opset_import: ["": {self.opset}]> case ({entries}) => ({outputs}) {{ {self.body} }}'
        proto = onnx.parser.parse_model(text)
        for name, shape in self.weights.items():
            values = self._random(name).normal(size=shape).astype(np.float32)
            proto.graph.initializer.append(numpy_helper.from_array(values, name))
        for output in proto.graph.output:
            output.ClearField("type")
        return proto

    def feeds(self) -> list[dict[str, Array]]:
        """Samples, each with every input by name."""
        drawn = {name: self._drawn(name, shape) for name, shape in self.inputs.items()}
        return [{name: values[index] for name, values in drawn.items()} for index in range(_CALIBRATION)]

    def samples(self) -> list[Array]:
        """Samples of the only input."""
        ((name, shape),) = self.inputs.items()
        return list(self._drawn(name, shape))

    def _drawn(self, name: str, shape: tuple[int, ...]) -> Array:
        random, size = self._random(name), (_CALIBRATION, *shape)
        if name in self.integers:
            lo, hi = self.integers[name]
            return random.integers(lo, hi + 1, size)
        values = random.uniform(*self.input_range, size) if self.input_range else self.input_scale * random.normal(size=size)
        return values.astype(np.float32)

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

"""``Net``: a model under construction in ONNX's text form, with the layers of exporters. For ``networks``."""

from __future__ import annotations

import math

import numpy as np
import onnx

from edgekit.graph import Array
from tests.unit.quantize.networks import model


class Net:
    """Every method adds nodes and returns the name of the tensor they make."""

    def __init__(self, seed: int) -> None:
        self._lines: list[str] = []
        self._weights: dict[str, Array] = {}
        self._random = np.random.default_rng(seed)

    def proto(self, x: str, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        return model(" ".join(self._lines), self._weights, x=x, y=", ".join(f"float[] {name}" for name in outputs), opset=opset)

    def op(self, op: str, *inputs: str, attributes: str = "", outputs: int = 1) -> str:
        """Add a node; of several outputs the names are numbered from the one returned."""
        name = f"t{len(self._lines)}"
        names = [name] if outputs == 1 else [f"{name}_{number}" for number in range(outputs)]
        listed = f"<{attributes}>" if attributes else ""
        self._lines.append(f"{', '.join(names)} = {op}{listed}({', '.join(inputs)})")
        return name

    def named(self, name: str, source: str) -> str:
        self._lines.append(f"{name} = Identity({source})")
        return name

    def real(self, values: object) -> str:
        return self._constant(np.asarray(values, np.float32))

    def whole(self, *values: int) -> str:
        return self._constant(np.asarray(values, np.int64))

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        return self.real(self._random.standard_normal(shape) * scale)

    def uniform(self, lo: float, hi: float, *shape: int) -> str:
        return self.real(self._random.uniform(lo, hi, shape))

    def _constant(self, values: Array) -> str:
        name = f"k{len(self._weights)}"
        self._weights[name] = values
        return name

    # -- layers

    def conv(self, x: str, inner: int, outer: int, *kernel: int, stride: int = 1, group: int = 1, norm: bool = True) -> str:
        """A convolution with pads that keep the size (one number per axis), and its batch normalisation."""
        fan = inner // group * math.prod(kernel)
        weight = self.normal(outer, inner // group, *kernel, scale=math.sqrt(2 / fan))
        bias = () if norm else (self.normal(outer, scale=0.1),)
        pads = [size // 2 for size in kernel] * 2
        made = self.op("Conv", x, weight, *bias, attributes=f"strides={[stride] * len(kernel)}, pads={pads}, group={group}")
        return self.norm(made, outer) if norm else made

    def norm(self, x: str, width: int) -> str:
        constants = [self.uniform(lo, hi, width) for lo, hi in ((0.7, 1.3), (-0.3, 0.3), (-0.1, 0.1), (0.7, 1.3))]
        return self.op("BatchNormalization", x, *constants)

    def dense(self, x: str, inner: int, outer: int) -> str:
        """A linear layer over the last axis, as MatMul and Add."""
        return self.op("Add", self.op("MatMul", x, self.normal(inner, outer, scale=math.sqrt(1 / inner))), self.normal(outer, scale=0.1))

    def silu(self, x: str) -> str:
        return self.op("Mul", x, self.op("Sigmoid", x))

    def hard_sigmoid(self, x: str) -> str:
        """As PyTorch writes it below opset 14."""
        six = self.real(6.0)
        return self.op("Div", self.op("Clip", self.op("Add", x, self.real(3.0)), self.real(0.0), six), six)

    def hard_swish(self, x: str) -> str:
        return self.op("Mul", x, self.hard_sigmoid(x))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.whole(*shape))

    def transpose(self, x: str, *perm: int) -> str:
        return self.op("Transpose", x, attributes=f"perm={list(perm)}")

    def concat(self, *inputs: str, axis: int = 1) -> str:
        return self.op("Concat", *inputs, attributes=f"axis={axis}")

    def layer_norm(self, x: str, width: int) -> str:
        """As PyTorch writes it below opset 17."""
        centred = self.op("Sub", x, self.op("ReduceMean", x, attributes="axes=[-1]"))
        variance = self.op("ReduceMean", self.op("Pow", centred, self.real(2.0)), attributes="axes=[-1]")
        normal = self.op("Div", centred, self.op("Sqrt", self.op("Add", variance, self.real(1e-5))))
        return self.op("Add", self.op("Mul", normal, self.uniform(0.7, 1.3, width)), self.normal(width, scale=0.1))

    def gelu(self, x: str) -> str:
        """As PyTorch writes it below opset 20."""
        gate = self.op("Add", self.op("Erf", self.op("Div", x, self.real(math.sqrt(2)))), self.real(1.0))
        return self.op("Mul", self.op("Mul", x, gate), self.real(0.5))

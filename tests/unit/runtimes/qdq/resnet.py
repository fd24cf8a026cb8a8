"""The topology of torchvision's ResNet-18 (torchvision/models/resnet.py: BasicBlock, layers 2, 2, 2, 2) with few, random channels."""

from __future__ import annotations

import onnx

from edgekit.graph import Array
from tests.unit.quantize.networks import model, normal

_STEM = "c = Conv<kernel_shape=[7, 7], strides=[2, 2], pads=[3, 3, 3, 3]>(x, c_w, c_b) r = Relu(c) \
t0 = MaxPool<kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]>(r)"
_HEAD = "g = GlobalAveragePool(t8) f = Flatten(g) y = Gemm<transB = 1>(f, y_w, y_b)"


def resnet18(width: int = 8, size: int = 32) -> onnx.ModelProto:
    """Return 20 convolutions, 8 sums and a Gemm; batch normalisation is inside the weights, as an export leaves it."""
    constants: dict[str, Array] = {"c_w": normal(width, 3, 7, 7, scale=0.1), "c_b": normal(width)}
    lines, channels = [_STEM], width
    for number in range(8):
        made, stride = width << number // 2, 2 if number in (2, 4, 6) else 1
        x, out = f"t{number}", f"t{number + 1}"
        lines += [_convolution(f"{out}_a", x, 3, stride), f"{out}_r = Relu({out}_a)", _convolution(f"{out}_b", f"{out}_r", 3, 1)]
        sizes = {"a": (made, channels, 3, 3), "b": (made, made, 3, 3)}
        if stride == 2:
            lines.append(_convolution(f"{out}_d", x, 1, stride))
            sizes["d"] = (made, channels, 1, 1)
        lines += [f"{out}_s = Add({out}_b, {f'{out}_d' if stride == 2 else x})", f"{out} = Relu({out}_s)"]
        for letter, shape in sizes.items():
            constants |= {f"{out}_{letter}_w": normal(*shape, scale=0.1), f"{out}_{letter}_b": normal(made)}
        channels = made
    constants |= {"y_w": normal(10, channels), "y_b": normal(10)}
    return model(" ".join([*lines, _HEAD]), constants, x=f"float[N,3,{size},{size}] x")


def _convolution(name: str, x: str, kernel: int, stride: int) -> str:
    pads = [kernel // 2] * 4
    return f"{name} = Conv<kernel_shape = [{kernel}, {kernel}], strides = [{stride}, {stride}], pads = {pads}>({x}, {name}_w, {name}_b)"

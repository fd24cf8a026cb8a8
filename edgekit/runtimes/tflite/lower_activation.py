"""Activation functions: value by value, and softmax."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.scales import Params, params_of
from edgekit.runtimes.tflite.broadcast import check_sum, operands
from edgekit.runtimes.tflite.clamp import RELU, RELU6, clamp
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import Layout, last
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

# The only output parameters of these kernels: LiteRT 8-bit quantization specification.
_PROBABILITY = Params(1.0 / 256.0, -128)
_SIGNED_UNIT = Params(1.0 / 128.0, 0)
_LOG_PROBABILITY = Params(16.0 / 256.0, 127)

# HARD_SWISH multiplies the input by 128 first and then may only shrink it (TensorFlow, kernels/activations.cc).
_HARD_SWISH_GAIN = 128


def _clip(e: Emission, node: Node) -> None:
    """A Relu or Clip that could not join the node in front."""
    bounds = node.attrs.get("clip")
    if bounds is None:
        raise Unsupported("its bounds are not constants", fix="export the model with fixed Clip bounds")
    name = node.inputs[0]
    clamp(e, node.outputs[0], e.layout(name), e.read(name), bounds)


def _fixed(e: Emission, node: Node, layout: Layout, code: str, params: Params, options: str = "", **fields: float) -> None:
    """Write an operator whose int8 output parameters the kernel decides, and requantize where the tensor has others."""
    name = node.outputs[0]
    source = e.read(node.inputs[0], layout)
    target = e.declare(name, layout)
    if not e.is_int8 or e.params[name] == params:
        e.op(code, [source], [target], options, **fields)
        return
    own = e.temporary(f"{name}/{code.lower()}", e.shape(name, layout), params)
    e.op(code, [source], [own], options, **fields)
    e.quantize(own, target)


def _sigmoid(e: Emission, node: Node) -> None:
    _fixed(e, node, e.layout(node.inputs[0]), "LOGISTIC", _PROBABILITY)


def _tanh(e: Emission, node: Node) -> None:
    _fixed(e, node, e.layout(node.inputs[0]), "TANH", _SIGNED_UNIT)


def _softmax(e: Emission, node: Node) -> None:
    name = node.inputs[0]
    rank = len(e.graph.shapes[name])
    axis = int(node.attrs.get("axis", -1)) % rank
    _fixed(e, node, last(e.layout(name), axis, rank), "SOFTMAX", _PROBABILITY, "SoftmaxOptions", beta=1.0)


def _hard_sigmoid(e: Emission, node: Node) -> None:
    """clip(alpha x + beta, 0, 1) = alpha clip(x + beta / alpha, 0, 1 / alpha): ADD, then MUL.

    The sum keeps only the range that matters: in int8 saturation is its clip.
    """
    alpha, beta = float(node.attrs.get("alpha", 0.2)), float(node.attrs.get("beta", 0.5))
    if alpha <= 0:
        raise Unsupported(f"alpha is {alpha}", fix="export the model with a positive alpha")
    name = node.outputs[0]
    source, layout = e.read(node.inputs[0]), e.layout(node.inputs[0])
    ones, shape = [1] * len(e.graph.shapes[name]), e.shape(name, layout)
    ramp = params_of(0.0, 1.0 / alpha)
    tensors = [e.temporary(f"{name}/ramp", shape, ramp)]
    inputs = [source, e.constant(f"{name}/offset", np.full(ones, beta / alpha))]
    if e.is_int8:
        check_sum(e, inputs, ramp)
        e.op("ADD", inputs, [tensors[0]], "AddOptions")
    else:
        fused = RELU6 if np.float32(1.0 / alpha) == 6.0 else RELU
        e.op("ADD", inputs, [tensors[0]], "AddOptions", fusedActivationFunction=fused)
        if fused == RELU:
            tensors.append(e.temporary(f"{name}/limited", shape, ramp))
            top = e.constant(f"{name}/top", np.full(ones, 1.0 / alpha))
            e.op("MINIMUM", [tensors[0], top], [tensors[1]], "MaximumMinimumOptions")
    e.op("MUL", [tensors[-1], e.constant(f"{name}/slope", np.full(ones, alpha))], [e.declare(name, layout)], "MulOptions")


def _hard_swish(e: Emission, node: Node) -> None:
    layout = e.layout(node.inputs[0])
    own = e.params[node.outputs[0]]
    least = e.params[node.inputs[0]].scale / _HARD_SWISH_GAIN
    if e.is_int8 and own.scale <= least:
        # The input is too coarse to fill the output's steps anyway.
        own = params_of(own.lo, own.lo + 255 * 1.01 * least)
    _fixed(e, node, layout, "HARD_SWISH", own, "HardSwishOptions")


def _leaky_relu(e: Emission, node: Node) -> None:
    source, layout = e.read(node.inputs[0]), e.layout(node.inputs[0])
    alpha = float(node.attrs.get("alpha", 0.01))
    e.op("LEAKY_RELU", [source], [e.declare(node.outputs[0], layout)], "LeakyReluOptions", alpha=alpha)


def _prelu(e: Emission, node: Node) -> None:
    e.weight(node.inputs[1])
    layout, inputs = operands(e, node)
    e.op("PRELU", inputs, [e.declare(node.outputs[0], layout)])


def _gelu(e: Emission, node: Node) -> None:
    source, layout = e.read(node.inputs[0]), e.layout(node.inputs[0])
    approximate = node.attrs.get("approximate", "none") == "tanh"
    e.op("GELU", [source], [e.declare(node.outputs[0], layout)], "GeluOptions", approximate=approximate)


def _log_softmax(e: Emission, node: Node) -> None:
    name = node.inputs[0]
    rank = len(e.graph.shapes[name])
    layout = last(e.layout(name), int(node.attrs.get("axis", -1)) % rank, rank)
    _fixed(e, node, layout, "LOG_SOFTMAX", _LOG_PROBABILITY, "LogSoftmaxOptions")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Clip": Operator(_clip, light=True),
        "Gelu": Operator(_gelu),
        "HardSigmoid": Operator(_hard_sigmoid),
        "HardSwish": Operator(_hard_swish),
        "LeakyRelu": Operator(_leaky_relu),
        "LogSoftmax": Operator(_log_softmax, fixed=_LOG_PROBABILITY),
        "PRelu": Operator(_prelu),
        "Sigmoid": Operator(_sigmoid, fixed=_PROBABILITY),
        "Softmax": Operator(_softmax, fixed=_PROBABILITY),
        "Tanh": Operator(_tanh, fixed=_SIGNED_UNIT),
    }
)

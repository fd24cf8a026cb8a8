"""Activation functions with an exponential in them, and their cheap relatives: Elu, Selu, Celu, Softplus, Softsign, Erf."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.scales import Params, params_of
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import Layout
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["OPERATORS"]

# ONNX operator Selu, defaults of its attributes (Klambauer et al. 2017, "Self-Normalizing Neural Networks").
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875
# Abramowitz and Stegun 1964, "Handbook of Mathematical Functions", 7.1.26: within 1.5e-7.
_ERF_P, _ERF = 0.3275911, (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)
# Float tensors have no use for one.
_NONE = Params(1.0, 0)


def _elu(e: Emission, node: Node) -> None:
    _scaled_elu(e, node, float(node.attrs.get("alpha", 1.0)), 1.0)


def _selu(e: Emission, node: Node) -> None:
    _scaled_elu(e, node, float(node.attrs.get("alpha", _SELU_ALPHA)), float(node.attrs.get("gamma", _SELU_GAMMA)))


def _scaled_elu(e: Emission, node: Node, alpha: float, gamma: float) -> None:
    """Write gamma (x if x > 0 else alpha (exp(x) - 1)): ELU knows no alpha, but its result has the sign of x."""
    name, out = node.inputs[0], node.outputs[0]
    layout = e.layout(name)
    own, shape = e.params[out], e.shape(out, layout)
    steps: list[tuple[str, Params]] = [("ELU", params_of(own.lo / (alpha * gamma), own.hi / gamma))]
    if alpha != 1.0:
        steps.append(("LEAKY_RELU", params_of(own.lo / gamma, own.hi / gamma)))
    if gamma != 1.0:
        steps.append(("MUL", own))
    source = e.read(name)
    for number, (code, params) in enumerate(steps, start=1):
        target = e.declare(out, layout) if number == len(steps) else e.temporary(f"{out}/{code.lower()}", shape, params)
        if code == "MUL":
            factor = e.constant(f"{out}/gamma", np.full([1] * len(shape), gamma))
            e.op("MUL", [source, factor], [target], "MulOptions")
        elif code == "LEAKY_RELU":
            e.op("LEAKY_RELU", [source], [target], "LeakyReluOptions", alpha=alpha)
        else:
            e.op("ELU", [source], [target])
        source = target


def _celu(e: Emission, node: Node) -> None:
    """Write alpha elu(x / alpha)."""
    name, out, alpha = node.inputs[0], node.outputs[0], float(node.attrs.get("alpha", 1.0))
    layout = e.layout(name)
    shape, ones = e.shape(out, layout), [1] * len(e.graph.shapes[out])
    source, given, own = e.read(name), e.params[name], e.params[out]
    if alpha == 1.0:
        e.op("ELU", [source], [e.declare(out, layout)])
        return
    small = e.temporary(f"{out}/small", shape, params_of(given.lo / alpha, given.hi / alpha))
    e.op("MUL", [source, e.constant(f"{out}/inverse", np.full(ones, 1.0 / alpha))], [small], "MulOptions")
    unit = e.temporary(f"{out}/unit", shape, params_of(own.lo / alpha, own.hi / alpha))
    e.op("ELU", [small], [unit])
    e.op("MUL", [unit, e.constant(f"{out}/alpha", np.full(ones, alpha))], [e.declare(out, layout)], "MulOptions")


def _softplus(e: Emission, node: Node) -> None:
    """max(x, 0) + log(1 + exp(-|x|)), which overflows for no x."""
    one = e.constant(f"{node.outputs[0]}/one", np.ones([1] * len(e.graph.shapes[node.inputs[0]])))
    tail = _float_chain(
        e,
        node,
        [("ABS", "AbsOptions", ()), ("NEG", "NegOptions", ()), ("EXP", "ExpOptions", ()), ("ADD", "AddOptions", (one,)), ("LOG", "", ())],
    )
    layout = e.layout(node.inputs[0])
    positive = e.temporary(f"{node.outputs[0]}/positive", e.shape(node.inputs[0], layout), _NONE)
    e.op("RELU", [e.read(node.inputs[0])], [positive])
    e.op("ADD", [positive, tail], [e.declare(node.outputs[0], layout)], "AddOptions")


def _softsign(e: Emission, node: Node) -> None:
    """Write x / (1 + |x|)."""
    name, out = node.inputs[0], node.outputs[0]
    one = e.constant(f"{out}/one", np.ones([1] * len(e.graph.shapes[name])))
    divisor = _float_chain(e, node, [("ABS", "AbsOptions", ()), ("ADD", "AddOptions", (one,))])
    e.op("DIV", [e.read(name), divisor], [e.declare(out, e.layout(name))], "DivOptions")


def _float_chain(e: Emission, node: Node, steps: Sequence[tuple[str, str, tuple[int, ...]]]) -> int:
    """Write operators one after another, each with its other operands; return the last one's tensor."""
    name = node.inputs[0]
    layout: Layout = e.layout(name)
    source = e.read(name)
    for code, options, others in steps:
        target = e.temporary(f"{node.outputs[0]}/{code.lower()}", e.shape(name, layout), _NONE)
        e.op(code, [source, *others], [target], options)
        source = target
    return source


def _erf(e: Emission, node: Node) -> None:
    """Write the sign of x times 1 - t (a1 + t (a2 + ...)) exp(-x^2), where t = 1 / (1 + p |x|): TFLite has no ERF."""
    name, out = node.inputs[0], node.outputs[0]
    layout = e.layout(name)
    shape, source = e.shape(name, layout), e.read(name)

    def number(value: float) -> int:
        return e.constant(f"{out}/number", np.full([1] * len(shape), value))

    def made(code: str, *inputs: int) -> int:
        target = e.temporary(f"{out}/{code.lower()}", shape, _NONE)
        e.op(code, inputs, [target], f"{code.title()}Options")
        return target

    one = number(1.0)
    size = made("ABS", source)
    t = made("DIV", one, made("ADD", made("MUL", size, number(_ERF_P)), one))
    tail = made("MUL", t, number(_ERF[0]))
    for factor in _ERF[1:]:
        tail = made("MUL", made("ADD", tail, number(factor)), t)
    magnitude = made("SUB", one, made("MUL", tail, made("EXP", made("NEG", made("MUL", source, source)))))
    below = e.writer.tensor(f"{out}/below", "bool", shape)
    e.op("LESS", [source, number(0.0)], [below], "LessOptions")
    e.op("SELECT_V2", [below, made("NEG", magnitude), magnitude], [e.declare(out, layout)], "SelectV2Options")


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "Celu": Operator(_celu),
        "Elu": Operator(_elu),
        "Erf": Operator(_erf, float_only="TFLite has no ERF, and int8 too few levels for the polynomial that it is"),
        "Selu": Operator(_selu),
        "Softplus": Operator(_softplus, float_only="int8 has too few levels for an exponential and its logarithm"),
        "Softsign": Operator(_softsign, float_only="TFLite's int8 DIV is not safe to run"),
    }
)

"""Clamps: as the fused activation of an operator, by saturation, or by operators of their own. Used by the lowerings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from edgekit.graph import Node
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import Layout

__all__ = ["RELU", "RELU6", "Bounds", "clamp", "clipped"]

Bounds: TypeAlias = tuple[float, float]

# `ActivationFunctionType` of schema.fbs for the bounds that kernels fuse, and the operators that do nothing else.
RELU, RELU_N1_TO_1, RELU6 = 1, 2, 3
_ACTIVATIONS = {(0.0, np.inf): RELU, (-1.0, 1.0): RELU_N1_TO_1, (0.0, 6.0): RELU6}
_OPERATORS = {(0.0, np.inf): "RELU", (-1.0, 1.0): "RELU_N1_TO_1", (0.0, 6.0): "RELU6"}

# With room for the arithmetic's own rounding.
_HALF_STEP = 0.501


def clipped(e: Emission, node: Node, layout: Layout, write: Callable[[int, int], None], *, fuses: bool = True) -> None:
    """Write the operator that makes a node's output, and the clamp that ``fuse`` put on the node.

    Parameters
    ----------
    write
        Writes the operator, given its output tensor and its ``fused_activation_function``.
    fuses
        Whether that operator has such a field.
    """
    name = node.outputs[0]
    bounds: Bounds = node.attrs.get("clip", (-np.inf, np.inf))
    fused = _ACTIVATIONS.get(bounds, 0) if fuses else 0
    steps = [] if fused else _steps(e, name, bounds)
    tensors = [e.like(name, f"{name}/unclipped", layout) for _ in steps]
    tensors.append(e.declare(name, layout))
    write(tensors[0], fused)
    _chain(e, name, steps, tensors)


def clamp(e: Emission, name: str, layout: Layout, source: int, bounds: Bounds) -> None:
    """Write a clamp of its own, from ``source`` into the output ``name``, which is declared here."""
    code = _OPERATORS.get(bounds)
    if code and (not e.is_int8 or code != "RELU_N1_TO_1"):
        e.op(code, [source], [e.declare(name, layout)])
        return
    steps = _steps(e, name, bounds)
    tensors = [e.like(name, f"{name}/unclipped", layout) for _ in steps]
    tensors.append(e.declare(name, layout))
    if e.dtype(name) == "int8":
        # The operators of the steps do not rescale.
        e.quantize(source, tensors[0])
    elif steps:
        tensors = [source, *tensors[1:]]
    else:
        e.reshape(source, tensors[0], e.shape(name, layout))
    _chain(e, name, steps, tensors)


def _chain(e: Emission, name: str, steps: list[tuple[str, float | None]], tensors: list[int]) -> None:
    for (code, value), source, target in zip(steps, tensors[:-1], tensors[1:], strict=True):
        if value is None:
            e.op(code, [source], [target])
            continue
        values = np.full([1] * len(e.graph.shapes[name]), value)
        whole = e.dtype(name) == "int32"
        limit = e.integers(f"{name}/limit", values) if whole else e.constant(f"{name}/limit", values, e.params.get(name))
        e.op(code, [source, limit], [target], "MaximumMinimumOptions")


def _steps(e: Emission, name: str, bounds: Bounds) -> list[tuple[str, float | None]]:
    """Return the operators that clamp, each with its bound."""
    lo, hi = bounds
    if e.dtype(name) == "int8":
        return _unsaturated(e.params[name], bounds)
    if bounds in _OPERATORS and e.dtype(name) == "float32":
        return [(_OPERATORS[bounds], None)]
    return [(code, value) for code, value in (("MAXIMUM", lo), ("MINIMUM", hi)) if np.isfinite(value)]


def _unsaturated(params: Params, bounds: Bounds) -> list[tuple[str, float | None]]:
    """Return the clamping that saturation does not do: int8 reaches more than half a step past a bound.

    Half a step is what rounding the zero point may add.
    """
    lo, hi = bounds
    steps: list[tuple[str, float | None]] = []
    if params.lo < lo - _HALF_STEP * params.scale:
        steps.append(("MAXIMUM", lo))
    if params.hi > hi + _HALF_STEP * params.scale:
        steps.append(("MINIMUM", hi))
    return steps

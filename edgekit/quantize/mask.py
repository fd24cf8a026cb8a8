"""``attention_masks``: the huge negative constants of attention masks become as large as a Softmax can tell.

A mask adds -3.4e38, -1e9, -10000 or -inf to the scores that a Softmax must not see, or puts it in their place. In
256 levels of such a range nothing else is left. Softmax is exp(s - max) over its sum, and float32 exp is exactly 0
below -104 (the least subnormal is 2^-149 = exp(-103.3)): a score that is ENOUGH = 1000 lower than it was has the
weight 0, to the last bit, as long as the scores of a row lie within 896 of each other. So the constant becomes
-1000 there, -1000 / g where what it is part of is multiplied by g before the Softmax. (The range that the sum takes
in int8 is another matter: ``attention`` cuts it off where the weights become nothing.)

A row that is masked as a whole was undefined for -inf (0 / 0), and is now the softmax of its bare scores, as for
every finite mask; the guard that PyTorch exports against it (Where(IsNaN(p), 0, p)) has nothing left to guard.

Used by ``rewrite``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node

__all__ = ["ENOUGH", "attention_masks", "gains_to_softmax", "is_mask"]

ENOUGH = 1000.0
"""How far below the rest a masked score is put."""

# Beyond, a factor is itself the mask's constant, and what it multiplies a mask of zeros and ones.
_GAIN_MAX = 100.0

_MOVES = frozenset({"Concat", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Tile", "Transpose", "Unsqueeze"})
# What a mask is computed from: inputs and constants, by comparisons and little arithmetic.
_OF_MASKS = _MOVES | frozenset(
    ("Add", "And", "Cast", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Not", "Or", "Sub", "Where")
)
_MASK_DEPTH = 16


def attention_masks(graph: Graph) -> Graph:
    """Replace the constants, and drop the guards."""
    gains = gains_to_softmax(graph)
    draft = Draft(graph)
    for node in graph.nodes:
        inputs = list(node.inputs)
        for slot, name in enumerate(inputs):
            gain = _gain_of_input(graph, gains, node, slot) if name in graph.weights else None
            if gain:
                inputs[slot] = _bounded(draft, node, slot, gain)
        draft.nodes.append(_without_guard(graph, gains, replace(node, inputs=tuple(inputs))))
    return draft.finish()


def gains_to_softmax(graph: Graph) -> dict[str, float]:
    """Map each tensor that nothing but a Softmax sees, through sums and moves, to the factor it reaches it with."""
    gains: dict[str, float] = {}
    outputs = {spec.name for spec in graph.outputs}
    for node in reversed(graph.nodes):
        for name in node.outputs:
            readers = graph.consumers.get(name, ())
            if name in outputs or not readers or graph.dtypes.get(name) != "float32":
                continue
            found = [_gain_of_input(graph, gains, reader, slot) for reader in readers for slot, n in enumerate(reader.inputs) if n == name]
            known = [gain for gain in found if gain and abs(gain) <= _GAIN_MAX]
            if len(known) == len(found) and len({gain > 0 for gain in known}) == 1:
                # The least factor asks for the largest constant.
                gains[name] = min(known, key=abs)
    return gains


def _gain_of_input(graph: Graph, gains: dict[str, float], node: Node, slot: int) -> float | None:
    """Return the factor with which an input of a node reaches a Softmax, or None where it is not that simple."""
    if node.op == "Softmax":
        return 1.0
    gain = gains.get(node.outputs[0]) if node.outputs else None
    if gain is None:
        return None
    if node.op in ("Add", "Max", "Sum") or node.op in _MOVES:
        return gain
    if node.op == "Where":
        return gain if slot > 0 else None
    if node.op in ("Neg", "Sub"):
        return gain if node.op == "Sub" and slot == 0 else -gain
    if node.op in ("Mul", "Div"):
        other = node.inputs[1 - slot]
        values = graph.weights.get(other)
        if values is not None and values.size == 1 and (node.op == "Mul" or slot == 0):
            factor = float(values.reshape(()))
            return (gain * factor if node.op == "Mul" else gain / factor) if factor else None
        # One constant times a mask of zeros and ones, to be added to the scores: without scores it is a sharp softmax.
        constant = node.op == "Mul" and node.inputs[slot] in graph.weights
        added = all(reader.op != "Softmax" for reader in graph.consumers[node.outputs[0]])
        return gain if constant and added and is_mask(graph, other) else None
    return None


def is_mask(graph: Graph, name: str, depth: int = _MASK_DEPTH) -> bool:
    """Whether a tensor comes from inputs and constants by the arithmetic of masks alone."""
    maker = graph.producers.get(name)
    if maker is None:
        return True
    return depth > 0 and maker.op in _OF_MASKS and all(is_mask(graph, source, depth - 1) for source in maker.inputs if source)


def _bounded(draft: Draft, node: Node, slot: int, gain: float) -> str:
    """Return the constant of an input, no further from zero, on the side of the mask, than is enough."""
    name = node.inputs[slot]
    values: Array = draft.source.weights[name]
    limit = ENOUGH / abs(gain)
    # A mask may be 0 and 1 or 0 and -1: what it multiplies has either sign.
    lower = -limit if gain > 0 or node.op == "Mul" else -np.inf
    upper = limit if gain < 0 or node.op == "Mul" else np.inf
    bounded = np.clip(values, lower, upper)
    if values.dtype != np.float32 or np.array_equal(bounded, values):
        return name
    return draft.constant(f"{node.outputs[0]}/mask", bounded)


def _without_guard(graph: Graph, gains: dict[str, float], node: Node) -> Node:
    """Where(IsNaN(p), 0, p), p being a Softmax, is p."""
    if node.op != "Where":
        return node
    check, source = graph.producers.get(node.inputs[0]), graph.producers.get(node.inputs[2])
    guards = (
        check is not None and check.op == "IsNaN" and check.inputs[0] == node.inputs[2] and source is not None and source.op == "Softmax"
    )
    return replace(node, op="Identity", inputs=node.inputs[2:]) if guards else node

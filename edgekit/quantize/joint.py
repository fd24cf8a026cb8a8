"""Diagnoses of joints: nodes where tensors of unlike ranges come under one scale. The plan tells; no value is needed.

Used by ``diagnose``, which has the rules about what was measured.
"""

from __future__ import annotations

import numpy as np

from edgekit.explanation import Finding
from edgekit.graph import Graph, Node
from edgekit.plan import QuantPlan

__all__ = ["KEEP", "mixed_parts", "wide_constant"]

KEEP = "accuracy_drop_max under [budget]: edgekit build then keeps the fewest layers in float32 that it takes"
"""What treats whatever nothing else treats."""

FEWEST_LEVELS = 16.0
"""A part that gets fewer of the 256 levels has less than four bits."""

_JOINS = frozenset({"Add", "Max", "Min", "Sub", "Where"})


def wide_constant(graph: Graph, plan: QuantPlan, node: Node) -> Finding | None:
    """A constant (an attention mask's) so large that what it is joined with lies within one of the 255 steps."""
    if node.op not in _JOINS:
        return None
    width = _width(plan, node.outputs[0])
    joined = {name: _width(plan, name) for name in node.inputs if name in plan.ranges}
    buried = [name for name, own in joined.items() if 0.0 < own * 255 <= width]
    guilty = [found for name in node.inputs if name not in buried and (found := _constant_behind(graph, name)) is not None]
    if not buried or not guilty:
        return None
    name, value = max(guilty, key=lambda item: abs(item[1]))
    text = (
        f"the constant {name!r} ({value:g}) makes its range {width:.3g} wide; "
        f"{buried[0]!r}, {joined[buried[0]]:.3g} wide, lies within one step of it"
    )
    return Finding("wide-constant", node.name, text, "export the mask with a constant of about -30: softmax makes nothing of it as well")


def mixed_parts(graph: Graph, plan: QuantPlan, node: Node) -> Finding | None:
    """Parts of unlike units (boxes and scores) under one scale: ``FEWEST_LEVELS``."""
    if node.op != "Concat":
        return None
    widths = {name: width for name in node.inputs if name in plan.ranges and (width := _width(plan, name)) > 0.0}
    if len(widths) < 2:
        return None
    wide, narrow = max(widths, key=lambda name: widths[name]), min(widths, key=lambda name: widths[name])
    levels = 256 * widths[narrow] / widths[wide]
    if levels >= FEWEST_LEVELS:
        return None
    text = (
        f"{narrow!r}, {widths[narrow]:.3g} wide, shares one scale with {wide!r}, {widths[wide]:.3g} wide: "
        f"{max(1, round(levels))} of 256 levels are left for it"
    )
    is_output = node.outputs[0] in {spec.name for spec in graph.outputs}
    fix = "end the model before this node, with one output for each part" if is_output else KEEP
    return Finding("mixed-parts", node.name, text, fix)


def _width(plan: QuantPlan, name: str) -> float:
    return plan.ranges[name].hi - plan.ranges[name].lo


def _constant_behind(graph: Graph, name: str) -> tuple[str, float] | None:
    """Return the largest value of a constant, or of those that make a tensor, with its name."""
    maker = graph.producers.get(name)
    arrays = {other: graph.weights[other] for other in ([name] if maker is None else maker.inputs) if other in graph.weights}
    values = {other: float(a.flat[int(np.abs(a).argmax())]) for other, a in arrays.items() if a.size and a.dtype.kind == "f"}
    return max(values.items(), key=lambda item: abs(item[1]), default=None)

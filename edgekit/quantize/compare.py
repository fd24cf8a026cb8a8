"""Measure what each layer loses in int8: alone, with all else in float, and in the whole.

``pipeline.debug`` calls ``compare`` and ``output_losses``; ``diagnose`` reads what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from edgekit.explanation import Loss
from edgekit.graph import Array, Graph, Node
from edgekit.model import TensorSpec
from edgekit.plan import INT8_MAX, INT8_MIN, Precision, QuantPlan, Range, asymmetric_int8, symmetric_int8
from edgekit.quantize.attention import SOFTMAX
from edgekit.quantize.observe import MOVES, equivalents
from edgekit.quantize.side_by_side import WHOLE, SideBySide
from edgekit.quantize.simulate import fused_clamp, simulate

__all__ = ["Grid", "Measured", "channel_axes", "compare", "grid_of", "output_losses"]

Progress = Callable[[str, int, int], None]
Samples = Iterable[Mapping[str, Array]]

_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose"})
_FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Measured:
    """Sums over all values of one layer's result, and what the plan says of it.

    A layer is a node with the clamps that a runtime fuses into it; its tensor is what the last of them makes. An input
    of the network counts as one, with the operator ``Input``: it is stored, and no more.
    *Alone* it reads float values, and of all roundings only its own remain: of what it reads, of its weights, of
    what it writes. In the *whole*, every layer before it is int8 as well.

    Attributes
    ----------
    values
        How many values were seen, over all samples.
    signal, alone
        float64 [channels]: sum of squares of the float values, and of the error alone.
    lo, hi
        float64 [channels]: the least and the greatest float value.
    alone_power, whole_power
        Sum of squares of the int8 values, alone and in the whole.
    whole
        Sum of squares of the error in the whole.
    weights, stored, clipped
        Parts of the error alone: what its weights and biases make, all else being float; what writing the result
        makes, by rounding and by cutting off; of that, what is cut off. The rest is made by rounding what it reads.
    saturated
        How many float values lie outside the range by more than half a step.
    """

    name: str
    op: str
    tensor: str
    precision: Precision
    range: Range
    values: int
    signal: Array
    alone: Array
    lo: Array
    hi: Array
    alone_power: float
    whole_power: float
    whole: float
    weights: float
    stored: float
    clipped: float
    saturated: int

    @property
    def loss_alone(self) -> Loss:
        """What the layer loses by itself."""
        return Loss.of(float(self.signal.sum()), self.alone_power, float(self.alone.sum()))

    @property
    def loss_whole(self) -> Loss:
        """How far its result is from float with every layer in int8."""
        return Loss.of(float(self.signal.sum()), self.whole_power, self.whole)

    @property
    def noise(self) -> float:
        """Power of the error alone relative to the signal's; 0.0 of a layer without signal."""
        signal = float(self.signal.sum())
        return float(self.alone.sum()) / signal if signal and math.isfinite(signal) else 0.0


@dataclass(frozen=True)
class _Layer:
    nodes: tuple[Node, ...]
    tensor: str


class Grid(NamedTuple):
    """The values that int8 can say in a tensor's range: from ``lo`` to ``hi`` in steps, with the one of 0.0 at ``zero_point``."""

    lo: float
    hi: float
    step: float
    zero_point: int


def grid_of(plan: QuantPlan, tensor: str) -> Grid:
    """Return the grid of a tensor's range under the plan's scheme."""
    interval = plan.ranges[tensor]
    if plan.scheme.symmetric:
        step = symmetric_int8(interval.lo, interval.hi)
        return Grid(-INT8_MAX * step, INT8_MAX * step, step, 0)
    step, zero_point = asymmetric_int8(interval.lo, interval.hi)
    return Grid((INT8_MIN - zero_point) * step, (INT8_MAX - zero_point) * step, step, zero_point)


def compare(
    graph: Graph, quantized: Graph, plan: QuantPlan, samples: Samples, *, total: int, progress: Progress = lambda *_: None
) -> tuple[Measured, ...]:
    """Run samples through the float and the int8 network at once and measure every layer.

    Parameters
    ----------
    graph
        The float network.
    quantized
        The network with the weights and biases that the artifact gets; the same nodes and tensors.
    plan
        Of either graph: it speaks of names.
    samples
        One at a time, by input name, with the graph's own shapes.
    total
        Number of samples to expect, for ``progress("compare layers", done, total)`` alone.

    Returns
    -------
    In the network's order, its inputs first. Operators that only move values, and those that make no float values, are absent.

    Raises
    ------
    InputError
        See ``SideBySide.run``.
    """
    both = SideBySide(graph)
    networks = {"": iter(graph.nodes), WHOLE: both.copy(simulate(quantized, plan), WHOLE)}
    axes = channel_axes(graph)
    asked = []
    for layer in _layers(graph):
        for prefix, nodes in networks.items() if layer.nodes else ():
            both.place(nodes, f"{prefix}{layer.tensor}")
        asked.append((layer, _ask(both, quantized, layer, plan, axes[layer.tensor])))
    for nodes in networks.values():
        both.place(nodes)
    progress("compare layers", 0, total)
    sums, count = both.run(samples, lambda done: progress("compare layers", done, total))
    return tuple(_measured(graph, plan, layer, {kind: sums[name] for kind, name in names.items()}, count) for layer, names in asked)


def _ask(both: SideBySide, quantized: Graph, layer: _Layer, plan: QuantPlan, axis: int) -> dict[str, str]:
    """Add a layer by itself, and the sums that its figures need; return their names by figure."""
    tensor, grid = layer.tensor, grid_of(plan, layer.tensor)
    rounded = both.rounded(tensor, grid.step, grid.zero_point)
    parts = {}
    if layer.nodes:
        cut = _cut(quantized, layer)
        simulated = simulate(cut, plan)
        alone, whole = f"{tensor} alone:", f"{WHOLE}{tensor}"
        both.place(both.copy(simulated, alone))
        alone = f"{alone}{tensor}"
        if (weights := _weights_alone(cut, simulated, plan)) is not None:
            both.place(both.copy(weights, f"{tensor} weights:"))
            parts["weights"] = f"{tensor} weights:{tensor}"
    else:
        alone = whole = rounded if _precision(both.source, plan, layer) == "int8" else tensor
    lo, hi = both.extremes(tensor, axis)
    # What was cut off below for a Softmax gets the weight 0 there as well as on the edge of the range, and is no loss.
    exact = both.clipped(tensor, grid.lo, _FLOAT_MAX) if plan.ranges[tensor].method == SOFTMAX else tensor
    return {
        **{part: both.error_power(exact, seen) for part, seen in parts.items()},
        "signal": both.power(exact, axis),
        "alone": both.error_power(exact, alone, axis),
        "lo": lo,
        "hi": hi,
        "alone_power": both.power(alone),
        "whole_power": both.power(whole),
        "whole": both.error_power(exact, whole),
        "stored": both.error_power(exact, rounded),
        "clipped": both.error_power(exact, both.clipped(tensor, grid.lo, grid.hi)),
        "saturated": both.outside(exact, grid.lo - grid.step / 2, grid.hi + grid.step / 2),
    }


def _precision(graph: Graph, plan: QuantPlan, layer: _Layer) -> Precision:
    """Return what a layer computes in; of an input, whether anything reads it in int8."""
    nodes = layer.nodes[:1] or graph.consumers.get(layer.tensor, ())
    return "int8" if any(plan.precision(node.name) == "int8" for node in nodes) else "float32"


def _measured(graph: Graph, plan: QuantPlan, layer: _Layer, sums: Mapping[str, Array], count: int) -> Measured:
    return Measured(
        name=layer.nodes[0].name if layer.nodes else layer.tensor,
        op=layer.nodes[0].op if layer.nodes else "Input",
        tensor=layer.tensor,
        precision=_precision(graph, plan, layer),
        range=plan.ranges[layer.tensor],
        values=count * math.prod(graph.shapes[layer.tensor]),
        signal=np.atleast_1d(sums["signal"]),
        alone=np.atleast_1d(sums["alone"]),
        lo=np.atleast_1d(sums["lo"]),
        hi=np.atleast_1d(sums["hi"]),
        alone_power=float(sums["alone_power"]),
        whole_power=float(sums["whole_power"]),
        whole=float(sums["whole"]),
        weights=float(sums.get("weights", 0.0)),
        stored=float(sums["stored"]),
        clipped=float(sums["clipped"]),
        saturated=round(float(sums["saturated"])),
    )


def output_losses(graph: Graph, quantized: Graph, plan: QuantPlan, samples: Samples) -> dict[str, Loss]:
    """Return what each float output of the network loses, by its name.

    Raises
    ------
    InputError
        See ``SideBySide.run``.
    """
    both = SideBySide(graph)
    both.place(iter(graph.nodes))
    both.place(both.copy(simulate(quantized, plan), WHOLE))
    names = [spec.name for spec in graph.outputs if spec.dtype == "float32" and spec.name in graph.producers]
    asked = {name: (both.power(name), both.power(f"{WHOLE}{name}"), both.error_power(name, f"{WHOLE}{name}")) for name in names}
    sums, _ = both.run(samples)
    return {name: Loss.of(*(float(sums[figure]) for figure in figures)) for name, figures in asked.items()}


def _layers(graph: Graph) -> list[_Layer]:
    same = equivalents(graph)
    layers = [_Layer((), spec.name) for spec in graph.inputs if spec.dtype == "float32"]
    fused: set[str] = set()
    for node in graph.nodes:
        if node.name in fused or node.op in MOVES or graph.dtypes.get(node.outputs[0]) != "float32":
            continue
        nodes, tensor = [node], node.outputs[0]
        while (clamp := fused_clamp(graph, same, tensor)) is not None:
            nodes.append(clamp)
            fused.add(clamp.name)
            tensor = clamp.outputs[0]
        layers.append(_Layer(tuple(nodes), tensor))
    return layers


def _cut(graph: Graph, layer: _Layer) -> Graph:
    """Return a layer by itself, what it reads from others being its inputs."""
    names = {node.name for node in layer.nodes}
    nodes = [node for node in graph.nodes if node.name in names]
    made = {name for node in nodes for name in node.outputs}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name)
    entries = [name for name in read if name not in made and name not in graph.weights]
    inputs, outputs = (
        tuple(TensorSpec(name, graph.dtypes[name], graph.shapes[name]) for name in names) for names in (entries, [layer.tensor])
    )
    return replace(graph, inputs=inputs, outputs=outputs).with_nodes(nodes)


def _weights_alone(cut: Graph, simulated: Graph, plan: QuantPlan) -> Graph | None:
    """Return a layer whose weights and biases are those of int8 and all else is float; None where it is float or has none."""
    new = {name: f"{name}/int8" for name in cut.weights if name in plan.weights and f"{name}/int8" in simulated.weights}
    nodes = [replace(node, inputs=tuple(new.get(name, name) for name in node.inputs)) for node in cut.nodes]
    return simulated.with_nodes(nodes, weights={**cut.weights, **simulated.weights}) if new else None


def channel_axes(graph: Graph) -> dict[str, int]:
    """Return the axis of each activation's channels: 1 of images and of what convolutions make, else the last."""
    axes = {spec.name: _channel_axis(spec.shape) for spec in graph.inputs}
    for node in graph.nodes:
        source = node.inputs[0] if node.inputs else ""
        for name in node.outputs:
            shape, before = graph.shapes.get(name, ()), graph.shapes.get(source, ())
            axes[name] = 1 if node.op in _CONVOLUTIONS else _channel_axis(shape)
            # A convolution in one dimension is one in two between reshapes.
            if source in axes and (before == shape or (node.op in MOVES and axes[source] == 1 and before[:2] == shape[:2])):
                axes[name] = axes[source]
    return axes


def _channel_axis(shape: tuple[int, ...]) -> int:
    return 1 if len(shape) == 4 else max(0, len(shape) - 1)

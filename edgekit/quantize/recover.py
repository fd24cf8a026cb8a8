"""Win back accuracy without training: better weight scales, better rounding, corrected biases.

The pipeline calls ``recover`` after ``calibrate`` and before an emitter; ``keep`` takes nodes out of int8
again, for the accuracy budget. Names of tensors and nodes stay, so one plan speaks of both graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import msgspec
import numpy as np

from edgekit.graph import Array, Graph
from edgekit.plan import NodePrecision, QuantPlan, WeightScale
from edgekit.quantize.blas import one_thread
from edgekit.quantize.layer import Layer, layers
from edgekit.quantize.moments import Gatherer, Moments, blocks, in_memory
from edgekit.quantize.observe import Progress, run_float, session, single
from edgekit.quantize.rounding import nearest, round_rows
from edgekit.quantize.spread import Samples
from edgekit.quantize.weights import least_error_scales

__all__ = ["Recovered", "Recovery", "Samples", "keep", "recover"]

_MOMENTS_BYTES = 96 << 20
_SAMPLES_MAX = 256


@dataclass(frozen=True)
class Recovery:
    """Which techniques are used.

    Attributes
    ----------
    weight_ranges
        Weight scales by least squared error of the output, not by the largest weight.
    rounding
        Weights rounded for the least error of the output.
    bias
        Biases corrected by the mean error of the output.
    """

    weight_ranges: bool = True
    rounding: bool = True
    bias: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """What is used, as ``QuantPlan.recovery`` lists it."""
        return tuple(name for name in ("weight_ranges", "rounding", "bias") if getattr(self, name))


@dataclass(frozen=True)
class Recovered:
    """A graph that computes on int8 weights as well as it can, and its plan.

    Attributes
    ----------
    original
        The float graph.
    graph
        The same with the weights of int8 layers on the plan's grid, and their biases corrected.
    plan
        With the scales of these weights.
    """

    original: Graph
    graph: Graph
    plan: QuantPlan


def recover(
    graph: Graph,
    plan: QuantPlan,
    samples: Samples,
    *,
    options: Recovery | None = None,
    progress: Progress = lambda *_: None,
) -> Recovered:
    """Return the graph and plan with the losses of rounding weights made up for.

    Parameters
    ----------
    graph
        The float graph that the plan is of.
    samples
        The calibration samples, as ``observe`` takes them.
    options
        Which techniques; None is all of them.
    progress
        Called with the stage ``"recover"`` (samples).

    Raises
    ------
    InputError
        See ``observe``.
    """
    chosen = options or Recovery()
    found = [layer for layer in layers(graph) if layer.weight in plan.weights and plan.precision(layer.node.name) == "int8"]
    found = _alone(graph, plan, found)
    if not found or not chosen.names:
        return Recovered(graph, graph, plan)
    constants: dict[str, Array] = {}
    scales: dict[str, WeightScale] = {}
    shifts: dict[str, Array] = {}
    for run in in_memory(found, _MOMENTS_BYTES):
        gatherer = Gatherer(graph, run, min(plan.samples, _SAMPLES_MAX))
        _stream(graph, run, samples, gatherer, plan.samples, progress)
        with one_thread():
            for layer in run:
                seen = gatherer.take(layer)
                constants[layer.weight], scales[layer.weight], shifts[layer.node.name] = _treated(graph, plan, layer, seen, chosen)
    changed = _with_constants(graph, found, constants, shifts if chosen.bias else {})
    new = msgspec.structs.replace(plan, weights={**plan.weights, **scales}, recovery=chosen.names)
    return Recovered(graph, changed, new)


def keep(recovered: Recovered, nodes: Mapping[str, NodePrecision]) -> Recovered:
    """Take further nodes out of int8: they get their float weights and biases back. Cheap: no sample is read.

    Parameters
    ----------
    nodes
        Precision and reason by node name.
    """
    plan = msgspec.structs.replace(recovered.plan, nodes={**recovered.plan.nodes, **nodes})
    original = {node.name: node for node in recovered.original.nodes}
    back = {name for name in nodes if plan.precision(name) != "int8"}
    for layer in layers(recovered.original):
        if layer.node.name in back and layer.bias:
            back.add(layer.bias.node)
    restored = [original[node.name] if node.name in back else node for node in recovered.graph.nodes]
    weights = dict(recovered.graph.weights)
    for node in restored:
        if node.name in back:
            weights.update({name: recovered.original.weights[name] for name in node.inputs if name in recovered.original.weights})
    shapes, dtypes = {**recovered.original.shapes, **recovered.graph.shapes}, {**recovered.original.dtypes, **recovered.graph.dtypes}
    graph = recovered.graph.with_nodes(restored, weights=dict(sorted(weights.items())), shapes=shapes, dtypes=dtypes)
    return Recovered(recovered.original, graph, plan)


def _alone(graph: Graph, plan: QuantPlan, found: list[Layer]) -> list[Layer]:
    """Leave out layers whose weight somebody else reads as well."""
    return [layer for layer in found if len(graph.consumers[layer.weight]) == 1]


def _stream(graph: Graph, run: Iterable[Layer], samples: Samples, gatherer: Gatherer, total: int, progress: Progress) -> None:
    entries = {spec.name for spec in graph.inputs}
    names = [name for name in dict.fromkeys(layer.x for layer in run) if name not in entries]
    runner = session(graph, names)
    # Evenly from the whole set, which may be in an order.
    every = -(-total // _SAMPLES_MAX)
    # Summing one sample overlaps with running the next; never more than these two exist.
    with one_thread(), ThreadPoolExecutor(1) as worker:
        summing: Future[None] | None = None
        for done, feed in enumerate(single(graph, samples()), start=1):
            if (done - 1) % every == 0:
                values = {**feed, **dict(zip(names, run_float(runner, names, feed), strict=True))}
                if summing:
                    summing.result()
                summing = worker.submit(gatherer.add, values)
            progress("recover", done, total)
        if summing:
            summing.result()


def _treated(graph: Graph, plan: QuantPlan, layer: Layer, seen: Moments, chosen: Recovery) -> tuple[Array, WeightScale, Array]:
    """Return a layer's weight on the grid, its scales, and what its bias has to gain per channel."""
    weight, scale = graph.weights[layer.weight], plan.weights[layer.weight]
    rows, cuts = layer.rows(weight), blocks(layer.taps)
    moments = seen.covariances
    if not (chosen.bias and layer.bias):
        # Nobody takes the mean error away, so it counts.
        moments = tuple(m + seen.mean[:, cut, None] * seen.mean[:, None, cut] for m, cut in zip(moments, cuts, strict=True))
    steps = _steps(layer, scale)
    # Of a grouped ConvTranspose, the same output of every group shares a scale.
    if chosen.weight_ranges and scale.axis is not None and (layer.node.op != "ConvTranspose" or layer.groups == 1):
        steps = least_error_scales(rows, np.concatenate([np.einsum("gii->gi", m) for m in moments], axis=1))
        scale = WeightScale(axis=scale.axis, scales=tuple(steps.reshape(-1).tolist()))
    on_grid = round_rows(rows, steps, moments, cuts, seen.count) if chosen.rounding else nearest(rows, steps)
    shift = np.einsum("got,gt->go", rows - on_grid, seen.mean).reshape(-1)
    return layer.weight_of(on_grid, weight), scale, shift * layer.gain


def _steps(layer: Layer, scale: WeightScale) -> Array:
    """Return the scale of each row: [groups, outputs]."""
    steps = np.asarray(scale.scales).reshape(1, -1)
    if layer.groups > 1 and layer.node.op != "ConvTranspose" and scale.axis is not None:
        steps = steps.reshape(layer.groups, layer.outputs)
    return np.broadcast_to(steps, (layer.groups, layer.outputs))


def _with_constants(graph: Graph, found: Iterable[Layer], constants: Mapping[str, Array], shifts: Mapping[str, Array]) -> Graph:
    weights, shapes, dtypes = {**graph.weights, **constants}, dict(graph.shapes), dict(graph.dtypes)
    nodes = {node.name: node for node in graph.nodes}
    for layer in found:
        if layer.bias is None or layer.node.name not in shifts:
            continue
        name = f"{layer.y}/bias"
        weights[name] = ((layer.offsets(graph) + shifts[layer.node.name]) / layer.bias.factor).astype(np.float32)
        shapes[name], dtypes[name] = weights[name].shape, "float32"
        nodes[layer.bias.node] = layer.bias.given(nodes[layer.bias.node], name)
    return graph.with_nodes([nodes[node.name] for node in graph.nodes], weights=dict(sorted(weights.items())), shapes=shapes, dtypes=dtypes)

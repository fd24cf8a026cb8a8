"""Rescale, shift and mix channels so that one scale per tensor fits them all; what the network computes stays the same.

One wide channel makes the levels of all others coarse. Between two layers, channels can be changed for
free: the first layer's rows make the change, the columns of those that read them undo it. The pipeline calls ``equalise``
before a graph is observed; plans and artifacts then speak of the graph it returns.

- *Scaling*, through Relu and the like and depthwise convolutions: Nagel et al. 2019, "Data-Free
  Quantization Through Weight Equalization and Bias Correction"; how far is searched as in Lin et al. 2023, "AWQ:
  Activation-aware Weight Quantization", along exponents from activations alone to weights alone.
- *Through a Clip* (Relu6) a channel can only grow, and only while it stays below the ceiling: three times what was seen
  must fit, a channel that was ever cut off stays. A value past that, were it to come, saturates, as it would
  anyway past its calibrated range.
- *Shifting* takes each channel's mean off where no Relu and no padding stands between: the linear bottlenecks of MobileNetV2.
- *Mixing* puts them in the basis that loses least: ``basis``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.graph import Array, Graph
from edgekit.quantize.basis import fitted_basis
from edgekit.quantize.blas import one_thread
from edgekit.quantize.channel import Shared, shared_channels
from edgekit.quantize.observe import Progress
from edgekit.quantize.spread import Samples, Spread, spreads

__all__ = ["HEADROOM", "equalise"]

HEADROOM = 3.0
"""How many times the largest value seen must stay below a Clip's ceiling. Measured: ``docs/benchmarks.md``."""

_GAIN_MIN = 0.9
_EXPONENTS = np.linspace(0.0, 1.0, 21)
_MIXED_MAX = 1024  # channels; beyond, fitting a basis takes longer than a build should
_NARROWEST = 1e-6  # of the widest channel; a channel of zeros is left alone
_VARIANCE_FLOOR = 0.01  # of the mean variance of a reader's outputs: what hardly varies hardly matters


@dataclass(frozen=True)
class _Change:
    """What becomes of the channels x of some tensors: ``forward @ (x - shift)``. One-dimensional factors stand for diagonal ones."""

    forward: Array
    inverse: Array
    shifts: Mapping[str, Array]


def equalise(graph: Graph, samples: Samples, *, progress: Progress = lambda *_: None) -> Graph:
    """Return a graph that computes the same and loses less when it is quantized.

    Names and shapes of all tensors and nodes stay; weights and biases are others.

    Parameters
    ----------
    samples
        Calibration samples, as ``observe`` takes them; the first 32 are run.
    progress
        Called with the stage ``"equalise"`` (samples).

    Raises
    ------
    InputError
        See ``observe``.
    """
    found = [shared for shared in shared_channels(graph) if math.isinf(shared.ceiling) or shared.single]
    if not found:
        return graph
    axes: dict[str, int] = {}
    correlated: set[str] = set()
    for shared in found:
        axes.update(shared.axes)
        if _is_mixed(shared):
            correlated.update(shared.axes)
            axes.update({layer.y: 1 if layer.convolves else len(graph.shapes[layer.y]) - 1 for layer in shared.readers})
    changes: dict[str, _Change] = {}
    with one_thread():
        seen = spreads(graph, axes, correlated, samples, progress)
        for shared in found:
            change = _mixed(graph, shared, seen) if _is_mixed(shared) else _scaled(graph, shared, seen)
            if change is not None:
                changes.update(dict.fromkeys(shared.axes, change))
        return _changed(graph, found, changes)


def _is_mixed(shared: Shared) -> bool:
    return shared.mixable and shared.channels <= _MIXED_MAX


def _mixed(graph: Graph, shared: Shared, seen: Mapping[str, Spread]) -> _Change | None:
    shifts = _shifts(shared, seen) if shared.shiftable else {name: np.zeros(shared.channels) for name in shared.axes}
    covariance = np.zeros((shared.channels, shared.channels))
    for name in shared.axes:
        spread = seen[name]
        off = spread.mean - shifts[name]
        covariance += np.asarray(spread.covariance) + np.outer(off, off)
    amplification = np.zeros_like(covariance)
    for layer in shared.readers:
        columns = layer.rows(graph.weights[layer.weight])[0].reshape(layer.outputs, shared.channels, -1)
        variance = seen[layer.y].variance
        if not variance.any():
            continue
        matters = 1.0 / (variance + _VARIANCE_FLOOR * variance.mean())
        # Each output channel counts by how its error compares with its own variance.
        weighted = columns * matters[:, None, None]
        amplification += np.einsum("ock,odk->cd", weighted, columns, optimize=True)
    if not (covariance.any() and amplification.any()):
        return None
    forward, inverse = fitted_basis(covariance / len(shared.axes), amplification)
    return _Change(forward, inverse, shifts)


def _shifts(shared: Shared, seen: Mapping[str, Spread]) -> dict[str, Array]:
    """Return each tensor's shift: of what layers make its mean, and what follows from that for sums."""
    shifts = {layer.y: seen[layer.y].mean for layer in shared.makers}
    for node in shared.between:
        first = shifts[node.inputs[0]]
        shifts[node.outputs[0]] = (
            first + shifts[node.inputs[1]] if node.op == "Add" else first - shifts[node.inputs[1]] if node.op == "Sub" else first
        )
    return shifts


def _scaled(graph: Graph, shared: Shared, seen: Mapping[str, Spread]) -> _Change | None:
    # What one clamp alone reads is rounded behind it.
    stored = [name for name in shared.axes if [node.op in ("Clip", "Relu") for node in graph.consumers[name]] != [True]]
    largest = np.max([seen[name].largest for name in stored], axis=0)
    # A channel that a clamp nearly always closes would be blown up without this: its inputs are as wide as others'.
    width = np.maximum(largest, np.sqrt(np.max([seen[name].power for name in shared.axes], axis=0)))
    alive = width > _NARROWEST * width.max(initial=0.0)
    if not alive.any():
        return None
    width = np.where(alive, width, width.max())
    power = np.mean([seen[name].power for name in stored], axis=0)
    rows = [layer.rows(graph.weights[layer.weight]) for layer in shared.readers]
    columns = _strongest(rows, shared.channels)
    best, least = None, _GAIN_MIN * _loss(rows, np.ones(shared.channels), width, power)
    for exponent in _EXPONENTS:
        for by_weight in (0.0, 1.0 - exponent):
            factors = np.where(alive, width**-exponent * columns**by_weight, 1.0)
            factors = _within(factors / np.max(factors * width), shared.ceiling, largest)
            loss = _loss(rows, factors, width, power)
            if loss < least:
                best, least = factors, loss
    return None if best is None else _Change(best, 1.0 / best, {name: np.zeros(shared.channels) for name in shared.axes})


def _within(factors: Array, ceiling: float, largest: Array) -> Array:
    """Bound factors, which make the widest channel 1, by a Clip's ceiling; without one they are what they are."""
    if math.isinf(ceiling):
        return factors
    room = np.where(largest < ceiling, ceiling / (HEADROOM * np.maximum(largest, _NARROWEST * ceiling)), 1.0)
    bounded: Array = np.clip(factors * ceiling, 1.0, np.maximum(room, 1.0))
    return bounded


def _strongest(rows: Sequence[Array], channels: int) -> Array:
    """Return of each channel its largest weight, of its row's largest: float64 [channels]."""
    strongest = np.full(channels, _NARROWEST)
    for held in rows:
        groups, outputs, _ = held.shape
        share = np.abs(held) / np.maximum(np.abs(held).max(axis=2, keepdims=True), np.finfo(np.float64).tiny)
        by_channel = share.reshape(groups, outputs, channels // groups, -1).max(axis=(1, 3)).reshape(-1)
        strongest = np.maximum(strongest, by_channel)
    return strongest


def _loss(rows: Sequence[Array], factors: Array, width: Array, power: Array) -> float:
    """Estimate the noise that rounding the tensor and the readers' weights adds to the readers' outputs, of their power."""
    step = float(np.max(factors * width)) / 127.0
    loss = 0.0
    for held in rows:
        groups, outputs, _ = held.shape
        columns = held.reshape(groups, outputs, len(factors) // groups, -1)
        by_group = factors.reshape(groups, 1, -1)
        squares = (columns**2).sum(axis=3)
        signal = (squares * power.reshape(groups, 1, -1)).sum(axis=2)
        from_tensor = step**2 * (squares / by_group**2).sum(axis=2)
        weight_steps = (np.abs(columns).max(axis=3) / by_group).max(axis=2) / 127.0
        from_weights = weight_steps**2 * (by_group**2 * power.reshape(groups, 1, -1)).sum(axis=2) * columns.shape[3]
        matters = signal + _VARIANCE_FLOOR * signal.mean() + np.finfo(np.float64).tiny
        loss += float(((from_tensor + from_weights) / matters).sum())
    return loss


def _changed(graph: Graph, found: Iterable[Shared], changes: Mapping[str, _Change]) -> Graph:
    weights, shapes, dtypes = dict(graph.weights), dict(graph.shapes), dict(graph.dtypes)
    nodes = {node.name: node for node in graph.nodes}
    touched = {layer.node.name: layer for shared in found for layer in (*shared.readers, *shared.makers)}
    for layer in touched.values():
        reads, makes = changes.get(layer.x), changes.get(layer.y)
        if reads is None and makes is None:
            continue
        rows, offset = layer.rows(weights[layer.weight]), layer.offsets(graph)
        if reads is not None:
            columns = rows.reshape(layer.groups, layer.outputs, -1, layer.taps // (len(reads.forward) // layer.groups))
            shift = reads.shifts[layer.x].reshape(layer.groups, 1, -1, 1)
            offset = offset + layer.gain * (columns * shift).sum(axis=(2, 3)).reshape(-1)
            if reads.inverse.ndim == 1:
                rows = (columns * reads.inverse.reshape(layer.groups, 1, -1, 1)).reshape(rows.shape)
            else:
                rows = np.einsum("gock,cd->godk", columns, reads.inverse, optimize=True).reshape(rows.shape)
        if makes is not None:
            offset = offset - makes.shifts[layer.y]
            if makes.forward.ndim == 1:
                rows, offset = rows * makes.forward.reshape(layer.groups, layer.outputs, 1), offset * makes.forward
            else:
                rows, offset = (makes.forward @ rows[0])[None], makes.forward @ offset
        weights[layer.weight] = layer.weight_of(rows, weights[layer.weight])
        if layer.bias and offset.any():
            adder = nodes[layer.bias.node]
            name = layer.bias.name(adder) or f"{layer.y}/bias"
            weights[name] = (offset / layer.bias.factor).astype(np.float32)
            shapes[name], dtypes[name] = weights[name].shape, "float32"
            nodes[adder.name] = layer.bias.given(adder, name)
    return graph.with_nodes([nodes[node.name] for node in graph.nodes], weights=dict(sorted(weights.items())), shapes=shapes, dtypes=dtypes)

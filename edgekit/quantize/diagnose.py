"""Diagnoses: what is wrong with a layer, in words, and what treats it. Rules with a stated threshold each; pure.

``pipeline.debug`` calls ``diagnose`` with what ``compare`` measured. Every rule is a function of its own that returns a
finding or None, and a healthy network has none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from edgekit.explanation import Finding
from edgekit.graph import Graph, Node
from edgekit.plan import QuantPlan
from edgekit.quantize.compare import Measured
from edgekit.quantize.joint import KEEP, mixed_parts, wide_constant
from edgekit.quantize.observe import MOVES

__all__ = ["Gain", "cause", "diagnose", "is_ill"]

LOW_DB = 25.0
"""A layer that loses this much alone is ill. Eight bits over four standard deviations of bell-shaped values leave
10 log10(12 * 255^2 / 8^2) = 41 dB, and what a layer reads, its weights and what it writes are rounded: some 36 dB. Every
layer of ResNet20 and ResNet32 is above 33 dB, of EfficientNet-Lite0 above 29 dB. Here two bits are gone."""

HALF = 0.5
"""A part of the error is called its cause when it makes more than all others together."""

SPREAD = 8.0
"""Half of the channels use less than an eighth of the range: three of the eight bits are lost on them."""

CHANNEL_DB = 30.0
"""What rounding to the five bits that are left to such channels gives at best: 6.02 dB each (W. R. Bennett, "Spectra of
quantized signals", 1948). A channel better than that does not suffer from the others."""

FEWEST_CHANNELS = 4
"""Below, a median says nothing."""

FEWEST_VALUES = 10
"""Fewer values outside a range may be chance: a classifier's ten scores are but some hundred values in all."""

CUT_LAYERS = 0.25
"""Share of the layers in which most of the error is values cut off, on samples that calibration has not seen. With minmax or
mse ranges of 1, 2 and 4 samples it is up to 0.53, 0.44 and 0.36 in ResNet20 and 0.33, 0.30 and 0.27 in MobileNetV2; of 100 samples
at most 0.03 there and 0.00 here, with any method 0.20."""

FEW_SAMPLES = 32
"""From so many on, ranges stay as they are: the output's SQNR in int8 is within 0.7 dB of that with 100 samples in ResNet20,
MobileNetV2 and EfficientNet-Lite0. Below, a twentieth of the layers (``CUT_FEW``) is enough to say so."""

CUT_FEW = 0.05

FEWEST_LAYERS = 3
"""Below, a share of the layers says nothing."""

AMPLIFIED = 10.0
"""The error relative to the signal is ten times what it was in what the layer reads. A sum of terms of either sign has the
relative error of its terms; more comes of terms that cancel, or of a clamp that keeps the least of them."""

GAIN_DB = 3.0
"""More than half of the output's error power goes when one layer stays float."""

Cause = Literal["weights", "stored", "read"]


class Gain(NamedTuple):
    """By how much the SQNR of the network's output rises when a layer stays float, together with others."""

    decibels: float
    others: tuple[str, ...]


_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_SUMS = _PRODUCTS | {"Add", "AveragePool", "GlobalAveragePool", "ReduceMean", "ReduceSum", "Sub"}


def diagnose(
    graph: Graph, plan: QuantPlan, measured: Sequence[Measured], gains: Mapping[str, Gain], switched_off: Collection[str] = ()
) -> tuple[Finding, ...]:
    """Return what is wrong, the gravest first: what concerns all layers, then the layers by what they lose alone.

    Parameters
    ----------
    graph, plan
        The float network and its plan.
    measured
        Of ``compare``, on samples that calibration has not seen.
    gains
        Of the layers that were tried in float.
    switched_off
        The keys of ``[quantize]`` that are false.
    """
    nodes = {node.name: node for node in graph.nodes}
    by_tensor = {layer.tensor: layer for layer in measured}
    found = [too_few_samples(plan, measured)]
    found += [dominates(name, gain) for name, gain in sorted(gains.items(), key=lambda item: -item[1].decibels)]
    for layer in sorted(measured, key=lambda layer: -layer.noise):
        node = nodes.get(layer.name)
        if node:
            found.append(constant_result(graph, layer, node))
        if layer.precision == "int8":
            found += [outlier_channel(layer, switched_off), saturation(layer), far_values(layer)]
        if node and layer.precision == "int8":
            found += [wide_constant(graph, plan, node), mixed_parts(graph, plan, node), weight_outlier(graph, layer, node, switched_off)]
            found.append(amplified_rounding(graph, layer, node, by_tensor, switched_off))
    return tuple(finding for finding in found if finding)


def is_ill(layer: Measured) -> bool:
    """Tell whether a layer loses too much by itself: ``LOW_DB``."""
    return layer.noise > 10 ** (-LOW_DB / 10)


def cause(layer: Measured) -> Cause:
    """Return what makes most of a layer's error: its weights, the rounding of its result, or that of what it reads."""
    parts: dict[Cause, float] = {"weights": layer.weights, "stored": layer.stored}
    parts["read"] = float(layer.alone.sum()) - layer.weights - layer.stored
    return max(parts, key=lambda part: parts[part])


def too_few_samples(plan: QuantPlan, measured: Sequence[Measured]) -> Finding | None:
    """The ranges do not hold for new samples: ``CUT_LAYERS``, ``FEW_SAMPLES``."""
    int8 = [layer for layer in measured if layer.precision == "int8" and layer.alone.any()]
    cut = sum(layer.clipped > HALF * float(layer.alone.sum()) for layer in int8)
    is_few = plan.samples < FEW_SAMPLES
    if cut < FEWEST_LAYERS or cut <= (CUT_FEW if is_few else CUT_LAYERS) * len(int8):
        return None
    text = f"in {cut} of {len(int8)} layers most of the error is values cut off, larger than any that the ranges allow for: they come from "
    text += f"{plan.samples} samples" + ("" if is_few else ", which were not like those of the evaluation set")
    fix = "samples under [calibration]: some hundreds, of all that the device will see"
    return Finding("few-samples", None, text, fix if is_few else f'{fix}; or method = "mse", which cuts off little')


def dominates(name: str, gain: Gain) -> Finding | None:
    """One layer makes most of the loss: ``GAIN_DB``."""
    if gain.decibels < GAIN_DB:
        return None
    share, others = 1 - 10 ** (-gain.decibels / 10), f" and {', '.join(gain.others)}" if gain.others else ""
    text = f"{share:.0%} of the output's error comes from here: with it{others} in float, the output's SQNR rises by {gain.decibels:.1f} dB"
    return Finding("dominates", name, text, KEEP)


def constant_result(graph: Graph, layer: Measured, node: Node) -> Finding | None:
    """A product with constants that makes the same value whatever it reads; arithmetic of masks may, and rightly."""
    lo, hi = float(layer.lo.min()), float(layer.hi.max())
    if lo != hi or node.op not in _PRODUCTS or node.inputs[1] not in graph.weights or layer.values <= 1:
        return None
    text = f"every value it makes is {lo:g}, for all samples: it is dead, or what it reads is"
    return Finding("constant", layer.name, text, "compare [preprocess] with the training's; else the model does not need this layer")


def outlier_channel(layer: Measured, switched_off: Collection[str] = ()) -> Finding | None:
    """One scale for a tensor of unequal channels: ``SPREAD``, ``CHANNEL_DB``."""
    alive = layer.signal > 0
    if int(alive.sum()) < FEWEST_CHANNELS:
        return None
    widths = np.maximum(layer.hi, 0.0) - np.minimum(layer.lo, 0.0)
    widest, median = int(widths.argmax()), float(np.median(widths[alive]))
    noise = float(np.median(layer.alone[alive] / layer.signal[alive]))
    if widths[widest] < SPREAD * median or noise < 10 ** (-CHANNEL_DB / 10):
        return None
    text = (
        f"channel {widest} is {widths[widest] / median:.0f} times as wide as half of its {int(alive.sum())} channels: "
        f"one scale for all leaves these with an SQNR of {-10 * math.log10(noise):.0f} dB or less"
    )
    return Finding("outlier-channel", layer.name, text, _switch_on(switched_off, "balance", "equalise"))


def weight_outlier(graph: Graph, layer: Measured, node: Node, switched_off: Collection[str]) -> Finding | None:
    """Most of an ill layer's error comes from its weights: ``LOW_DB``, ``HALF``."""
    if not is_ill(layer) or layer.weights <= HALF * float(layer.alone.sum()):
        return None
    weight = np.abs(graph.weights[next(name for name in node.inputs if name in graph.weights)])
    peak = float(weight.max()) / max(math.sqrt(np.mean(np.square(weight, dtype=np.float64))), 1e-30)
    text = (
        f"{_share(layer, layer.weights)} of its error is the rounding of its weights; "
        f"the largest is {peak:.0f} times their root mean square, and makes the steps coarse"
    )
    return Finding("weight-outlier", layer.name, text, _switch_on(switched_off, "weight_ranges", "rounding"))


def saturation(layer: Measured) -> Finding | None:
    """Most of an ill layer's error is values cut off: ``LOW_DB``, ``HALF``."""
    if not is_ill(layer) or layer.saturated < FEWEST_VALUES or layer.clipped <= HALF * float(layer.alone.sum()):
        return None
    text = (
        f"{_share(layer, layer.clipped)} of its error is cut off: {layer.saturated / layer.values:.2%} of its values lie outside "
        f"{layer.range.lo:.3g}..{layer.range.hi:.3g} ({layer.range.method}), the farthest at {_farthest(layer):.3g}"
    )
    other = "minmax" if layer.range.method == "mse" else "mse"
    return Finding("saturation", layer.name, text, f'method = "{other}" under [calibration], or more samples there')


def far_values(layer: Measured) -> Finding | None:
    """Most of an ill layer's error is the rounding of its result, and no channel's fault: a few values stretch the range."""
    if not is_ill(layer) or layer.stored - layer.clipped <= HALF * float(layer.alone.sum()) or outlier_channel(layer):
        return None
    rms = math.sqrt(float(layer.signal.sum()) / layer.values)
    text = (
        f"{_share(layer, layer.stored - layer.clipped)} of its error is the rounding of its result: "
        f"values as far as {_farthest(layer):.3g} make the steps coarse, with a root mean square of {rms:.3g}"
    )
    other = "" if layer.range.method == "mse" else 'method = "mse" under [calibration] cuts far values off; '
    return Finding("far-values", layer.name, text, f"{other}{KEEP}")


def amplified_rounding(
    graph: Graph, layer: Measured, node: Node, by_tensor: Mapping[str, Measured], switched_off: Collection[str]
) -> Finding | None:
    """Most of an ill sum's error is the rounding of what it reads, which was small there: ``LOW_DB``, ``HALF``, ``AMPLIFIED``."""
    error, signal = float(layer.alone.sum()), float(layer.signal.sum())
    rest = error - layer.weights - layer.stored
    if node.op not in _SUMS or not is_ill(layer) or rest <= HALF * error:
        return None
    sources = [by_tensor[name] for name in (_unmoved(graph, name) for name in node.inputs) if name in by_tensor]
    read = max((source.stored / power for source in sources if (power := float(source.signal.sum()))), default=0.0)
    if rest / signal < AMPLIFIED * read:
        return None
    text = (
        f"{_share(layer, rest)} of its error is the rounding of what it reads, {10 * math.log10(rest / signal / max(read, 1e-30)):.0f} dB "
        "less in proportion there: the terms that it adds up cancel, or a clamp leaves little of them"
    )
    return Finding("amplified-rounding", layer.name, text, _switch_on(switched_off, "balance", "equalise"))


def _unmoved(graph: Graph, name: str) -> str:
    """Return the tensor whose values one holds in another order."""
    while (maker := graph.producers.get(name)) and maker.op in MOVES:
        name = maker.inputs[0]
    return name


def _switch_on(switched_off: Collection[str], *keys: str) -> str:
    """Return what treats an ill layer: the remedies that are switched off, or with all of them on, float."""
    off = [f"{key} = true" for key in keys if key in switched_off]
    return f"{', '.join(off)} under [quantize]" if off else KEEP


def _share(layer: Measured, part: float) -> str:
    return f"{min(1.0, part / float(layer.alone.sum())):.0%}"


def _farthest(layer: Measured) -> float:
    return float(max(layer.lo.min(), layer.hi.max(), key=abs))

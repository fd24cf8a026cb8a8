"""From a float graph and real samples to a ``QuantPlan``. The pipeline calls ``calibrate`` once per build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgekit.graph import Array, Graph
from edgekit.plan import ASYMMETRIC, NodePrecision, QuantPlan, Scheme
from edgekit.quantize.attention import attention_ranges
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.observe import Progress, equivalents, observe
from edgekit.quantize.ranges import DEFAULT_METHOD, METHODS, Method, choose_range
from edgekit.quantize.weights import weight_scales

__all__ = ["DEFAULT_METHOD", "METHODS", "calibrate", "plan_from"]


def calibrate(
    graph: Graph,
    samples: Iterable[Mapping[str, Array]],
    *,
    total: int,
    method: Method = DEFAULT_METHOD,
    dataset_sha256: str | None,
    progress: Progress = lambda *_: None,
) -> QuantPlan:
    """Return the plan that makes every node int8.

    Parameters
    ----------
    samples
        Arrays by input name, already preprocessed, with a batch dimension: one sample each, or several.
    total
        Number of samples.
    method
        How ranges are chosen: ``ranges.METHODS``.
    dataset_sha256
        Digest of the calibration set, None for random data.
    progress
        Called with the stages ``"calibrate"`` (samples) and ``"choose ranges"`` (tensors).

    Raises
    ------
    InputError
        See ``observe``.
    """
    histograms = observe(graph, samples, total=total, progress=progress)
    return plan_from(graph, histograms, total=total, method=method, dataset_sha256=dataset_sha256, progress=progress)


def plan_from(
    graph: Graph,
    histograms: Mapping[str, Histogram],
    *,
    total: int,
    method: Method,
    dataset_sha256: str | None,
    scheme: Scheme = ASYMMETRIC,
    nodes: Mapping[str, NodePrecision] | None = None,
    progress: Progress = lambda *_: None,
) -> QuantPlan:
    """Return the plan that ``method`` makes of what ``observe`` counted; the rest is as in ``calibrate``."""
    same = equivalents(graph)
    chosen = {}
    border = {same.get(spec.name, spec.name) for spec in (*graph.inputs, *graph.outputs)}
    for done, (name, histogram) in enumerate(histograms.items(), start=1):
        chosen[name] = choose_range(histogram, method, scheme, whole=name in border)
        progress("choose ranges", done, len(histograms))
    ranges = {name: chosen[same.get(name, name)] for name in graph.activations}
    return QuantPlan(
        graph_sha256=graph.sha256,
        dataset_sha256=dataset_sha256,
        samples=total,
        method=method,
        ranges={**ranges, **attention_ranges(graph, ranges, histograms)},
        weights=weight_scales(graph),
        nodes=dict(nodes or {}),
        scheme=scheme,
    )

"""From a float graph and real samples to a ``QuantPlan``. The pipeline calls it once per build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan
from edgekit.quantize.observe import Progress, equivalents, observe
from edgekit.quantize.ranges import DEFAULT_METHOD, METHODS, Method, choose_range
from edgekit.quantize.weights import weight_scales

__all__ = ["DEFAULT_METHOD", "METHODS", "calibrate"]


def calibrate(
    graph: Graph,
    batches: Iterable[Mapping[str, Array]],
    *,
    total: int,
    method: Method = DEFAULT_METHOD,
    dataset_sha256: str | None,
    progress: Progress = lambda *_: None,
) -> QuantPlan:
    """Return the plan that makes every node int8.

    Parameters
    ----------
    batches
        Arrays by input name, samples along the leading dimension, already preprocessed.
    total
        Number of samples in ``batches``.
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
    histograms = observe(graph, batches, total=total, progress=progress)
    chosen = {}
    for done, (name, histogram) in enumerate(histograms.items(), start=1):
        chosen[name] = choose_range(histogram, method)
        progress("choose ranges", done, len(histograms))
    same = equivalents(graph)
    return QuantPlan(
        graph_sha256=graph.sha256,
        dataset_sha256=dataset_sha256,
        samples=total,
        method=method,
        ranges={name: chosen[same.get(name, name)] for name in graph.activations},
        weights=weight_scales(graph),
    )

"""``restate``: say in other words what TFLite has none for, before ranges are observed.

The plan is of the graph that comes out. Called by ``emit`` as ``Runtime.prepare``.
"""

from __future__ import annotations

from edgekit.graph import Graph
from edgekit.runtimes.tflite.channels import block_shuffles, fold_orders
from edgekit.runtimes.tflite.merge import merge_axes
from edgekit.runtimes.tflite.unroll import unroll

__all__ = ["restate"]


def restate(graph: Graph) -> Graph:
    """Apply every rewrite; each changes values by rounding only."""
    for rewrite in (unroll, block_shuffles, fold_orders, merge_axes):
        graph = rewrite(graph)
    return graph

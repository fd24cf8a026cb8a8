"""``Draft``: a graph under rewriting, where nodes and constants are added and shapes keep step.

The rewrites of ``quantize`` and the ``prepare`` of runtimes write with it; a finished draft is a ``Graph`` again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from edgekit.graph import Array, Graph, Node, unique_names

__all__ = ["Draft"]


class Draft:
    """Nodes in order, and what they read, on the way from one graph to the next.

    Attributes
    ----------
    source
        The graph it started from; its constants and shapes are there already, its nodes are not.
    nodes
        In topological order, by the writer's care.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.nodes: list[Node] = []
        self.weights = dict(source.weights)
        self.shapes, self.dtypes = dict(source.shapes), dict(source.dtypes)

    def constant(self, name: str, values: Any, dtype: str = "float32") -> str:
        """Add a constant and return its name; one already there under this name is replaced."""
        array: Array = np.asarray(values, dtype=dtype)
        self.weights[name], self.shapes[name], self.dtypes[name] = array, array.shape, array.dtype.name
        return name

    def add(self, op: str, inputs: Iterable[str], output: str, shape: Sequence[int] | None = None, *, name: str = "", **attrs: Any) -> str:
        """Add a node of one float output and return that.

        Parameters
        ----------
        shape
            Of an output that the source graph does not have.
        name
            Of the node; by default the output's.
        """
        if shape is not None:
            self.shapes[output], self.dtypes[output] = tuple(int(size) for size in shape), "float32"
        self.nodes.append(Node(name or output, op, tuple(inputs), (output,), attrs))
        return output

    def reshape(self, source: str, output: str, shape: Sequence[int]) -> str:
        """Add a Reshape to a constant shape."""
        return self.add("Reshape", (source, self.constant(f"{output}/shape", shape, "int64")), output, shape)

    def transpose(self, source: str, output: str, perm: Sequence[int]) -> str:
        """Add a Transpose."""
        axes = [int(axis) for axis in perm]
        return self.add("Transpose", (source,), output, [self.shapes[source][axis] for axis in axes], perm=axes)

    def finish(self) -> Graph:
        """Return the graph; nodes that no output needs, and constants that no node reads, are left out."""
        needed = {spec.name for spec in self.source.outputs}
        kept: list[Node] = []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        return self.source.with_nodes(unique_names(reversed(kept)), weights=self.weights, shapes=self.shapes, dtypes=self.dtypes)

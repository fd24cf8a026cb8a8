"""``edgekit inspect --ops``: what becomes of each node on a target, said before anything is built."""

from __future__ import annotations

from pathlib import Path

from edgekit import lazy
from edgekit.operations import Operation, macs
from edgekit.pipeline.prepare import prepare
from edgekit.project import Project
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.sources import source_for
from edgekit.target import Target

__all__ = ["operations"]


def operations(project: Project, target: Target, *, model_path: Path) -> tuple[Operation, ...]:
    """Return the nodes of the graph that ``build`` would quantize, in its order, as the target's runtime judges them.

    No sample is read, so what ranges decide is open: a build may keep further nodes in float, for joints of unlike
    outputs or for its accuracy budget.

    Raises
    ------
    InputError
        The model is missing or cannot be read.
    """
    runtime: Runtime = lazy.load(RUNTIMES[target.runtime])()
    source = source_for(model_path)
    graph = prepare(source.load(source.read(model_path)), project, runtime)
    support, costs = runtime.support(graph), macs(graph)
    return tuple(
        Operation(
            name=node.name,
            op=node.op,
            precision=support[node.name].precision,
            why=support[node.name].why,
            fix=support[node.name].fix,
            macs=costs.get(node.name, 0),
        )
        for node in graph.nodes
    )

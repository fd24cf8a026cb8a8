"""The float graph that everything after it speaks of: in plain form, as its runtime wants it. Called before any sample is seen."""

from __future__ import annotations

import onnx

from edgekit.graph import Graph
from edgekit.project import Project
from edgekit.quantize.normalise import normalise
from edgekit.runtimes import Runtime

__all__ = ["prepare"]


def prepare(proto: onnx.ModelProto, project: Project, runtime: Runtime) -> Graph:
    """Return the graph that is observed, planned and emitted.

    Raises
    ------
    InputError
        See ``quantize.normalise``.
    """
    return runtime.prepare(normalise(proto, shapes=project.model.shapes))

"""The float graph that everything after it speaks of: in plain form, as its runtime wants it, channels evened out.

``material`` and ``calibrate`` call both functions, in this order; nothing else changes the float graph.
"""

from __future__ import annotations

import onnx

from edgekit.graph import Graph
from edgekit.pipeline import Progress, silent
from edgekit.project import Project
from edgekit.quantize.balance import balance
from edgekit.quantize.equalise import equalise
from edgekit.quantize.normalise import normalise
from edgekit.quantize.spread import Samples
from edgekit.runtimes import Runtime

__all__ = ["even_out", "prepare"]


def prepare(proto: onnx.ModelProto, project: Project, runtime: Runtime) -> Graph:
    """Return the float graph in plain form, as the runtime wants it.

    Raises
    ------
    InputError
        See ``quantize.normalise``.
    """
    return runtime.prepare(normalise(proto, shapes=project.model.shapes))


def even_out(graph: Graph, project: Project, runtime: Runtime, samples: Samples, *, progress: Progress = silent) -> Graph:
    """Return a graph that computes the same, with channels of like size where an int8 tensor has one scale for all.

    Parameters
    ----------
    samples
        Of the calibration set; the first few are read, twice.

    Raises
    ------
    InputError
        onnxruntime does not run the graph on the samples.
    """
    if project.quantize.balance:
        graph = balance(graph, samples, {name for name, found in runtime.support(graph).items() if found.precision != "int8"})
    if project.quantize.equalise:
        graph = equalise(graph, samples, progress=progress)
    return graph

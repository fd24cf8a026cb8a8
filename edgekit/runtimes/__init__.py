"""Runtimes: each turns a float graph and its quantization plan into the file one kind of runtime loads.

Here live the table of runtimes, the contract they keep and what they hand back. The pipeline loads
one by its name with ``edgekit.lazy.load``; listing them imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

from edgekit.graph import Graph
from edgekit.model import TensorSpec
from edgekit.plan import Precision, QuantPlan, Scheme

__all__ = ["RUNTIMES", "Artifact", "Runtime", "Support"]

RUNTIMES: Mapping[str, str] = MappingProxyType(
    {
        "onnxruntime": "edgekit.runtimes.qdq:OnnxRuntime",
        "tensorrt": "edgekit.runtimes.qdq:TensorRtQdq",
        "tflite": "edgekit.runtimes.tflite:TfliteRuntime",
    }
)


@dataclass(frozen=True)
class Artifact:
    """A file for a runtime, and how to feed it.

    Attributes
    ----------
    data
        The whole file.
    inputs, outputs
        In the model's order, with the shapes and dtypes of the file.
    layouts
        Input or output name -> ``"nhwc"`` or ``"nchw"`` of an image, else ``"as-is"``: the axes as the
        ONNX model has them. That is also said of an output which the model itself turns to channels last.
    """

    data: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layouts: dict[str, str]


@dataclass(frozen=True)
class Support:
    """What a runtime can do with one node.

    Attributes
    ----------
    precision
        ``"int8"``; the precision the node is computed in instead; ``"integer"`` for a node whose results are
        whole numbers or truth values; None where the runtime cannot compute it at all.
    why
        The reason where it is not int8.
    fix
        What the user can do where it is None.
    """

    precision: Precision | Literal["integer"] | None
    why: str = ""
    fix: str = ""


class Runtime(Protocol):
    """What the pipeline needs of a runtime on the host."""

    artifact_name: str
    """File name of the artifact in a bundle."""

    io_dtype: str
    """What its inputs and outputs are where the project does not say."""

    layout: str
    """Of its images where the project does not say: ``"nhwc"``, ``"nchw"`` or ``"as-is"``, the model's own."""

    scheme: Scheme
    """What its kernels make of a range."""

    def prepare(self, graph: Graph) -> Graph:
        """Rewrite what the runtime says otherwise, before ranges are observed: the plan is of this graph."""

    def support(self, graph: Graph) -> dict[str, Support]:
        """Say of every node of a prepared graph, by its name, what becomes of it."""

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact.

        Parameters
        ----------
        graph
            The normalised float graph, NCHW.
        plan
            Ranges of its tensors and scales of its weights.
        io_dtype
            ``"int8"``, ``"uint8"`` or ``"float32"``: of the artifact's inputs and outputs.
        layout
            ``"nhwc"`` or ``"nchw"`` of its 4-D inputs and outputs, or ``"as-is"``.

        Raises
        ------
        BuildError
            Nodes that the runtime cannot compute, all of them named.
        """

"""``TfliteRuntime``: the emitter's face. Fuse, settle precisions and scales, lower node by node, write the borders.

Called by the pipeline through ``edgekit.runtimes.RUNTIMES``.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.graph import Graph
from edgekit.model import TensorSpec
from edgekit.plan import ASYMMETRIC, Precision, QuantPlan
from edgekit.runtimes import Artifact, Support
from edgekit.runtimes.tflite.border import declare_inputs, write_outputs
from edgekit.runtimes.tflite.fuse import fuse
from edgekit.runtimes.tflite.lowering import lower, prepare, support
from edgekit.runtimes.tflite.precision import borders, settle
from edgekit.runtimes.tflite.restate import restate
from edgekit.runtimes.tflite.table import OPERATORS

__all__ = ["TfliteRuntime"]


class TfliteRuntime:
    """Writes .tflite files for LiteRT and tflite-runtime: int8, but for the nodes that the plan keeps in float."""

    artifact_name = "model.tflite"
    io_dtype = "auto"
    layout = "nhwc"
    scheme = ASYMMETRIC

    def prepare(self, graph: Graph) -> Graph:
        """Say otherwise what TFLite cannot say; see ``edgekit.runtimes.Runtime``."""
        return restate(graph)

    def support(self, graph: Graph) -> dict[str, Support]:
        """Say what becomes of every node; see ``edgekit.runtimes.Runtime``."""
        return support(graph)

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact; see ``edgekit.runtimes.Runtime``.

        Whole numbers are int32 in the file, where ONNX has int64, and keep the model's axes. ``io_dtype`` may be
        ``"auto"`` too: int8, and float32 where the network itself takes or makes that.
        """
        fused = fuse(graph)
        own = borders(fused, plan, OPERATORS)
        border: dict[str, Precision] = own if io_dtype == "auto" else dict.fromkeys(own, "float32" if io_dtype == "float32" else "int8")
        dtypes: Mapping[str, str] = own if io_dtype == "auto" else dict.fromkeys(own, io_dtype)
        precisions = settle(fused, plan, OPERATORS, border)
        e = prepare(fused, plan, precisions)
        inputs, layouts = declare_inputs(e, dtypes, layout, precisions)
        lower(e, precisions)
        outputs, output_layouts = write_outputs(e, dtypes, layout, inputs.values())

        def specs(tensors: Mapping[str, int]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(name, e.writer.dtype(index), e.writer.shape(index)) for name, index in tensors.items())

        entering, leaving = specs(inputs), specs(outputs)
        data = e.writer.finish(inputs, outputs)
        return Artifact(data=data, inputs=entering, outputs=leaving, layouts={**layouts, **output_layouts})

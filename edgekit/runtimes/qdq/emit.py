"""``OnnxRuntime`` and ``TensorRtQdq``: two Q/DQ files from one plan. Settle the parameters, place the roundings, write.

Called by the pipeline through ``edgekit.runtimes.RUNTIMES``. Inputs and outputs are those of the float model, so that the
file takes its place in an application.
"""

from __future__ import annotations

from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.plan import QuantPlan, Scheme
from edgekit.runtimes import Artifact, Support
from edgekit.runtimes.qdq import fused, stored
from edgekit.runtimes.qdq.emission import Emission
from edgekit.runtimes.qdq.params import resolve
from edgekit.runtimes.qdq.precision import settle
from edgekit.runtimes.qdq.prepare import prepare
from edgekit.runtimes.qdq.support import followers, fused_support, stored_support

__all__ = ["OnnxRuntime", "TensorRtQdq"]


class OnnxRuntime:
    """Writes Q/DQ files for onnxruntime's CPU kernels: asymmetric, every int8 node storing its result.

    Activations are uint8: on x86-64 onnxruntime multiplies uint8 by int8 in integers, but hardly int8 by int8
    (onnxruntime, core/mlas/lib/platform.cpp); on Arm it does both.
    """

    artifact_name = "model.onnx"
    io_dtype = "float32"
    layout = "as-is"
    scheme = Scheme(symmetric=False, stores=True)

    def prepare(self, graph: Graph) -> Graph:
        """Say in operators with integer kernels what has none; see ``edgekit.runtimes.Runtime``."""
        return prepare(graph)

    def support(self, graph: Graph) -> dict[str, Support]:
        """Say what becomes of every node; see ``edgekit.runtimes.Runtime``."""
        return stored_support(graph)

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact; see ``edgekit.runtimes.Runtime``."""
        _check(plan, self.scheme, io_dtype, layout)
        moving = followers(graph)
        chosen = settle(graph, plan, moving)
        folded = stored.folded_clamps(graph, chosen)
        copying = {name for name in moving if chosen[name] == "int8"} - {clamp.name for clamp in folded.values()}
        e = Emission(graph, plan, resolve(graph, plan, copying), "uint8")
        stored.place(e, chosen, folded)
        return _artifact(e.result())


class TensorRtQdq:
    """Writes Q/DQ files for TensorRT's explicit quantization, 8.5 and newer: symmetric, nothing rounded between fused layers."""

    artifact_name = "model.onnx"
    io_dtype = "float32"
    layout = "as-is"
    scheme = Scheme(symmetric=True, stores=False)

    def prepare(self, graph: Graph) -> Graph:
        """Return the graph as it is: TensorRT's parser reads all of it."""
        return graph

    def support(self, graph: Graph) -> dict[str, Support]:
        """Say what becomes of every node; see ``edgekit.runtimes.Runtime``."""
        return fused_support(graph)

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact; see ``edgekit.runtimes.Runtime``."""
        _check(plan, self.scheme, io_dtype, layout)
        e = Emission(graph, plan, resolve(graph, plan, {name for name in followers(graph) if plan.precision(name) == "int8"}), "int8")
        fused.place(e)
        return _artifact(e.result())


def _check(plan: QuantPlan, scheme: Scheme, io_dtype: str, layout: str) -> None:
    if (io_dtype, layout) != ("float32", "as-is"):
        raise BuildError(
            f"this runtime's models take and give what the float model does, not {io_dtype} in {layout}",
            fix="leave io_dtype and layout out of [build] in edgekit.toml for this target",
        )
    if plan.scheme != scheme:
        raise BuildError("the plan is for another kind of kernel", fix="calibrate the model again, for this target")


def _artifact(written: Graph) -> Artifact:
    data = written.to_onnx().SerializeToString(deterministic=True)
    layouts = {spec.name: "as-is" for spec in (*written.inputs, *written.outputs)}
    return Artifact(data=data, inputs=written.inputs, outputs=written.outputs, layouts=layouts)

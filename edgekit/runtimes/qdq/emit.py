"""``OnnxRuntime`` and ``TensorRtQdq``: two Q/DQ files from one plan. Settle the parameters, place the roundings, write.

Called by the pipeline through ``edgekit.runtimes.RUNTIMES``. Inputs and outputs are those of the float model, so that the
file takes its place in an application.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from edgekit.engine import EnginePrecision
from edgekit.errors import BuildError
from edgekit.graph import Graph
from edgekit.ondevice.tensorrt.key import SOURCES
from edgekit.plan import QuantPlan, Scheme
from edgekit.runtimes import Artifact, Support
from edgekit.runtimes.qdq import fused, stored
from edgekit.runtimes.qdq.emission import Emission
from edgekit.runtimes.qdq.half import half
from edgekit.runtimes.qdq.precision import settle
from edgekit.runtimes.qdq.prepare import prepare, prepare_fused
from edgekit.runtimes.qdq.support import followers, fused_support, stored_support
from edgekit.runtimes.scales import resolve

__all__ = ["OnnxRuntime", "TensorRtQdq"]

# A protobuf message is shorter than 2 GiB (protocolbuffers documentation, "Total Size of the Message"); 16 MiB for the nodes.
_FILE_BYTES_MAX = (1 << 31) - (16 << 20)


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
    """Writes Q/DQ files for TensorRT's explicit quantization, 8.5 and newer: symmetric, nothing rounded between fused layers.

    The parser of 8.5 has no LayerNormalization, GroupNormalization and IsInf (onnx-tensorrt, docs/Changelog.md, 8.6): a board with it
    refuses such a network.
    """

    artifact_name = "model.onnx"
    io_dtype = "float32"
    layout = "as-is"
    scheme = Scheme(symmetric=True, stores=False)

    def prepare(self, graph: Graph) -> Graph:
        """Say otherwise what older parsers do not read; see ``edgekit.runtimes.Runtime``."""
        return prepare_fused(graph)

    def support(self, graph: Graph) -> dict[str, Support]:
        """Say what becomes of every node; see ``edgekit.runtimes.Runtime``."""
        return fused_support(graph)

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact; see ``edgekit.runtimes.Runtime``."""
        _check(plan, self.scheme, io_dtype, layout)
        return _artifact(_fused(graph, plan))

    def engine_files(self, graph: Graph, plan: QuantPlan, precision: EnginePrecision, float32_nodes: Collection[str]) -> dict[str, bytes]:
        """Write the files that an engine of a precision is built from, whichever TensorRT builds it.

        Parameters
        ----------
        graph, plan
            As for ``emit``. ``"fp16"`` takes nothing of the plan, so the graph may be the one before quantization.
        float32_nodes
            Nodes that overflow float16, by ``edgekit.quantize.half.overflowing``: in float32 in every file.

        Returns
        -------
        File name -> bytes, the names being those of ``edgekit.ondevice.tensorrt.key.SOURCES``. All have the model's inputs
        and outputs.

        Raises
        ------
        BuildError
            The plan is not of this graph or for another kind of kernel, or a file would pass the 2 GB that ONNX allows.
        """
        _check(plan, self.scheme, self.io_dtype, self.layout)
        write: dict[str, Callable[[], Graph]] = {
            "model.onnx": lambda: _fused(graph, plan),
            "mixed.onnx": lambda: half(_fused(graph, plan, has_half_scales=True), fused.with_siblings(graph, plan, float32_nodes)),
            "float.onnx": lambda: graph,
            "half.onnx": lambda: half(graph, float32_nodes),
        }
        return {name: _bytes(write[name]()) for name in sorted(set(SOURCES[precision].values()))}

    def twin(self, graph: Graph, plan: QuantPlan, precision: EnginePrecision, float32_nodes: Collection[str]) -> bytes:
        """Write what a host's onnxruntime runs in the stead of the strongly typed file of ``engine_files``.

        Its roundings read float32: before 1.30, onnxruntime cuts the fraction off where they read float16 (measured, 1.20 to 1.29).
        """
        _check(plan, self.scheme, self.io_dtype, self.layout)
        if precision != "mixed":
            name = SOURCES[precision]["strong"]
            return self.engine_files(graph, plan, precision, float32_nodes)[name]
        kept = fused.with_siblings(graph, plan, float32_nodes)
        return _bytes(half(_fused(graph, plan, has_half_scales=True), kept, rounds_float32=True))


def _fused(graph: Graph, plan: QuantPlan, *, has_half_scales: bool = False) -> Graph:
    one_scale = {name for name in followers(graph) if plan.precision(name) == "int8"}
    e = Emission(graph, plan, resolve(graph, plan, one_scale), "int8", has_half_scales=has_half_scales)
    fused.place(e)
    return e.result()


def _check(plan: QuantPlan, scheme: Scheme, io_dtype: str, layout: str) -> None:
    if (io_dtype, layout) != ("float32", "as-is"):
        raise BuildError(
            f"this runtime's models take and give what the float model does, not {io_dtype} in {layout}",
            fix="leave io_dtype and layout out of [build] in edgekit.toml for this target",
        )
    if plan.scheme != scheme:
        raise BuildError("the plan is for another kind of kernel", fix="calibrate the model again, for this target")


def _artifact(written: Graph) -> Artifact:
    data = _bytes(written)
    layouts = {spec.name: "as-is" for spec in (*written.inputs, *written.outputs)}
    return Artifact(data=data, inputs=written.inputs, outputs=written.outputs, layouts=layouts)


def _bytes(written: Graph) -> bytes:
    """Serialise.

    Raises
    ------
    BuildError
        The file would be larger than protobuf can write.
    """
    size = sum(array.nbytes for array in written.weights.values())
    if size > _FILE_BYTES_MAX:
        raise BuildError(
            f"the constants of the model take {size / 1e9:.1f} GB in the file, and an ONNX file holds less than 2.1 GB",
            fix="keep fewer layers in float, or split the model",
        )
    data: bytes = written.to_onnx().SerializeToString(deterministic=True)
    return data

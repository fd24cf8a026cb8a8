"""What the Q/DQ tests share: a plan of a small graph, the file made of it, and words to ask that file with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from edgekit.engine import EnginePrecision
from edgekit.graph import Array, Graph
from edgekit.ondevice.tensorrt.key import SOURCES
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.quantize.calibrate import plan_from
from edgekit.quantize.half import overflowing
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe
from edgekit.runtimes import Runtime
from edgekit.runtimes.qdq import TensorRtQdq

Feed = Mapping[str, Array]

LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


def feeds_for(graph: Graph, count: int = 8, scale: float = 1.0, *, whole_max: int = 8) -> list[dict[str, Array]]:
    """Return random samples; whole numbers are below ``whole_max``."""
    generator = np.random.default_rng(3)

    def array(shape: Sequence[int], dtype: str) -> Array:
        real = dtype == "float32"
        values: Array = generator.standard_normal(shape) * scale if real else generator.integers(0, whole_max, shape)
        return values.astype(dtype)

    return [{spec.name: array(spec.shape, spec.dtype) for spec in graph.inputs} for _ in range(count)]


def plan_of(runtime: Runtime, graph: Graph, feeds: Sequence[Feed], kept: Collection[str] = ()) -> QuantPlan:
    """Return the min/max plan as a build makes it: what the runtime computes in float, or the caller keeps, is float."""
    nodes = {name: NodePrecision("float32", one.why) for name, one in runtime.support(graph).items() if one.precision != "int8"}
    nodes.update({name: NodePrecision("float32", "a test keeps it") for name in kept})
    histograms = observe(graph, iter(feeds), total=len(feeds))
    return plan_from(graph, histograms, total=len(feeds), method="minmax", dataset_sha256=None, scheme=runtime.scheme, nodes=nodes)


class File:
    """An ONNX file, read back.

    Attributes
    ----------
    makers
        Tensor -> the node of the file that makes it.
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.proto = onnx.load_model_from_string(data)
        onnx.checker.check_model(self.proto, full_check=True)
        self.nodes: list[onnx.NodeProto] = list(self.proto.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output}
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.proto.graph.initializer}

    def count(self, op: str) -> int:
        return sum(node.op_type == op for node in self.nodes)

    def the(self, op: str) -> onnx.NodeProto:
        """Return the only node of an operator."""
        (node,) = self.all(op)
        return node

    def all(self, op: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == op]

    def named(self, name: str) -> onnx.NodeProto:
        found: onnx.NodeProto = next(node for node in self.nodes if node.name == name)
        return found

    def reads(self, node: onnx.NodeProto, slot: int) -> str:
        """Return the operator that makes an input, or ``"constant"`` or ``"input"``."""
        name = node.input[slot]
        return "constant" if name in self.constants else self.makers[name].op_type if name in self.makers else "input"

    def readers(self, node: onnx.NodeProto) -> list[str]:
        """Return the operators that read a node's result, sorted."""
        return sorted(reader.op_type for reader in self.nodes if node.output[0] in reader.input)

    def scale(self, node: onnx.NodeProto) -> Array:
        """Return the scale of a QuantizeLinear or DequantizeLinear."""
        return self.constants[node.input[1]]

    def answers(self, feeds: Sequence[Feed], level: str = "ORT_DISABLE_ALL") -> list[Array]:
        """Return the first output for each sample."""
        session = session_of(self.data, level)
        return [session.run(None, dict(feed))[0] for feed in feeds]


class Written(File):
    """A model, emitted and read back."""

    def __init__(self, runtime: Runtime, proto: onnx.ModelProto, kept: Collection[str] = (), scale: float = 1.0) -> None:
        self.graph = runtime.prepare(normalise(proto))
        self.feeds = feeds_for(self.graph, scale=scale)
        self.plan = plan_of(runtime, self.graph, self.feeds, kept)
        super().__init__(runtime.emit(self.graph, self.plan, io_dtype="float32", layout="as-is").data)

    def run(self, level: str = "ORT_DISABLE_ALL") -> list[Array]:
        """Return the first output for each sample."""
        return self.answers(self.feeds, level)

    def float_run(self) -> list[Array]:
        return File(self.graph.to_onnx().SerializeToString()).answers(self.feeds)

    def kernels(self, folder: Path) -> Counter[str]:
        """Return the operators that onnxruntime makes of the file."""
        options = _options("ORT_ENABLE_EXTENDED")
        options.optimized_model_filepath = str(folder / "optimized.onnx")
        onnxruntime.InferenceSession(self.data, options, providers=["CPUExecutionProvider"])
        return Counter(node.op_type for node in onnx.load(folder / "optimized.onnx").graph.node)


class Files:
    """The files of a model by name, for every precision; ``"twin"`` is what the host runs for ``"mixed.onnx"``.

    Attributes
    ----------
    overflow
        The nodes that float16 does not serve, and why; they stay float32 where ``kept`` names no others.
    """

    def __init__(
        self,
        proto: onnx.ModelProto,
        kept: Collection[str] | None = None,
        feeds: Sequence[Feed] | None = None,
        *,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        whole_max: int = 8,
    ) -> None:
        runtime = TensorRtQdq()
        self.graph = runtime.prepare(normalise(proto, shapes=shapes))
        self.feeds: Sequence[Feed] = feeds or feeds_for(self.graph, 3, whole_max=whole_max)
        histograms = observe(self.graph, iter(self.feeds), total=len(self.feeds))
        self.overflow = overflowing(self.graph, {name: (h.lo, h.hi) for name, h in histograms.items()})
        plan = plan_of(runtime, self.graph, self.feeds)
        self.by_name: dict[str, File] = {}
        for precision in get_args(EnginePrecision):
            files = runtime.engine_files(self.graph, plan, precision, self.overflow if kept is None else kept)
            assert set(files) == set(SOURCES[precision].values())
            self.by_name.update({name: File(data) for name, data in files.items()})
        self.by_name["twin"] = File(runtime.twin(self.graph, plan, "mixed", self.overflow if kept is None else kept))

    def against_float(self, name: str) -> float:
        return sqnr_db(self.by_name["float.onnx"].answers(self.feeds), self.by_name[name].answers(self.feeds))


def session_of(data: bytes, level: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(data, _options(level), providers=["CPUExecutionProvider"])


def _options(level: str) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def sqnr_db(wanted: Sequence[Array], got: Sequence[Array]) -> float:
    """Signal to quantization noise ratio."""
    signal = sum(float(np.square(array, dtype=np.float64).sum()) for array in wanted)
    noise = sum(float(np.square(one - other, dtype=np.float64).sum()) for one, other in zip(wanted, got, strict=True))
    return float(10 * np.log10(signal / max(noise, 1e-20)))

"""From a model as exported to the one plain form that observation and the emitters read.

``normalise`` pins the batch, lets ONNX Runtime fold what is constant, rewrites what has several
spellings into one (``rewrite``), and gives everything names that depend on the model alone.
The pipeline calls it once per build.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.errors import InputError
from edgekit.graph import Graph, Node, from_onnx
from edgekit.quantize.rewrite import rewrite

__all__ = ["MIN_OPSET", "normalise"]

MIN_OPSET = 17
"""Older models are converted up to it: the first set with LayerNormalization (ONNX operator changelog)."""

_QUANTIZED = frozenset({"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"})
_CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})
_ORT_FAILURES = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


def normalise(proto: onnx.ModelProto, *, shapes: Mapping[str, tuple[int, ...]] | None = None) -> Graph:
    """Return the float graph in plain form: static shapes, one sample, standard operators only.

    What holds afterwards, and emitters may rely on:

    - no Constant, Identity, Dropout, Flatten, Squeeze, Unsqueeze or BatchNormalization nodes, no
      shape arithmetic, no dead code; a Reshape has a constant shape and changes something, a Transpose
      its permutation, and neither reads another of its kind
    - a product with a constant matrix is a ``Gemm`` of two dimensions; affine steps after Conv,
      ConvTranspose and Gemm are inside their weight and bias; Pad is inside Conv where the operator allows it
    - windows (Conv, ConvTranspose, pools) are of two dimensions or more and state kernel, strides,
      dilations and pads; there is no ``auto_pad``
    - ``Clip`` has constant bounds, Relu6 being Clip(0, 6); a Clip at zero alone is a ``Relu``
    - hard-sigmoid, hard-swish, Gelu and LayerNormalization spelled out in arithmetic are one node;
      a LayerNormalization is over the last axis, with a constant gain; swish stays ``x Sigmoid(x)``
    - no Pow by 2, 3, 1/2 or -1, no Einsum of two operands, no Sum or Mean of many; Max and Min are of two
    - reductions state their axes, counted from the front, and keepdims; from opset 18 on (ReduceSum: always)
      the axes are a constant input, else an attribute; a Split states its sizes and axis
    - what a mask adds before a Softmax is not below -1000
    - the operator set is 17 or newer

    Parameters
    ----------
    proto
        The model; left untouched.
    shapes
        Full shape by input name, for inputs with open dimensions besides the batch.

    Raises
    ------
    InputError
        An open dimension nobody gave a size for, a model that is already quantized, that has
        control flow or computes in another type than float32, or that ONNX Runtime refuses.
    """
    _refuse(proto)
    pinned = _pin(proto, dict(shapes or {}))
    folded = _fold(_raise_opset(pinned))
    # What functions of the model held is in it by now.
    _refuse(folded)
    if _spelled_out(folded):
        folded = _fold(folded)
    graph = from_onnx(folded)
    graph = _renamed(rewrite(graph), proto)
    computed = graph.dtypes.keys() - graph.weights.keys()
    odd = sorted({graph.dtypes[name] for name in computed} & {"float16", "float64", "bfloat16"})
    if odd:
        raise InputError(f"the model computes in {odd[0]}; edgekit reads float32 models", fix="export the model in float32")
    return graph


def _refuse(proto: onnx.ModelProto) -> None:
    for node in proto.graph.node:
        where = f"node {node.name or node.output[0]!r}"
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            raise InputError(
                f"{where} is a {node.op_type}: the model is already quantized, and edgekit chooses ranges and zero points itself",
                fix="start from the float model",
            )
        if node.op_type in _CONTROL_FLOW:
            raise InputError(
                f"{where} is a {node.op_type}: control flow cannot be quantized",
                fix="export the model by tracing, without branches or loops",
            )


def _pin(proto: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    """Copy the model with every input static and everything inferred forgotten."""
    pinned = onnx.ModelProto()
    pinned.CopyFrom(proto)
    # From IR 4 on a constant need not be an input too; below, shape inference looks at inputs alone.
    pinned.ir_version = max(4, pinned.ir_version)
    body = pinned.graph
    constants = {tensor.name for tensor in body.initializer}
    entries = [value for value in body.input if value.name not in constants]
    # A constant that is an input too may be overridden, so the optimiser would not fold it.
    del body.input[:]
    body.input.extend(entries)
    unknown = sorted(set(shapes) - {value.name for value in entries})
    if unknown:
        names = ", ".join(value.name for value in entries)
        raise InputError(f"[model] shapes: the model has no input {unknown[0]!r}; its inputs are: {names}")
    for value in body.input:
        _pin_input(value, shapes.get(value.name))
    del body.value_info[:]
    for value in body.output:
        value.type.tensor_type.ClearField("shape")
    return pinned


def _pin_input(value: onnx.ValueInfoProto, given: tuple[int, ...] | None) -> None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise InputError(f"input {value.name!r} is not a tensor of known rank")
    dims = value.type.tensor_type.shape.dim
    stated = [d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims]
    shown = ", ".join(str(s or d.dim_param or "?") for s, d in zip(stated, dims, strict=True))
    if given is not None:
        fits = len(given) == len(stated) and all(g > 0 and s in (None, g) for g, s in zip(given, stated, strict=True))
        if not fits:
            raise InputError(f"[model] shapes: {list(given)} does not fit input {value.name!r} of shape [{shown}]")
        sizes = list(given)
    else:
        rest_open = [i for i, s in enumerate(stated) if s is None and i > 0]
        if rest_open:
            example = [s or (1 if i == 0 else 128) for i, s in enumerate(stated)]
            raise InputError(
                f"input {value.name!r} has open dimensions: [{shown}]",
                fix=f"give its size in edgekit.toml: [model] shapes = {{ {value.name} = {example} }}",
            )
        sizes = [s or 1 for s in stated]
    if not sizes or sizes[0] != 1:
        raise InputError(
            f"input {value.name!r} has shape {sizes}; a device runs one sample at a time, so its first dimension must be a batch of 1",
            fix="export the model with an open batch or a batch of 1",
        )
    for dim, size in zip(dims, sizes, strict=True):
        dim.dim_value = size


def _raise_opset(proto: onnx.ModelProto) -> onnx.ModelProto:
    version = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    newest = onnx.defs.onnx_opset_version()
    if version > newest:
        raise InputError(
            f"the model's operator set is {version}, the installed onnx knows {newest} at most",
            fix=f"export the model with opset_version={MIN_OPSET}, or install a newer onnx and onnxruntime",
        )
    if version >= MIN_OPSET:
        return proto
    try:
        raised = onnx.version_converter.convert_version(proto, MIN_OPSET)
    except (RuntimeError, onnx.version_converter.ConvertError) as error:
        raise InputError(
            f"the model's operator set {version} cannot be converted to {MIN_OPSET}: {error}",
            fix=f"export the model with opset_version={MIN_OPSET} or newer",
        ) from error
    if version < _RESIZE_SAYS_HOW:
        _say_how_it_resizes(raised)
    return raised


_RESIZE_SAYS_HOW = 11
"""Before, every Resize and Upsample sampled at x / scale; the converter forgets to say so (ONNX operator changelog)."""


def _say_how_it_resizes(proto: onnx.ModelProto) -> None:
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Resize":
            scales = constants.get(node.input[2])
            # What onnxruntime's kernels did: the pixel before when enlarging, the one behind when reducing.
            nearest = "ceil" if scales is not None and (scales < 1.0).any() else "floor"
            modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": nearest}
            node.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in modes.items())


def _fold(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and fuse within the standard operators: ONNX Runtime's BASIC level, offline.

    BASIC is the level whose rewrites hold on every provider and add no runtime-specific operator
    (onnxruntime documentation, "Graph Optimizations in ONNX Runtime").
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        target = Path(folder) / "folded.onnx"
        options.optimized_model_filepath = str(target)
        try:
            onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except _ORT_FAILURES as error:
            raise InputError(f"onnxruntime refuses the model: {error}", fix="check the export with onnx.checker.check_model") from error
        folded = onnx.load(target)
    # The file names every domain the runtime knows; an unused one is a needless requirement.
    standard = [o for o in folded.opset_import if o.domain in ("", "ai.onnx")]
    del folded.opset_import[:]
    folded.opset_import.extend(standard)
    return folded


def _spelled_out(folded: onnx.ModelProto) -> bool:
    """Whether the runtime spelled out an operator for which it has no kernel: what that became is not folded yet.

    It marks the tensors of such a function in their names (onnxruntime, ``Graph::InlineFunction``).
    """
    return any(name.startswith("_inlfunc_") for node in folded.graph.node for name in node.output)


def _renamed(graph: Graph, proto: onnx.ModelProto) -> Graph:
    """Name what the folding and the rewrites made after the place it stands in, and order everything by structure.

    The optimiser's own names and orders come from counters and hash tables, which are not the same
    in every run; a graph's digest must be.
    """
    native = {n.name for n in proto.graph.node if n.name}
    tensors = {name for n in proto.graph.node for name in (*n.input, *n.output)} | {t.name for t in proto.graph.initializer}
    new: dict[str, str] = {}
    nodes = []
    taken = set(tensors)
    for node in _ordered(graph):
        own = [name for name in (node.name,) if name in native] + [name for name in node.outputs[:1] if name in tensors]
        # Else after what it reads.
        stem = next((new.get(t, t) for t in node.inputs if t and t not in graph.weights), "")
        name = own[0] if own else _free(f"{stem}/{node.op.lower()}", taken)
        for slot, tensor in enumerate(node.inputs):
            # A constant folded under the name of an inner tensor keeps it: it is the model's own.
            if tensor in graph.weights and tensor not in tensors and tensor not in new:
                new[tensor] = _free(f"{name}.{slot}", taken)
        for tensor in node.outputs:
            if tensor and tensor not in tensors:
                new[tensor] = name if not own and tensor == node.outputs[0] else _free(f"{name}.out", taken)
        nodes.append(
            replace(node, name=name, inputs=tuple(new.get(t, t) for t in node.inputs), outputs=tuple(new.get(t, t) for t in node.outputs))
        )
    weights = {new.get(name, name): array for name, array in graph.weights.items()}
    live = [s.name for s in graph.inputs] + [t for n in nodes for t in (*n.inputs, *n.outputs) if t] + [s.name for s in graph.outputs]
    old = {value: key for key, value in new.items()}
    used = set(live)
    return replace(
        graph,
        nodes=_uniquely_named(nodes),
        weights={name: weights[name] for name in sorted(weights) if name in used},
        shapes={name: graph.shapes[old.get(name, name)] for name in sorted(used)},
        dtypes={name: graph.dtypes[old.get(name, name)] for name in sorted(used)},
    )


def _free(wanted: str, taken: set[str]) -> str:
    name, n = wanted, 1
    while name in taken:
        n += 1
        name = f"{wanted}_{n}"
    taken.add(name)
    return name


def _uniquely_named(nodes: list[Node]) -> tuple[Node, ...]:
    taken: set[str] = set()
    return tuple(replace(node, name=_free(node.name, taken)) for node in nodes)


def _ordered(graph: Graph) -> list[Node]:
    """Nodes the outputs need, each after what it reads: depth first from the outputs."""
    order: list[Node] = []
    state: dict[int, bool] = {}
    stack = [graph.producers[s.name] for s in reversed(graph.outputs) if s.name in graph.producers]
    while stack:
        node = stack[-1]
        if id(node) in state:
            stack.pop()
            if not state[id(node)]:
                state[id(node)] = True
                order.append(node)
            continue
        state[id(node)] = False
        makers = [graph.producers[t] for t in reversed(node.inputs) if t in graph.producers]
        stack += [maker for maker in makers if id(maker) not in state]
    return order

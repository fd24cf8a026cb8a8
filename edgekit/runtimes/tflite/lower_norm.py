"""Normalisation by statistics of the input: always float32, for int8 has too few levels for a variance and its root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from edgekit.graph import Array, Node
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import NHWC, Layout, arranged, axis_in
from edgekit.runtimes.tflite.operator import Operator, Unsupported

__all__ = ["OPERATORS"]

_FLOAT_ONLY = "int8 has too few levels for a variance and its root"
# Float tensors have no use for one.
_NONE = Params(1.0, 0)


def _layer_norm(e: Emission, node: Node) -> None:
    if len([name for name in node.outputs if name]) > 1:
        raise Unsupported("its mean and deviation are read too", fix="export the model for inference")
    name = node.inputs[0]
    rank, layout = len(e.graph.shapes[name]), e.layout(name)
    axis = int(node.attrs.get("axis", -1)) % rank
    gain, shift = [*node.inputs[1:], ""][:2]
    _normalised(e, node, layout, range(axis, rank), [_constant(e, one, rank, layout) for one in (gain, shift)])


def _instance_norm(e: Emission, node: Node) -> None:
    name = node.inputs[0]
    rank, layout = len(e.graph.shapes[name]), e.layout(name)
    per_channel = (1, -1, *[1] * (rank - 2))
    constants = [e.weight(one).reshape(per_channel) for one in node.inputs[1:3]]
    _normalised(e, node, layout, range(2, rank), [arranged(one, layout) for one in constants])


def _constant(e: Emission, name: str, rank: int, layout: Layout) -> Array | None:
    if not name:
        return None
    values = e.weight(name)
    return arranged(values.reshape((1,) * (rank - values.ndim) + values.shape), layout)


def _normalised(e: Emission, node: Node, layout: Layout, axes: Sequence[int], affine: Sequence[Array | None]) -> None:
    """(x - mean) / sqrt(variance + epsilon) * gain + shift, over ONNX ``axes``."""
    name, out = node.inputs[0], node.outputs[0]
    shape = e.shape(name, layout)
    places = sorted(axis_in(axis, layout) for axis in axes)
    row = [1 if place in places else size for place, size in enumerate(shape)]
    ones = [1] * len(shape)

    def made(what: str, size: Sequence[int], code: str, inputs: Sequence[int], options: str = "", **fields: bool) -> int:
        target = e.temporary(f"{out}/{what}", size, _NONE)
        e.op(code, inputs, [target], options, **fields)
        return target

    source, over = e.read(name, layout), e.integers("axes", places)
    mean = made("mean", row, "MEAN", [source, over], "ReducerOptions", keepDims=True)
    distance = made("distance", shape, "SQUARED_DIFFERENCE", [source, mean], "SquaredDifferenceOptions")
    variance = made("variance", row, "MEAN", [distance, over], "ReducerOptions", keepDims=True)
    epsilon = e.constant(f"{out}/epsilon", np.full(ones, float(node.attrs.get("epsilon", 1e-5))))
    safe = made("safe", row, "ADD", [variance, epsilon], "AddOptions")
    scale = made("scale", row, "RSQRT", [safe])
    steps = [("SUB", "SubOptions", mean), ("MUL", "MulOptions", scale)]
    for (code, options, neutral), values in zip((("MUL", "MulOptions", 1.0), ("ADD", "AddOptions", 0.0)), affine, strict=True):
        if values is not None and (values != neutral).any():
            steps.append((code, options, e.constant(f"{out}/{code.lower()}", values)))
    for index, (code, options, operand) in enumerate(steps, 1):
        target = e.declare(out, layout) if index == len(steps) else e.temporary(f"{out}/step", shape, _NONE)
        e.op(code, [source, operand], [target], options)
        source = target


def _local_response(e: Emission, node: Node) -> None:
    """LOCAL_RESPONSE_NORMALIZATION, over the channels of an image; ONNX divides alpha by the size of the window."""
    size = int(node.attrs["size"])
    if len(e.graph.shapes[node.inputs[0]]) != 4:
        raise Unsupported("it normalises something else than an image", fix="reshape to four dimensions before it")
    fields = {
        "radius": size // 2,
        "bias": float(node.attrs.get("bias", 1.0)),
        "alpha": float(node.attrs.get("alpha", 1e-4)) / size,
        "beta": float(node.attrs.get("beta", 0.75)),
    }
    source = e.read(node.inputs[0], NHWC)
    target = e.declare(node.outputs[0], NHWC)
    e.op("LOCAL_RESPONSE_NORMALIZATION", [source], [target], "LocalResponseNormalizationOptions", **fields)


OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        "LRN": Operator(_local_response, float_only="TFLite has no int8 LOCAL_RESPONSE_NORMALIZATION"),
        "InstanceNormalization": Operator(_instance_norm, float_only=_FLOAT_ONLY),
        "LayerNormalization": Operator(_layer_norm, float_only=_FLOAT_ONLY),
    }
)

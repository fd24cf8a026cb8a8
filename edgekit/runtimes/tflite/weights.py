"""Filters and biases of convolutions and matrix products: int8 by the plan's scales, or float32. Used by the lowerings."""

from __future__ import annotations

import numpy as np

from edgekit.graph import Array, Node
from edgekit.plan import INT8_MAX
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.operator import Unsupported

__all__ = ["channel_scales", "write_filter"]

# Half of int32 for the bias, the other half for what is accumulated onto it.
_BIAS_MAX = 1 << 30
# XNNPACK refuses to load a convolution that multiplies its sums by 256 or more (xnnpack, convolution-nhwc.c).
_RESCALE_MAX = 256


def channel_scales(e: Emission, name: str, axis: int) -> Array:
    """Return the scale of each index of a weight's output-channel ``axis`` (ONNX layout), float64; ones for a float node.

    Raises
    ------
    Unsupported
        The plan has no scales for this constant, or has them along another axis.
    """
    width = e.graph.weights[name].shape[axis]
    if not e.is_int8:
        return np.ones(width)
    chosen = e.scales.get(name)
    if chosen is None or (chosen.axis is not None and (chosen.axis != axis or len(chosen.scales) != width)):
        what = "no scales" if chosen is None else f"scales along axis {chosen.axis}, not {axis},"
        raise Unsupported(f"the plan has {what} for its weight {name!r}", fix="calibrate this model again: the plan is of another graph")
    return np.broadcast_to(np.asarray(chosen.scales, np.float64), (width,))


def write_filter(e: Emission, node: Node, values: Array, axis: int, scales: Array, bias: Array | None, source: Params) -> tuple[int, int]:
    """Write a filter and its bias in the node's precision; return their tensors.

    In int8, a channel so small that its bias would leave int32, or its scale float32, gets a wider scale.

    Parameters
    ----------
    values
        The filter in TFLite's layout.
    axis
        Its output channels.
    scales
        One per output channel.
    bias
        In real numbers; None is zero.
    source
        Parameters of what the filter is applied to: the bias has the scale (source x filter), zero
        point 0 (LiteRT 8-bit quantization specification, CONV_2D).

    Raises
    ------
    Unsupported
        The results are too small for the kernels' rescaling.
    """
    name = node.inputs[1]
    bias_name = node.inputs[2] if len(node.inputs) > 2 and node.inputs[2] else f"{node.name}/bias"
    offsets = np.zeros(len(scales)) if bias is None else np.asarray(bias, np.float64)
    if not e.is_int8:
        return e.constant(name, values), e.constant(bias_name, offsets)
    target = e.params[node.outputs[0]]
    if source.scale * float(scales.max()) >= _RESCALE_MAX * target.scale:
        raise Unsupported(
            f"its results within {target.lo:.3g}..{target.hi:.3g} are next to nothing beside its weights",
            fix="check that the calibration data are like the real ones",
        )
    least = np.maximum(np.abs(offsets) / _BIAS_MAX, np.finfo(np.float32).tiny) / source.scale
    wide = np.maximum(scales, least).astype(np.float32)
    shape = [1] * values.ndim
    shape[axis] = -1
    q = np.clip(np.rint(values / wide.astype(np.float64).reshape(shape)), -INT8_MAX, INT8_MAX).astype(np.int8)
    bias_scales = (source.scale * wide.astype(np.float64)).astype(np.float32)
    q_bias = np.rint(offsets / bias_scales.astype(np.float64)).astype(np.int32)
    return (
        e.writer.tensor(name, "int8", q.shape, data=q, scales=wide.tolist(), axis=axis),
        e.writer.tensor(bias_name, "int32", q_bias.shape, data=q_bias, scales=bias_scales.tolist()),
    )

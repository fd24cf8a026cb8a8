"""Symmetric int8 scales of the constants that convolutions and matrix products multiply by.

``calibrate`` calls it. Largest absolute value per output channel: LiteRT 8-bit quantization
specification, "Symmetric vs asymmetric" and "Per-axis vs per-tensor" (weights in -127..127, zero
point 0), and what TensorRT asks of explicit quantization.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.plan import WeightScale

__all__ = ["channel_axis", "largest_scales", "least_error_scales", "weight_scales"]

_LARGEST_Q = 127.0
_SHRINKS = np.linspace(1.0, 0.5, 26)


def channel_axis(graph: Graph, node: Node) -> tuple[str, int] | None:
    """Return the constant a node multiplies its input by and that constant's output-channel axis.

    None for other operators and for products of two computed tensors. ConvTranspose holds
    [in, out / group, ...], so one scale there serves the same output of every group.
    """
    if len(node.inputs) < 2 or node.inputs[1] not in graph.weights:
        return None
    name = node.inputs[1]
    if node.op == "Conv":
        return name, 0
    if node.op == "ConvTranspose":
        return name, 1
    if node.op == "Gemm":
        return name, 0 if node.attrs.get("transB", 0) else 1
    if node.op == "MatMul" and graph.weights[name].ndim >= 2:
        return name, graph.weights[name].ndim - 1
    return None


def weight_scales(graph: Graph) -> dict[str, WeightScale]:
    """Return the scales of every such constant, by its name.

    A constant that two nodes read along different axes gets one scale for the whole tensor.
    """
    axes: dict[str, set[int]] = {}
    for node in graph.nodes:
        found = channel_axis(graph, node)
        if found is not None:
            axes.setdefault(found[0], set()).add(found[1])
    return {name: _scale(graph.weights[name], found.pop() if len(found) == 1 else None) for name, found in sorted(axes.items())}


def _scale(weight: Array, axis: int | None) -> WeightScale:
    channels = 1 if axis is None else weight.shape[axis]
    scales = largest_scales((weight if axis is None else np.moveaxis(weight, axis, 0)).astype(np.float64).reshape(channels, -1))
    return WeightScale(axis=axis, scales=tuple(scales.tolist()))


def largest_scales(rows: Array) -> Array:
    """Return the scale of each row [..., taps] that cuts none of its weights off."""
    largest = np.abs(rows).max(axis=-1, initial=0.0)
    # A channel of zeros needs some positive scale; a subnormal one would not survive float32.
    scales: Array = np.where(largest > np.finfo(np.float32).tiny * _LARGEST_Q, largest, 1.0) / _LARGEST_Q
    return scales


def least_error_scales(rows: Array, importance: Array) -> Array:
    """Return the scale of each row that rounds it to nearest with the least squared error.

    Cutting the largest weights off makes the levels of all others finer. (Banner et al. 2019,
    "Post-training 4-bit quantization of convolution networks for rapid-deployment", clip weights so.)

    Parameters
    ----------
    rows
        float64 [groups, outputs, taps].
    importance
        [groups, taps]: second moment of what each tap is multiplied by.
    """
    full = largest_scales(rows)
    best, least = full, np.full(full.shape, np.inf)
    for shrink in _SHRINKS:
        steps = (full * shrink)[..., None]
        errors = np.clip(np.rint(rows / steps), -_LARGEST_Q, _LARGEST_Q) * steps - rows
        cost = ((errors * errors) @ importance[..., None])[..., 0]
        best, least = np.where(cost < least, steps[..., 0], best), np.minimum(cost, least)
    return best

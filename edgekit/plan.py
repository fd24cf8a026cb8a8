"""``QuantPlan``: which tensors become integers, with which ranges, and what chose them. The heart of edgekit.

``quantize`` makes one; every emitter in ``runtimes`` reads it. A plan is a plain value, JSON both
ways, and says nothing about a runtime: kernels that need one scale on both sides, or a fixed one,
are the emitter's business.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["INT8_MAX", "INT8_MIN", "NodePrecision", "Precision", "QuantPlan", "Range", "WeightScale", "asymmetric_int8"]

INT8_MIN, INT8_MAX = -128, 127

Precision = Literal["int8", "float32"]


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interval of real values an activation tensor may take; outside it saturates.

    ``method`` names what chose it: ``"minmax"``, ``"percentile"``, ``"entropy"``, ``"mse"``.
    """

    lo: float
    hi: float
    method: str


class WeightScale(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Symmetric int8 scales of a constant: ``real = scale * q`` with q in -127..127.

    ``axis`` is the output-channel axis in the ONNX layout, or None for one scale for the tensor.
    """

    axis: int | None
    scales: tuple[float, ...]


class NodePrecision(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a node computes in, and the reason in words."""

    precision: Precision
    why: str


class QuantPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole decision for one graph.

    Attributes
    ----------
    graph_sha256
        The normalised graph whose tensor and node names the plan speaks of.
    dataset_sha256
        The calibration set; None when the ranges come from random data, which taints the bundle.
    ranges
        Activation tensor name -> range, for every float activation of the graph.
    weights
        Constant name -> scales, for the weights of convolutions and matrix products.
    nodes
        Node name -> precision; a node not listed is int8. The place for mixed precision: ``calibrate``
        lists none, and an emitter that cannot keep a listed one refuses the plan.
    """

    schema: Literal["edgekit.plan/1"] = "edgekit.plan/1"
    graph_sha256: str
    dataset_sha256: str | None
    samples: int
    method: str
    ranges: dict[str, Range]
    weights: dict[str, WeightScale]
    nodes: dict[str, NodePrecision] = {}

    def precision(self, node: str) -> Precision:
        """Return the precision a node computes in."""
        chosen = self.nodes.get(node)
        return chosen.precision if chosen else "int8"


def asymmetric_int8(lo: float, hi: float) -> tuple[float, int]:
    """Return (scale, zero point) that cover lo..hi with 256 levels and hold 0.0 exactly.

    Zero must be a level because padding and Relu produce it: LiteRT 8-bit quantization
    specification, section "Zero-points". A degenerate range gets a scale of 1/255.
    """
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if hi - lo < 1e-12:
        return 1.0 / 255.0, INT8_MIN
    scale = (hi - lo) / 255.0
    zero_point = round(INT8_MIN - lo / scale)
    return scale, max(INT8_MIN, min(INT8_MAX, zero_point))

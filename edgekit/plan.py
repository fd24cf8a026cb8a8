"""``QuantPlan``: which tensors become integers, with which ranges, and what chose them. The heart of edgekit.

``quantize`` makes one; every emitter in ``runtimes`` reads it. A plan is a plain value, JSON both
ways, and says nothing about a runtime: kernels that need one scale on both sides, or a fixed one,
are the emitter's business.
"""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = [
    "ASYMMETRIC",
    "INT8_MAX",
    "INT8_MIN",
    "NodePrecision",
    "Precision",
    "QuantPlan",
    "Range",
    "Scheme",
    "WeightScale",
    "asymmetric_int8",
    "symmetric_int8",
]

INT8_MIN, INT8_MAX = -128, 127

Precision = Literal["int8", "float32"]


class Scheme(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a runtime's kernels make of a range.

    Attributes
    ----------
    symmetric
        Activations have zero point 0 and -127..127: what TensorRT takes. Else 256 levels lie where the values are.
    stores
        Every int8 node writes its result as int8, as TFLite does. Else only what an int8 node *reads* is
        rounded, and a sum behind a convolution sees the exact result: Q/DQ as TensorRT fuses it.
    """

    symmetric: bool = False
    stores: bool = True


ASYMMETRIC = Scheme()


class Range(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The interval of real values an activation tensor may take; outside it saturates.

    ``method`` names what chose it: ``"minmax"``, ``"percentile"``, ``"entropy"``, ``"mse"``; or
    ``"softmax"``: what lies below is a masked score, and nothing to the Softmax that reads it.
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
        Node name -> precision and why, for what is not int8: nodes the runtime has no int8 kernel for, and
        those kept out to meet an accuracy budget. A node not listed is int8.
    scheme
        What the runtime's kernels make of a range.
    recovery
        What was done to win accuracy back: to the graph beforehand (``quantize.balance``, ``quantize.equalise``), and to weights
        and biases (``quantize.recover``).
    """

    schema: Literal["edgekit.plan/1"] = "edgekit.plan/1"
    graph_sha256: str
    dataset_sha256: str | None
    samples: int
    method: str
    ranges: dict[str, Range]
    weights: dict[str, WeightScale]
    nodes: dict[str, NodePrecision] = {}
    scheme: Scheme = ASYMMETRIC
    recovery: tuple[str, ...] = ()

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


def symmetric_int8(lo: float, hi: float) -> float:
    """Return the scale that covers lo..hi with -127..127 around a zero point of 0.

    What TensorRT's explicit quantization takes (developer guide, "Quantization schemes"). A degenerate
    range gets a scale of 1/127.
    """
    largest = max(-lo, hi)
    return largest / INT8_MAX if largest >= 1e-12 else 1.0 / INT8_MAX

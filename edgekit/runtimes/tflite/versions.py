"""The lowest version of each TFLite operator that describes an int8 use of it.

A runtime refuses operators newer than itself, so a file says no more than it needs. The rules are
those of TensorFlow's ``lite/tools/versioning/op_version.cc`` (``GetBuiltinOperatorVersion``),
reduced to what the emitter writes. Called by ``writer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["lowest_version"]

# An operator not listed is version 1 for int8: HARD_SWISH, LEAKY_RELU, PRELU, RESHAPE, QUANTIZE.
_INT8 = {
    "ADD": 2,
    "AVERAGE_POOL_2D": 2,
    "CONCATENATION": 2,
    "CONV_2D": 3,
    "DEPTHWISE_CONV_2D": 3,
    "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 2,
    "FULLY_CONNECTED": 4,
    "LOGISTIC": 2,
    "MAXIMUM": 2,
    "MAX_POOL_2D": 2,
    "MEAN": 2,
    "MINIMUM": 2,
    "MIRROR_PAD": 2,
    "MUL": 2,
    "PAD": 2,
    "PADV2": 2,
    "RELU": 2,
    "RELU6": 2,
    "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2,
    "SOFTMAX": 2,
    "SPACE_TO_DEPTH": 2,
    "STRIDED_SLICE": 2,
    "SUB": 2,
    "TANH": 2,
    "TRANSPOSE": 2,
    # With a bias; a fused activation makes it 4.
    "TRANSPOSE_CONV": 3,
}

# More than four dimensions.
_RANK_5 = {"TRANSPOSE": 4, "PAD": 4, "PADV2": 4, "STRIDED_SLICE": 4}


def lowest_version(code: str, rank: int, fields: Mapping[str, Any], *, grouped: bool = False, rescale: float = 0.0) -> int:
    """Return the version to write for an operator.

    Parameters
    ----------
    code
        Name in ``BuiltinOperator``.
    rank
        Dimensions of the first input.
    fields
        Its options.
    grouped
        A CONV_2D whose filter sees only a part of the input channels.
    rescale
        Of a MUL: product of the input scales over the output scale.
    """
    if rank > 5 and code == "TRANSPOSE":
        return 6
    if rank > 4 and code in _RANK_5:
        return _RANK_5[code]
    if grouped and code == "CONV_2D":
        return 6
    if code == "FULLY_CONNECTED" and fields.get("keepNumDims"):
        return 5
    if code == "MUL" and rescale >= 1.0:
        return 3
    if code == "TRANSPOSE_CONV" and fields.get("fusedActivationFunction"):
        return 4
    if code == "RESIZE_BILINEAR" and fields.get("halfPixelCenters"):
        return 3
    if code == "RESIZE_NEAREST_NEIGHBOR" and (fields.get("halfPixelCenters") or fields.get("alignCorners")):
        return 3
    return _INT8.get(code, 1)

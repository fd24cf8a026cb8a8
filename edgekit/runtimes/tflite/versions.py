"""The lowest version of each TFLite operator that describes a use of it.

A runtime refuses operators newer than itself, so a file says no more than it needs. The rules are
those of TensorFlow's ``lite/tools/versioning/op_version.cc`` (``GetBuiltinOperatorVersion``),
reduced to what the emitter writes. Called by ``writer``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["lowest_version"]

# By the dtype of the data; an operator not listed is version 1: HARD_SWISH, LEAKY_RELU, PRELU, RESHAPE, QUANTIZE.
_BY_DTYPE: Mapping[str, Mapping[str, int]] = {
    "int8": {
        "ABS": 2,
        "ADD": 2,
        "ARG_MAX": 2,
        "ARG_MIN": 2,
        "AVERAGE_POOL_2D": 2,
        "BATCH_MATMUL": 2,
        "BATCH_TO_SPACE_ND": 2,
        "BROADCAST_TO": 3,
        "CONCATENATION": 2,
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "DEPTH_TO_SPACE": 2,
        "DEQUANTIZE": 2,
        "EQUAL": 2,
        "EXP": 2,
        "FULLY_CONNECTED": 4,
        "GATHER": 2,
        "GELU": 2,
        "GREATER": 2,
        "GREATER_EQUAL": 2,
        "L2_NORMALIZATION": 2,
        "LESS": 2,
        "LESS_EQUAL": 2,
        "LOG": 2,
        "LOGISTIC": 2,
        "LOG_SOFTMAX": 2,
        "MAXIMUM": 2,
        "MAX_POOL_2D": 2,
        "MEAN": 2,
        "MINIMUM": 2,
        "MIRROR_PAD": 2,
        "MUL": 2,
        "NOT_EQUAL": 2,
        "PACK": 2,
        "PAD": 2,
        "PADV2": 2,
        "REDUCE_MAX": 2,
        "REDUCE_MIN": 2,
        "RELU": 2,
        "RELU6": 2,
        "RESIZE_BILINEAR": 2,
        "RESIZE_NEAREST_NEIGHBOR": 2,
        "REVERSE_V2": 3,
        "RSQRT": 2,
        "SLICE": 2,
        "SOFTMAX": 2,
        "SPACE_TO_BATCH_ND": 2,
        "SPACE_TO_DEPTH": 2,
        "SPLIT": 2,
        "SPLIT_V": 2,
        "SQRT": 2,
        "SQUARED_DIFFERENCE": 2,
        "STRIDED_SLICE": 2,
        "SUB": 2,
        "SUM": 2,
        "TANH": 2,
        "TILE": 3,
        "TOPK_V2": 2,
        "TRANSPOSE": 2,
        "UNPACK": 2,
    },
    "bool": {"ARG_MAX": 3, "GATHER": 3, "PAD": 5, "REVERSE_V2": 2, "STRIDED_SLICE": 3, "TRANSPOSE": 3, "UNPACK": 3},
    "int32": {"ABS": 5, "SPLIT": 3},
}
# TRANSPOSE_CONV with a bias.
_WHATEVER_DTYPE = {"BROADCAST_TO": 2, "TRANSPOSE_CONV": 3}

# More than four dimensions; of operators with several operands, where these broadcast.
_RANK_5 = {"TRANSPOSE": 4, "PAD": 4, "PADV2": 4, "SLICE": 5, "STRIDED_SLICE": 4}
_BROADCAST_5 = {"DIV": 2, "MAXIMUM": 3, "MINIMUM": 3, "SUB": 3}


def lowest_version(
    code: str,
    dtype: str,
    rank: int,
    fields: Mapping[str, Any],
    *,
    grouped: bool = False,
    broadcasts: bool = False,
    rescale: float = 0.0,
) -> int:
    """Return the version to write for an operator.

    Parameters
    ----------
    code
        Name in ``BuiltinOperator``.
    dtype
        Of the data it works on.
    rank
        Dimensions of the data; the most of any operand where it broadcasts.
    fields
        Its options.
    grouped
        A CONV_2D whose filter sees only a part of the input channels.
    broadcasts
        The shapes of its first two inputs differ.
    rescale
        Of an int8 MUL: product of the input scales over the output scale.
    """
    own = _BY_DTYPE.get(dtype, {}).get(code, _WHATEVER_DTYPE.get(code, 1))
    return max(own, _by_shape(code, rank, grouped=grouped, broadcasts=broadcasts), _by_options(code, fields, rescale))


def _by_shape(code: str, rank: int, *, grouped: bool, broadcasts: bool) -> int:
    if code == "CONV_2D" and grouped:
        return 6
    if code == "TRANSPOSE" and rank > 5:
        return 6
    if code in ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND") and rank != 4:
        return 3
    if rank > 4:
        return _RANK_5.get(code, _BROADCAST_5.get(code, 1) if broadcasts else 1)
    return 1


def _by_options(code: str, fields: Mapping[str, Any], rescale: float) -> int:
    if code == "DEPTHWISE_CONV_2D" and (fields.get("dilationHFactor", 1) != 1 or fields.get("dilationWFactor", 1) != 1):
        return 2
    if code == "FULLY_CONNECTED" and fields.get("keepNumDims"):
        return 5
    if code == "GATHER" and fields.get("batchDims"):
        return 5
    if code == "MUL" and rescale >= 1.0:
        return 3
    if code == "TRANSPOSE_CONV" and fields.get("fusedActivationFunction"):
        return 4
    if code == "RESIZE_BILINEAR" and fields.get("halfPixelCenters"):
        return 3
    if code == "RESIZE_NEAREST_NEIGHBOR" and (fields.get("halfPixelCenters") or fields.get("alignCorners")):
        return 3
    return 1

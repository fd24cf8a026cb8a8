"""Operator versions against TensorFlow's ``GetBuiltinOperatorVersion`` (``op_version.cc``)."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.runtimes.tflite.versions import lowest_version


@pytest.mark.parametrize(
    ("code", "rank", "options", "version"),
    [
        ("CONV_2D", 4, {"grouped": True}, 6),
        ("CONV_2D", 4, {}, 3),
        ("DEPTHWISE_CONV_2D", 4, {}, 3),
        ("DEQUANTIZE", 4, {}, 2),
        ("FULLY_CONNECTED", 2, {}, 4),
        ("HARD_SWISH", 4, {}, 1),
        ("LEAKY_RELU", 4, {}, 1),
        ("MUL", 4, {"rescale": 0.99}, 2),
        ("MUL", 4, {"rescale": 1.0}, 3),
        ("PAD", 4, {}, 2),
        ("PAD", 5, {}, 4),
        ("QUANTIZE", 4, {}, 1),
        ("RESHAPE", 4, {}, 1),
        ("STRIDED_SLICE", 5, {}, 4),
        ("TRANSPOSE", 4, {}, 2),
        ("TRANSPOSE", 5, {}, 4),
        ("TRANSPOSE", 6, {}, 6),
    ],
)
def test_lowest_version(code: str, rank: int, options: dict[str, Any], version: int) -> None:
    assert lowest_version(code, "int8", rank, {}, **options) == version


@pytest.mark.parametrize(
    ("code", "fields", "version"),
    [
        ("FULLY_CONNECTED", {"keepNumDims": True}, 5),
        ("RESIZE_BILINEAR", {"halfPixelCenters": True}, 3),
        ("RESIZE_BILINEAR", {"alignCorners": True, "halfPixelCenters": False}, 2),
        ("RESIZE_NEAREST_NEIGHBOR", {"alignCorners": True}, 3),
        ("TRANSPOSE_CONV", {"fusedActivationFunction": 0}, 3),
        ("TRANSPOSE_CONV", {"fusedActivationFunction": 1}, 4),
    ],
)
def test_options_that_make_it_newer(code: str, fields: dict[str, Any], version: int) -> None:
    assert lowest_version(code, "int8", 4, fields) == version


@pytest.mark.parametrize(
    ("code", "dtype", "rank", "options", "version"),
    [
        ("ADD", "float32", 4, {}, 1),
        ("BROADCAST_TO", "float32", 4, {}, 2),
        ("CONV_2D", "float32", 4, {}, 1),
        ("CONV_2D", "float32", 4, {"grouped": True}, 6),
        ("DIV", "float32", 5, {"broadcasts": True}, 2),
        ("MAXIMUM", "float32", 5, {}, 1),
        ("SPLIT", "int32", 4, {}, 3),
        ("STRIDED_SLICE", "bool", 4, {}, 3),
        ("SUB", "int8", 5, {"broadcasts": True}, 3),
        ("TRANSPOSE", "bool", 4, {}, 3),
        ("TRANSPOSE", "float32", 4, {}, 1),
        ("TRANSPOSE", "float32", 6, {}, 6),
        ("TRANSPOSE_CONV", "float32", 4, {}, 3),
    ],
)
def test_other_dtypes(code: str, dtype: str, rank: int, options: dict[str, Any], version: int) -> None:
    assert lowest_version(code, dtype, rank, {}, **options) == version


def test_a_dilated_depthwise_convolution_in_float() -> None:
    assert lowest_version("DEPTHWISE_CONV_2D", "float32", 4, {"dilationHFactor": 2}) == 2

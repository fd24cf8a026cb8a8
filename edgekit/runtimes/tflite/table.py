"""``OPERATORS``: ONNX operator -> how it is lowered, after ``fuse``. Each family's file has its own part."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgekit.runtimes.tflite import (
    lower_activation,
    lower_arithmetic,
    lower_conv,
    lower_dense,
    lower_exponential,
    lower_image,
    lower_norm,
    lower_pool,
    lower_recurrent,
    lower_reduce,
    lower_select,
    lower_shape,
    lower_slice,
)
from edgekit.runtimes.tflite.operator import Operator

__all__ = ["OPERATORS"]

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        **lower_activation.OPERATORS,
        **lower_arithmetic.OPERATORS,
        **lower_conv.OPERATORS,
        **lower_dense.OPERATORS,
        **lower_exponential.OPERATORS,
        **lower_image.OPERATORS,
        **lower_norm.OPERATORS,
        **lower_pool.OPERATORS,
        **lower_recurrent.OPERATORS,
        **lower_reduce.OPERATORS,
        **lower_select.OPERATORS,
        **lower_shape.OPERATORS,
        **lower_slice.OPERATORS,
    }
)

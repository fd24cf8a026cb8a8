"""Recurrent layers that ``unroll`` left alone: TFLite cannot take them, and here is said why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.operator import Operator, Unsupported
from edgekit.runtimes.tflite.unroll import why_not

__all__ = ["OPERATORS"]


def _refused(e: Emission, node: Node) -> None:
    reason, fix = why_not(e.graph, node) or ("it was not unrolled", "prepare the graph for this runtime before planning it")
    raise Unsupported(reason, fix=fix)


OPERATORS: Mapping[str, Operator] = MappingProxyType({op: Operator(_refused) for op in ("GRU", "LSTM", "RNN")})

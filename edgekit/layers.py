"""``LayerSummary``: what TensorRT's inspector says an engine is made of, counted. The pipeline tells it beside a race.

The inspector's JSON comes from a board, as the Python package or ``trtexec --exportLayerInfo`` writes it, and is not trusted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Annotated

import msgspec

from edgekit.errors import InputError

__all__ = ["LayerSummary", "layer_summary"]

_BYTES_MAX = 64 << 20
_SHOWN_MAX = 5

_Word = Annotated[str, msgspec.Meta(max_length=100_000)]  # a fused layer is named after all of its nodes

# How the inspector spells types, alone ("Half") or in the name of a format ("Thirty-two wide channel vectorized row major Int8
# format"): TensorRT documentation, "Engine Inspector" of 8.5 to 11.
_TYPES = (
    ("int8", re.compile(r"int8\b", re.IGNORECASE)),
    ("bfloat16", re.compile(r"bf16|bfloat16", re.IGNORECASE)),
    ("float16", re.compile(r"fp16|half", re.IGNORECASE)),
    ("float32", re.compile(r"fp32|float(?!16)", re.IGNORECASE)),
)
_UNKNOWN = "other"
_FLOATS = ("float32", "float16", "bfloat16")
# Layers that move or hold tensors and compute nothing.
_STILL = {"NoOp", "Constant", "Shuffle", "ShapeHostToDevice", "Reshape", "Identity"}


class _Tensor(msgspec.Struct, frozen=True):
    """``Format/Datatype`` up to TensorRT 10; 11 splits it ("Migrating IEngineInspector Usage from TensorRT 10.x to 11.x")."""

    both: _Word = msgspec.field(name="Format/Datatype", default="")
    datatype: _Word = msgspec.field(name="Datatype", default="")

    @property
    def type(self) -> str:
        said = self.datatype or self.both
        return next((name for name, pattern in _TYPES if pattern.search(said)), _UNKNOWN)


class _Weights(msgspec.Struct, frozen=True):
    type: _Word = msgspec.field(name="Type", default="")


class _Layer(msgspec.Struct, frozen=True):
    name: _Word = msgspec.field(name="Name")
    kind: _Word = msgspec.field(name="LayerType", default="")
    inputs: list[_Tensor] = msgspec.field(name="Inputs", default_factory=list)
    outputs: list[_Tensor] = msgspec.field(name="Outputs", default_factory=list)
    weights: _Weights = msgspec.field(name="Weights", default=_Weights())
    origin: _Word = msgspec.field(name="Origin", default="")

    @property
    def type(self) -> str:
        """What it computes in: its weights say, or the first tensor whose type is one of the four."""
        told = [_Tensor(datatype=self.weights.type).type, *(tensor.type for tensor in (*self.inputs, *self.outputs))]
        return next((one for one in told if one != _UNKNOWN), _UNKNOWN)

    @property
    def converts(self) -> bool:
        """Whether it is a quantize or dequantize of its own: said so, or a copy with int8 on one side and floats on the other."""
        if self.kind in ("Quantize", "Dequantize") or (self.kind == "Reformat" and self.origin == "QDQ"):
            return True
        before, after = ({tensor.type for tensor in side} for side in (self.inputs, self.outputs))
        crosses = ("int8" in before and after & set(_FLOATS)) or ("int8" in after and before & set(_FLOATS))
        return self.kind == "Reformat" and bool(crosses)


class _Engine(msgspec.Struct, frozen=True):
    layers: Annotated[list[_Layer | _Word], msgspec.Meta(max_length=1_000_000)] = msgspec.field(name="Layers")


class LayerSummary(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An engine's layers, counted.

    Attributes
    ----------
    computing
        Type -> how many layers compute in it; ``"other"`` where the inspector does not say.
    reformats
        Names of the layers that only change a tensor's layout or float type: each costs a pass over memory.
    conversions
        Names of quantize and dequantize layers that were not fused into another. One at each border between int8 and float is as
        it must be; many mean that int8 is interrupted.
    detailed
        Whether the engine was built to tell more than its layers' names; False leaves all but the names empty.
    """

    computing: dict[str, int]
    reformats: tuple[str, ...]
    conversions: tuple[str, ...]
    detailed: bool

    @property
    def sentence(self) -> str:
        """All of it for people, in a line."""
        if not self.detailed:
            return "the engine tells nothing of its layers but their names"
        types = ", ".join(f"{count} in {name}" for name, count in sorted(self.computing.items()))
        parts = [f"layers: {types or 'none that computes'}"]
        for what, names in (("reformats", self.reformats), ("Q/DQ not fused", self.conversions)):
            more = f" and {len(names) - _SHOWN_MAX} more" if len(names) > _SHOWN_MAX else ""
            parts.append(f"{len(names)} {what}{': ' if names else ''}{', '.join(_short(name) for name in names[:_SHOWN_MAX])}{more}")
        return "; ".join(parts)


def layer_summary(data: bytes, where: str) -> LayerSummary:
    """Count the layers of an engine.

    Parameters
    ----------
    data
        What the inspector wrote.
    where
        The file or board it comes from, for the error.

    Raises
    ------
    InputError
        It is not what an inspector of TensorRT 8.5 to 11 writes.
    """
    if len(data) > _BYTES_MAX:
        raise InputError(f"{where}: {len(data)} bytes of layer information; {_BYTES_MAX} are read")
    try:
        # Not strict: TensorRT writes the control characters in names as they are.
        engine = msgspec.convert(json.loads(data.decode("utf-8", "replace"), strict=False), _Engine)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise InputError(f"{where} is no layer information of TensorRT: {error}") from error
    layers = [layer for layer in engine.layers if isinstance(layer, _Layer)]
    copies = [layer for layer in layers if layer.kind == "Reformat" and not layer.converts]
    conversions = [layer for layer in layers if layer.converts]
    computing = [layer for layer in layers if layer.kind != "Reformat" and not layer.converts and layer.kind not in _STILL]
    return LayerSummary(
        computing=dict(Counter(layer.type for layer in computing)),
        reformats=tuple(layer.name for layer in copies),
        conversions=tuple(layer.name for layer in conversions),
        detailed=bool(layers),
    )


def _short(name: str) -> str:
    return name if len(name) <= 80 else f"{name[:77]}..."

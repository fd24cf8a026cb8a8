"""``Model``: a float network as its author left it, and ``TensorSpec``: one of its inputs or outputs."""

from __future__ import annotations

from pathlib import Path

import msgspec

__all__ = ["Model", "TensorSpec"]


class TensorSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One input or output.

    Attributes
    ----------
    dtype
        As numpy spells it: ``"float32"``, ``"int8"``.
    shape
        A dimension of -1 is open.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]


class Model(msgspec.Struct, frozen=True):
    """A float network on disk.

    Attributes
    ----------
    format
        Which source reads it: ``"onnx"``.
    sha256
        Digest of the file.
    """

    path: Path
    format: str
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

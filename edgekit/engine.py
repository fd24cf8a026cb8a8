"""``Recipe``, ``EngineKey``, ``EngineFile``: a TensorRT engine before it is built, what it depends on, and as it lies in a bundle.

The key is made by `edgekit.ondevice.tensorrt.key`, on board and host alike; two engines of equal keys may stand in for each other.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edgekit.ondevice.tensorrt.key import digest_of, timing_digest_of
from edgekit.parse import BundlePath, Sha256

__all__ = ["EngineFile", "EngineKey", "EnginePrecision", "Recipe"]

EnginePrecision = Literal["int8", "fp16", "mixed"]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
_Nodes = Annotated[tuple[Annotated[str, msgspec.Meta(max_length=1024)], ...], msgspec.Meta(max_length=100_000)]
_DlaCore = Annotated[int, msgspec.Meta(ge=0, le=15)]
_Mebibytes = Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]


class Recipe(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an engine is built from files of a bundle.

    Attributes
    ----------
    precision
        ``"int8"``: Q/DQ, the rest float32. ``"mixed"``: Q/DQ, the rest float16. ``"fp16"``: no Q/DQ, float16.
    files
        How the builder's networks are typed (``"weak"`` up to TensorRT 10, ``"strong"`` from 11) -> the file it reads.
    workspace_mib
        Most scratch memory an engine's layers may use; None leaves it to the board.
    dla_core
        The deep-learning accelerator that takes what it can; None uses the GPU alone.
    float32_nodes
        Nodes that overflow float16, measured; a builder that chooses precisions itself is held to float32 there.
    """

    precision: EnginePrecision
    files: dict[Literal["weak", "strong"], BundlePath]
    workspace_mib: _Mebibytes | None = None
    dla_core: _DlaCore | None = None
    float32_nodes: _Nodes = ()


class EngineKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that an engine depends on.

    Attributes
    ----------
    onnx_sha256
        Of the file that was built.
    tensorrt
        Full version.
    compute_capability
        The GPU's architecture, as in ``"8.7"``.
    board
        Model line of the device tree; on a machine without one the GPU's name.
    l4t, cuda
        Releases of the board's system and of its driver's CUDA; None where there is none.
    """

    onnx_sha256: Sha256
    tensorrt: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9A-Za-z_+-]+)*\Z", max_length=64)]
    compute_capability: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]+\Z", max_length=16)]
    board: _Word
    l4t: _Word | None
    cuda: _Word | None
    precision: EnginePrecision
    workspace_mib: _Mebibytes | None
    dla_core: _DlaCore | None
    float32_nodes: _Nodes

    @property
    def digest(self) -> str:
        """The engine's name, on a board and in the host's cache."""
        return digest_of(msgspec.to_builtins(self))

    @property
    def timing_digest(self) -> str:
        """The name of the timing cache it may begin with."""
        return timing_digest_of(msgspec.to_builtins(self))


class EngineFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An engine in a bundle, built on a reference board; ``layers`` is what TensorRT's inspector says of it."""

    path: BundlePath
    layers: BundlePath
    key: EngineKey

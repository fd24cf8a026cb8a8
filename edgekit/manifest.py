"""``Manifest``: what a bundle says of itself. Its bytes' SHA-256 is the bundle's name.

It holds no time and no machine's path, so the same inputs give the same bytes.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edgekit.engine import EngineFile, Recipe
from edgekit.health import Health
from edgekit.model import TensorSpec
from edgekit.parse import BundlePath, Sha256
from edgekit.target import Budget

__all__ = ["MANIFEST", "MANIFEST_BYTES_MAX", "FileEntry", "Golden", "Manifest", "Origin", "Requires"]

MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 4 << 20

AppName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}\Z")]


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    path: BundlePath
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class Requires(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the board must be: ``uname -m``, device-tree model, lowest Python, runtime."""

    machines: tuple[str, ...]
    boards: tuple[str, ...]
    python: Annotated[str, msgspec.Meta(pattern=r"^3\.[0-9]{1,2}\Z")]
    runtime: str


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Samples with the artifact's own answers; ``tolerance`` counts quantization steps.

    ``outputs`` come from the runtime as it is by default (XNNPACK), ``builtin_outputs`` from its
    builtin kernels, which older runtimes use and which round otherwise.
    """

    samples: BundlePath
    outputs: BundlePath
    builtin_outputs: BundlePath
    tolerance: Annotated[int, msgspec.Meta(ge=0, le=255)]


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where it all came from; ``tools`` maps a package to the version that took part."""

    model_sha256: Sha256
    graph_sha256: Sha256
    calibration_sha256: Sha256 | None
    calibration_samples: int
    calibration_method: str
    evaluation_sha256: Sha256
    tools: dict[str, str]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bundle's own account.

    Attributes
    ----------
    threads
        How many threads probes use on this kind of board.
    layouts
        Input or output name -> ``nhwc``, ``nchw`` or ``as-is``, as the artifact wants it.
    preprocess
        The declared preprocessing, its layout that of the artifact.
    taints
        Why the bundle must not be trusted, in words; empty when it may.
    recipe
        How the board makes a TensorRT engine of the bundle's files; None for a runtime that loads the artifact itself.
    engine
        The engine, where a reference board has built it; only boards with the very same key may run it.
    health
        What the board asks of the release once it is current, beyond the golden samples.
    """

    schema: Literal["edgekit.bundle/1"] = "edgekit.bundle/1"
    name: AppName
    target: str
    runtime: str
    artifact: BundlePath
    threads: Annotated[int, msgspec.Meta(ge=1, le=1024)]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    layouts: dict[str, str]
    preprocess: dict[str, Any]
    requires: Requires
    golden: Golden
    budget: Budget
    origin: Origin
    taints: tuple[str, ...]
    recipe: Recipe | None = None
    engine: EngineFile | None = None
    health: Health = Health()
    files: Annotated[tuple[FileEntry, ...], msgspec.Meta(min_length=1, max_length=999)]

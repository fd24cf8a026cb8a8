"""What a TensorRT engine depends on, in one table: two engines of equal keys may stand in for each other, others never.

Used by the builder and the runner, and by the host, which looks engines up by the same key. An engine belongs to the network, the
version of TensorRT, the GPU's architecture and the platform (TensorRT documentation, "Version Compatibility", "Serialized engines are
not portable across platforms").
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

__all__ = ["BOARD_FIELDS", "FIELDS", "PRECISIONS", "SOURCES", "digest_of", "key_of", "source_of", "timing_digest_of", "typing_of"]

PRECISIONS = ("int8", "fp16", "mixed")
# Of the board; what a timing cache depends on (TensorRT documentation, "Timing Cache": the same device model and versions).
BOARD_FIELDS = ("tensorrt", "compute_capability", "board", "l4t", "cuda")
RECIPE_FIELDS = ("precision", "workspace_mib", "dla_core", "float32_nodes")
FIELDS = ("onnx_sha256", *BOARD_FIELDS, *RECIPE_FIELDS)
# The first release without weakly typed networks (TensorRT release notes, 11.0).
STRONG_FROM = 11

# Precision -> the file that a builder reads: where it may choose precisions itself ("weak"), and where the file says all types ("strong").
SOURCES = {
    "int8": {"weak": "model.onnx", "strong": "model.onnx"},
    "mixed": {"weak": "model.onnx", "strong": "mixed.onnx"},
    "fp16": {"weak": "float.onnx", "strong": "half.onnx"},
}


def typing_of(version: str) -> Literal["weak", "strong"]:
    """Return how networks of a TensorRT version are typed: ``weak`` (builder flags choose precisions) or ``strong``."""
    return "strong" if int(version.partition(".")[0]) >= STRONG_FROM else "weak"


def source_of(precision: str, version: str) -> str:
    """Return the name of the file that this version of TensorRT builds an engine of this precision from."""
    return SOURCES[precision][typing_of(version)]


def key_of(recipe: dict[str, Any], onnx_sha256: str, board: dict[str, Any]) -> dict[str, Any]:
    """Return the key of the engine that a recipe gives on a board.

    ``recipe`` holds `RECIPE_FIELDS`, ``board`` holds `BOARD_FIELDS`; others are passed over.
    """
    key = {"onnx_sha256": onnx_sha256, **{name: board[name] for name in BOARD_FIELDS}, **{name: recipe[name] for name in RECIPE_FIELDS}}
    return {**key, "float32_nodes": sorted(key["float32_nodes"])}


def digest_of(key: dict[str, Any]) -> str:
    """Return the name of an engine: the SHA-256 of its key as canonical JSON."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def timing_digest_of(key: dict[str, Any]) -> str:
    """Return the name of the timing cache that an engine's build may begin with: other networks on the same kind of board share it."""
    return digest_of({name: key[name] for name in BOARD_FIELDS})

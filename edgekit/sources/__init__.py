"""Where float networks come from. One table, one contract; readers are imported on use.

The pipeline asks ``source_for`` for the reader of a path. To add a format: one module with a
``Source`` and one line in ``SOURCES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgekit.errors import InputError
from edgekit.lazy import load
from edgekit.nearest import did_you_mean

if TYPE_CHECKING:
    import onnx

    from edgekit.model import Model

__all__ = ["SOURCES", "Source", "source_for"]

SOURCES: Mapping[str, str] = {".onnx": "edgekit.sources.onnx:OnnxSource"}
"""File suffix -> reader."""

_EXPORTS = {
    ".h5": "python -m tf2onnx.convert --keras MODEL --output model.onnx",
    ".keras": "python -m tf2onnx.convert --keras MODEL --output model.onnx",
    ".pb": "python -m tf2onnx.convert --saved-model FOLDER --output model.onnx",
    ".tflite": "python -m tf2onnx.convert --tflite MODEL --output model.onnx",
    ".pt": "torch.onnx.export(model, (sample,), 'model.onnx')",
    ".pth": "torch.onnx.export(model, (sample,), 'model.onnx')",
    ".safetensors": "optimum-cli export onnx --model FOLDER OUT",
}


class Source(Protocol):
    """Reads one format."""

    def read(self, path: Path) -> Model:
        """Check the file cheaply and return what it declares, without loading its weights to memory for good."""

    def load(self, model: Model) -> onnx.ModelProto:
        """Return the float network as ONNX, weights included."""


def source_for(path: Path) -> Source:
    """Return the reader of a model file, by its suffix.

    Raises
    ------
    InputError
        There is no such file, it is a folder, or no reader knows the suffix.
    """
    if path.is_dir():
        raise InputError(f"{path}: a folder, not a model file", fix=_inside(path))
    if not path.exists():
        near = _near(path)
        raise InputError(f"{path}: no such file" + (f"; did you mean {near}?" if near else ""))
    suffix = path.suffix.lower()
    if suffix not in SOURCES:
        known = ", ".join(SOURCES)
        raise InputError(
            f"{path}: edgekit does not read {suffix or 'a file without a suffix'} (it reads: {known})",
            fix=f"export to ONNX first: {_EXPORTS[suffix]}" if suffix in _EXPORTS else "export to ONNX first",
        )
    source: Source = load(SOURCES[suffix])()
    return source


def _inside(folder: Path) -> str | None:
    models = sorted(entry.name for entry in folder.iterdir() if entry.suffix.lower() in SOURCES)
    return f"name the file, for example {folder / models[0]}" if models else None


def _near(path: Path) -> str | None:
    if not path.parent.is_dir():
        return None
    names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    same_stem = (name for name in names if Path(name).stem == path.stem and Path(name).suffix in SOURCES)
    best = next(same_stem, None) or did_you_mean(path.name, names)
    return str(path.parent / best) if best else None

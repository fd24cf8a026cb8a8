"""``Project``: what ``edgekit.toml`` says. The key is the contract: an unknown one is an error.

Sources from weak to strong: the user's ``config.toml`` (XDG), then ``edgekit.toml`` or
``[tool.edgekit]`` of ``pyproject.toml`` in the working folder. Flags and ``EDGEKIT_*`` come on top in ``cli``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import platformdirs

from edgekit.errors import InputError
from edgekit.parse import into, read_toml
from edgekit.preprocess import Preprocess
from edgekit.target import Budget

__all__ = ["BuildSection", "DatasetSection", "DeviceSection", "Project", "find_project", "load_project", "project_folder"]

Count = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class ModelSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``shapes`` pins inputs whose open dimensions are not the batch: ``{image = [1, 3, 224, 224]}``."""

    path: str | None = None
    name: Name | None = None
    shapes: dict[str, tuple[Count, ...]] = {}


class DatasetSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which samples of a dataset: ``samples`` of them, after the first ``skip``."""

    dataset: str | None = None
    samples: Count | None = None
    skip: Annotated[int, msgspec.Meta(ge=0)] = 0


class CalibrationSection(DatasetSection, frozen=True, forbid_unknown_fields=True):
    method: Literal["auto", "minmax", "percentile", "entropy", "mse"] | None = None


class QuantizeSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What makes up for the losses of rounding (``edgekit.quantize.recover``); all of it unless switched off."""

    balance: bool = True
    equalise: bool = True
    weight_ranges: bool = True
    rounding: bool = True
    bias: bool = True


class BuildSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the artifact meets the application: element type and layout of its inputs and outputs, by default the runtime's own."""

    target: str | None = None
    io_dtype: Literal["int8", "uint8", "float32"] | None = None
    layout: Literal["nhwc", "nchw"] | None = None


class DeviceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board by name: its kind (a target, or a family of them), its interpreter, edgekit's folder there."""

    address: str
    target: str | None = None
    python: str | None = None
    root: str = "~/.edgekit"


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a project declares; its relative paths start from `project_folder`."""

    model: ModelSection = ModelSection()
    preprocess: Preprocess = Preprocess()
    calibration: CalibrationSection = CalibrationSection()
    evaluation: DatasetSection = DatasetSection()
    quantize: QuantizeSection = QuantizeSection()
    build: BuildSection = BuildSection()
    budget: Budget = Budget()
    devices: dict[Name, DeviceSection] = {}


def find_project(folder: Path) -> Path | None:
    """Return the project's file in a folder: ``edgekit.toml``, else a ``pyproject.toml`` with our table."""
    own = folder / "edgekit.toml"
    if own.is_file():
        return own
    shared = folder / "pyproject.toml"
    if shared.is_file() and "edgekit" in read_toml(shared).get("tool", {}):
        return shared
    return None


def load_project(path: Path | None) -> Project:
    """Read a project's file over the user's own configuration.

    Parameters
    ----------
    path
        ``edgekit.toml`` or ``pyproject.toml``; None reads the user's configuration alone.

    Raises
    ------
    InputError
        A file is missing or wrong; the message has the key and the nearest known one.
    """
    user = platformdirs.user_config_path("edgekit") / "config.toml"
    merged: dict[str, Any] = {}
    project = Project()
    for file in (user if user.is_file() else None, path):
        if file is None:
            continue
        data = read_toml(file)
        if file.name == "pyproject.toml":
            data = data.get("tool", {}).get("edgekit", {})
        merged = _overlay(merged, data)
        project = into(merged, Project, str(file))
    return project


def _overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _overlay(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def project_folder(path: Path | None) -> Path:
    """Return the folder that a project's relative paths start from."""
    if path is None:
        return Path.cwd()
    if not path.is_file():
        raise InputError(f"{path}: no such file", fix="name an edgekit.toml with --project, or run in its folder")
    return path.parent

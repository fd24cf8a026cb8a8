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
from edgekit.metrics import DEFAULT
from edgekit.metrics.postprocess import Postprocess
from edgekit.parse import into, read_toml
from edgekit.preprocess import Preprocess
from edgekit.target import Budget

__all__ = [
    "BuildSection",
    "CiSection",
    "DatasetSection",
    "DeploySection",
    "DeviceSection",
    "Project",
    "find_project",
    "load_project",
    "project_folder",
]

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


class EvaluationSection(DatasetSection, frozen=True, forbid_unknown_fields=True):
    """``metric`` is one of `edgekit.metrics.METRICS`, or ``module:function`` of the project's folder."""

    metric: str = DEFAULT


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


class DeploySection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a release must show on the board, and how long it has.

    Attributes
    ----------
    restart, health
        Commands on the board, without a shell: ``["systemctl", "--user", "restart", "x"]``. A first word that begins with ``./`` is
        a file of the project that travels with the bundle.
    restart_timeout_s, health_timeout_s
        How long each may take.
    latency_p99_ms
        Ceiling of the invoke time's 99th percentile in a short run after the switch.
    deadline_s
        Unproven that long after the switch, the board goes back to the release before by itself.
    keep
        How many releases of an application stay on a board; ``current`` and ``previous`` always do.
    allowed_signers
        File of the keys whose signatures count (ssh-keygen(1), ALLOWED SIGNERS).
    """

    restart: tuple[str, ...] | None = None
    restart_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    health: tuple[str, ...] | None = None
    health_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=3600)] = 60.0
    latency_p99_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    deadline_s: Annotated[float, msgspec.Meta(ge=10, le=86400)] = 600.0
    keep: Annotated[int, msgspec.Meta(ge=2, le=1000)] = 3
    allowed_signers: str | None = None


_Limit = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class CiSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What ``edgekit ci`` does: on which board, with which probes, and how long each step may take.

    Attributes
    ----------
    devices
        Names under ``[devices]`` or groups: one of them that is free is taken.
    target
        Any of the project's devices of this kind; goes with no ``devices``.
    probes
        Run in this order; see ``edgekit probe --list``.
    lease_wait_s
        How long to wait for a board.
    timeout_s
        For all steps but those that put the board back as it was; each step has its own limit below.
    retries
        How often a step that failed for the sake of the board or the link is done again. A verdict never is.
    stand_in
        Accept a board of another kind: an emulated one, say.
    """

    devices: tuple[str, ...] = ()
    target: str | None = None
    probes: Annotated[tuple[Name, ...], msgspec.Meta(min_length=1, max_length=32)] = ("accuracy", "latency")
    lease_wait_s: Annotated[float, msgspec.Meta(ge=0, le=86400)] = 600.0
    timeout_s: _Limit = 7200.0
    build_timeout_s: _Limit = 3600.0
    deploy_timeout_s: _Limit = 1800.0
    probe_timeout_s: _Limit = 1800.0
    restore_timeout_s: _Limit = 600.0
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    stand_in: bool = False


class DeviceSection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A board by name: kind (a target, or a family of them), interpreter, edgekit's folder there, groups, the site it stands at."""

    address: str
    target: str | None = None
    python: str | None = None
    root: str = "~/.edgekit"
    groups: tuple[Name, ...] = ()
    site: Name | None = None


class Project(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything a project declares; its relative paths start from `project_folder`.

    Attributes
    ----------
    probe
        Options of probes by the probe's name; the probe itself says what it knows.
    """

    model: ModelSection = ModelSection()
    preprocess: Preprocess = Preprocess()
    calibration: CalibrationSection = CalibrationSection()
    evaluation: EvaluationSection = EvaluationSection()
    postprocess: Postprocess = Postprocess()
    quantize: QuantizeSection = QuantizeSection()
    build: BuildSection = BuildSection()
    budget: Budget = Budget()
    deploy: DeploySection = DeploySection()
    ci: CiSection = CiSection()
    probe: dict[Name, dict[str, Any]] = {}
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

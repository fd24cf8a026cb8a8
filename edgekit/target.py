"""``Target``: one kind of board and what is asked of it. Read from ``targets/NAME.toml``, data only."""

from __future__ import annotations

import platform
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from edgekit.device import Facts
from edgekit.errors import InputError, UsageError
from edgekit.nearest import did_you_mean
from edgekit.parse import into, read_toml

__all__ = ["Budget", "Nvidia", "Target", "data_folder", "load_target", "same_kind", "target_names", "unsupported"]


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The promise a build makes; an entry left out promises nothing.

    Attributes
    ----------
    accuracy_drop_max
        Largest loss of accuracy against float, by the project's metric, as a fraction: 0.01 is one point.
    latency_p99_ms
        Largest 99th percentile of the invoke time.
    """

    accuracy_drop_max: Annotated[float, msgspec.Meta(gt=0, lt=1)] | None = None
    latency_p99_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None

    def over(self, other: Budget) -> Budget:
        """Return the other's promises with these laid over them."""
        own = {field: value for field, value in msgspec.structs.asdict(self).items() if value is not None}
        return msgspec.structs.replace(other, **own)


_Release = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)*\Z")]


class Nvidia(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What TensorRT finds on a kind of board.

    Attributes
    ----------
    compute_capability
        The GPU's architecture; None where kinds of boards differ.
    dla_cores
        How many deep-learning accelerators its boards have; a family says what all of them have.
    jetpack
        Lowest and highest release that supports the board, fixes of the highest included; None where there is no JetPack.
    """

    compute_capability: str | None = None
    dla_cores: int = 0
    jetpack: tuple[_Release, _Release] | None = None


class Target(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of board.

    Attributes
    ----------
    board
        Its name for people.
    family
        A name that stands for all kinds of one make: ``rpi``.
    machines
        What ``uname -m`` may answer there; ``"host"`` stands for this machine's own.
    boards
        How the device tree's model string begins on such a board; empty when any board will do.
    finish
        Where the artifact gets its last form: ``host`` ships it ready, ``device`` builds it there.
    python
        Lowest Python on the board.
    threads
        How many threads a probe uses unless told otherwise.
    precision
        ``"int8"``: what has no int8 kernel is float32. ``"mixed"`` and ``"fp16"``: see `edgekit.engine.Recipe`.
    nvidia
        What the board's GPU and accelerators can do; None for a board without one.
    """

    name: str
    board: str
    family: str
    machines: tuple[str, ...]
    boards: tuple[str, ...] = ()
    runtime: str
    precision: Literal["int8", "mixed", "fp16"]
    finish: Literal["host", "device"]
    python: str = "3.8"
    threads: int = 1
    nvidia: Nvidia | None = None
    budget: Budget = Budget()


def data_folder(name: Literal["targets", "calibration"]) -> Path:
    """Return the folder of shipped data: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "_data" / name
    return installed if installed.is_dir() else package.parent / name


def target_names() -> tuple[str, ...]:
    """Return the names of all shipped targets, sorted."""
    return tuple(sorted(path.stem for path in data_folder("targets").glob("*.toml")))


@lru_cache
def load_target(name: str) -> Target:
    """Read a shipped target by name.

    Raises
    ------
    UsageError
        No target has that name; the message offers the nearest.
    InputError
        The target's file is wrong.
    """
    if name not in target_names():
        near = did_you_mean(name, target_names())
        fix = f"did you mean {near!r}? " if near else ""
        raise UsageError(f"no target is called {name!r}", fix=f"{fix}all targets: edgekit targets list")
    path = data_folder("targets") / f"{name}.toml"
    data = read_toml(path)
    if "name" in data:
        raise InputError(f"{path}: the file's own name is the target's; remove the key 'name'")
    target = into({"name": name, **data}, Target, str(path))
    machines = tuple(platform.machine() if machine == "host" else machine for machine in target.machines)
    return msgspec.structs.replace(target, machines=machines)


def same_kind(one: str, other: str) -> bool:
    """Tell whether two targets mean the same kind of board: the same name, or one names the other's family."""
    return one == other or load_target(one).family == other or load_target(other).family == one


def unsupported(target: Target, facts: Facts) -> tuple[str, str] | None:
    """Return what of a board contradicts its target, and the fix; None when nothing that it says does.

    An engine is built for one GPU architecture, and an edgekit target for the JetPack releases that NVIDIA makes for the board
    (NVIDIA, "JetPack Archive": supported modules of each release).
    """
    nvidia, gpu, jetson = target.nvidia, facts.gpu, facts.jetson
    if nvidia is None:
        return None
    if gpu and nvidia.compute_capability and gpu.compute_capability != nvidia.compute_capability:
        text = f"its GPU, {gpu.name}, has compute capability {gpu.compute_capability}; that of {target.name} is {nvidia.compute_capability}"
        return text, "build for the board it is: edgekit targets list"
    if jetson and jetson.jetpack and nvidia.jetpack:
        low, high = nvidia.jetpack
        found = _release(jetson.jetpack)
        if found < _release(low):
            return f"it runs JetPack {jetson.jetpack}; {target.name} needs {low} or later", f"update it to JetPack {low} or later"
        if found[: len(_release(high))] > _release(high):
            return f"it runs JetPack {jetson.jetpack}; {target.name} is known up to {high}", "use a newer edgekit, or an earlier JetPack"
    return None


def _release(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))

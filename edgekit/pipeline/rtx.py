"""NVIDIA's own parser and compiler on this host: whether they take a file, asked without a GPU. Called by ``build``.

tensorrt-rtx (the extra ``check``) is of the same API family as TensorRT 10 and 11 and compiles ahead of time on the CPU; it builds for
other GPUs than a Jetson's, so what it accepts may still be refused there, but what it refuses is wrong. It runs in the agent, in a process
of its own: it may abort.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeviceError, InputError
from edgekit.pipeline import Progress, silent

__all__ = ["MODULE", "Checked", "check"]

MODULE = "tensorrt_rtx"
# MiniLM, the largest model here, takes half a minute on two cores.
_TIMEOUT_S = 1800.0
_ERRORS_SHOWN = 8


@dataclass(frozen=True)
class Checked:
    """What the compiler said of a build's files.

    Attributes
    ----------
    version
        Of tensorrt-rtx; None when it is not installed and nothing was checked.
    notes
        For the user.
    """

    version: str | None
    notes: tuple[str, ...] = ()


class _Refusal(msgspec.Struct, frozen=True):
    node: str | None
    op: str | None
    message: str


class _Answer(msgspec.Struct, frozen=True):
    version: str
    errors: tuple[_Refusal, ...]
    warnings: tuple[str, ...] = ()


def check(files: Mapping[str, bytes], folder: Path, *, python: str | None = None, progress: Progress = silent) -> Checked:
    """Let NVIDIA's compiler parse and compile each ONNX file.

    Parameters
    ----------
    files
        Name -> bytes.
    folder
        A private scratch folder.
    python
        The interpreter that has tensorrt-rtx; None is the one edgekit runs in.

    Raises
    ------
    BuildError
        It refuses a file, the nodes named, or dies of it.
    """
    if python is None and importlib.util.find_spec(MODULE) is None:
        return Checked(None, ("not checked by NVIDIA's compiler: pip install 'edgekit[check]'",))
    device = Device(name="host", address=Address.parse("local"), python=python, root=str(folder / "root"))
    version = ""
    for done, (name, data) in enumerate(sorted(files.items())):
        progress("check with tensorrt-rtx", done, len(files))
        path = folder / f"check-{name}"
        path.write_bytes(data)
        answer = _ask(device, path, name)
        version = answer.version
        if answer.errors:
            lines = [f"node {error.node or '?'!r} ({error.op or '?'}): {error.message}" for error in answer.errors]
            more = f"\n  and {len(lines) - _ERRORS_SHOWN} more" if len(lines) > _ERRORS_SHOWN else ""
            raise BuildError(
                f"NVIDIA's compiler (tensorrt-rtx {version}) refuses {name}:\n  " + "\n  ".join(lines[:_ERRORS_SHOWN]) + more,
                fix="rewrite these nodes in the model, or export it without them",
            )
    progress("check with tensorrt-rtx", len(files), len(files))
    return Checked(version)


def _ask(device: Device, path: Path, name: str) -> _Answer:
    try:
        with connect(device) as connection, AgentSession(connection, device) as session:
            # tensorrt-rtx knows strongly typed networks alone.
            data = session.job("engine.check", timeout_s=_TIMEOUT_S, onnx=str(path), module=MODULE, typing="strong")
        return msgspec.convert(data, _Answer)
    except (DeviceError, InputError, msgspec.ValidationError) as error:
        text = str(error) if isinstance(error, msgspec.ValidationError) else error.message
        raise BuildError(
            f"NVIDIA's compiler (tensorrt-rtx) gives no answer to {name}: {text}",
            fix="the board may not build it either: try it there with trtexec",
        ) from error

"""Engines built on a board from this host: looked up by their key, else built there by a process of its own, raced, fetched.

Called by ``finish`` for a reference board, and by ``deploy`` for a board that builds its own. The builder on the board needs no
link: whoever asks for the same key attaches to it. Everything here may run twice, and goes on where it was.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekit.device import Device, Facts
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import send
from edgekit.digest import sha256_file
from edgekit.engine import EngineKey, Recipe
from edgekit.errors import BuildError, DeployError, DeviceError, InputError, LinkError
from edgekit.manifest import Manifest
from edgekit.ondevice.tensorrt.board import board_of
from edgekit.ondevice.tensorrt.key import BOARD_FIELDS, FIELDS, key_of, typing_of
from edgekit.ondevice.wire import AgentError
from edgekit.pipeline import Progress
from edgekit.pipeline.enginecache import FILES, TIMING, CachedEngine, EngineAccount, EngineCache, FileAccount, Making

__all__ = ["TENSORRT", "Plan", "Told", "build_there", "fetch", "fetch_timing", "key_on", "lacks", "plan_for", "plan_on"]

TENSORRT = "tensorrt"
NOT_WHEELS = "on the board: sudo apt install tensorrt python3-libnvinfer"
"""TensorRT comes with JetPack as Debian packages (JetPack documentation, "How to Install JetPack"), built for its CUDA and driver."""

_BUILD_TIMEOUT_S = 6 * 3600.0
"""TensorRT times every layer in many ways, which takes tens of minutes for large networks on small boards; each precision has this long."""


@dataclass(frozen=True)
class Plan:
    """One engine to be: its recipe, the file it is built from on this very board, and its key there."""

    recipe: Recipe
    source: str
    key: EngineKey


class Told(Making, frozen=True, kw_only=True):
    """The answer to ``engine.build``."""

    engine: str
    cached: bool


def key_on(facts: Facts, where: str) -> dict[str, Any]:
    """Return what of a board an engine depends on.

    Raises
    ------
    BuildError
        It has no NVIDIA GPU, or no TensorRT; the missing piece is named.
    """
    try:
        return board_of(msgspec.to_builtins(facts))
    except AgentError as error:
        raise BuildError(f"{where}: {error.message}", fix=error.fix) from error


def plan_on(board: Mapping[str, Any], recipe: Recipe, sha256_of: Mapping[str, str], where: str) -> Plan:
    """Return how a board builds an engine.

    Parameters
    ----------
    board
        See `key_on`.
    sha256_of
        File -> digest, of the recipe's files at least.
    where
        The board, for messages.

    Raises
    ------
    InputError
        The recipe has no file for the board's TensorRT.
    DeviceError
        What the board says of itself is not as it must be.
    """
    try:
        source = recipe.files.get(typing_of(board["tensorrt"]))
        if source is None or source not in sha256_of:
            raise InputError(f"{where}: the bundle's recipe has no file for TensorRT {board['tensorrt']}", fix="build the bundle again")
        key = key_of(msgspec.to_builtins(recipe), sha256_of[source], dict(board))
        return Plan(recipe, source, msgspec.convert(key, EngineKey))
    except (ValueError, msgspec.ValidationError) as error:
        raise DeviceError(f"{where}: what the board says of its TensorRT and GPU is not as it must be: {error}") from error


def lacks(facts: Facts) -> list[tuple[str, str | None]]:
    """Return what keeps TensorRT from running engines on a board, each with its fix; empty when nothing does."""
    try:
        board_of(msgspec.to_builtins(facts))
    except AgentError as error:
        return [(error.message, error.fix)]
    package = [runtime for runtime in facts.runtimes if (runtime.kind, runtime.name) == (TENSORRT, TENSORRT)]
    if any(runtime.error is None for runtime in package):
        return []
    why = "; ".join(runtime.error or "" for runtime in package) or "it is not installed"
    return [(f"TensorRT's Python package does not run there ({why}), and trtexec alone gives no answers", NOT_WHEELS)]


def plan_for(manifest: Manifest, facts: Facts, device: Device) -> Plan | None:
    """Return how a board gets the engine of a bundle: None where it is in the bundle, or there is none.

    Raises
    ------
    DeployError
        The bundle's engine is for other boards; the first field that differs is named.
    """
    if manifest.recipe is None:
        return None
    digests = {entry.path: entry.sha256 for entry in manifest.files}
    where = str(device.address)
    plan = plan_on(key_on(facts, where), manifest.recipe, digests, where)
    if manifest.engine is None:
        return plan
    wanted, has = (msgspec.structs.asdict(key) for key in (manifest.engine.key, plan.key))
    for field in (*BOARD_FIELDS, *FIELDS):
        if wanted[field] != has[field]:
            raise DeployError(
                f"{device.address}: the bundle's engine is for {field} {wanted[field]}, the board has {has[field]}; "
                "nothing of the release was sent",
                fix=_rebuild(manifest, manifest.recipe, device),
            )
    return None


def _rebuild(manifest: Manifest, recipe: Recipe, device: Device) -> str:
    """Return the command that builds the engine for a board."""
    words = ["edgekit", "build", "--target", manifest.target, "--device", device.name, "--precision", recipe.precision]
    words += ["--dla-core", str(recipe.dla_core)] if recipe.dla_core is not None else []
    words += ["--workspace", str(recipe.workspace_mib)] if recipe.workspace_mib is not None else []
    return shlex.join(words)


def build_there(session: AgentSession, plan: Plan, cache: EngineCache, progress: Progress) -> Told:
    """Let a board build an engine, or find that it has it; its source is there as a blob.

    Raises
    ------
    BuildError
        The board cannot build it.
    LinkError
        The link was lost; the board goes on.
    """
    where = str(session.device.address)
    timing = cache.timing(plan.key)
    if timing:
        send(session, {timing.name: timing}, progress=progress)
    try:
        with going_on(where):
            data = session.job(
                "engine.build",
                timeout_s=_BUILD_TIMEOUT_S,
                progress=progress,
                onnx=plan.key.onnx_sha256,
                recipe=msgspec.to_builtins(plan.recipe),
                key=msgspec.to_builtins(plan.key),
                timing_cache=timing.name if timing else None,
            )
        told = msgspec.convert(data, Told)
    except LinkError:
        raise
    except (DeviceError, DeployError, InputError) as error:
        log = f"{session.device.root}/engines/{plan.key.digest}.work/build.log"
        raise BuildError(
            f"the engine ({plan.recipe.precision}) was not built: {error.message}",
            fix=error.fix or f"its log is on the board: {log}; the same command begins again, with what has been timed",
        ) from error
    except msgspec.ValidationError as error:
        raise DeviceError(f"{where}: the answer to engine.build is malformed: {error}") from error
    if told.engine != plan.key.digest or set(told.files) < set(FILES):
        raise DeviceError(f"{where}: the answer to engine.build is of another engine, or lacks a file")
    return told


@contextmanager
def going_on(where: str) -> Iterator[None]:
    """Say, where Ctrl-C ends the waiting, that it does not end the building."""
    try:
        yield
    except BaseException as stop:
        if not isinstance(stop, Exception):
            stop.args = (f"the engine's build goes on on {where}: the same command attaches to it again",)
        raise


def fetch(session: AgentSession, plan: Plan, told: Told, cache: EngineCache, progress: Progress) -> CachedEngine:
    """Fetch an engine with all that belongs to it into the host's cache.

    Raises
    ------
    DeviceError
        A file is not what the board said of it.
    InputError
        The cache cannot be written.
    """
    folder = cache.workplace()
    try:
        for done, name in enumerate(FILES):
            progress(f"fetch the engine ({plan.recipe.precision})", done, len(FILES))
            _get(session, plan.key.digest, name, told.files[name], folder)
        progress(f"fetch the engine ({plan.recipe.precision})", len(FILES), len(FILES))
        account = EngineAccount(
            key=plan.key,
            files={name: told.files[name] for name in FILES},
            seconds=told.seconds,
            builder=told.builder,
            fallback=told.fallback,
            warnings=told.warnings,
        )
        cache.store_timing(plan.key, (folder / TIMING).read_bytes())
        return cache.store(account, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def fetch_timing(session: AgentSession, plan: Plan, told: Told, cache: EngineCache) -> None:
    """Fetch what a board has timed, so that the next of its kind builds faster."""
    folder = cache.workplace()
    try:
        _get(session, plan.key.digest, TIMING, told.files[TIMING], folder)
        cache.store_timing(plan.key, (folder / TIMING).read_bytes())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _get(session: AgentSession, engine: str, name: str, file: FileAccount, folder: Path) -> None:
    session.connection.get(f"{session.device.root}/engines/{engine}/{name}", folder / name, max_bytes=file.bytes)
    if sha256_file(folder / name) != file.sha256:
        raise DeviceError(
            f"{session.device.address}: {name} of the engine {engine[:12]} is damaged there", fix="run the same command again"
        )

"""Whether a bundle and a board belong together, said before a byte is sent. Called by ``deploy`` and ``probe``."""

from __future__ import annotations

from edgekit.device import Device, Facts
from edgekit.manifest import Manifest, Requires
from edgekit.pipeline.engine import TENSORRT, lacks
from edgekit.target import load_target, same_kind, target_names, unsupported

__all__ = ["misfits", "stands_in"]


def stands_in(requires: Requires, facts: Facts) -> bool:
    """Tell whether a device is not the kind of board a bundle was built for.

    Figures from such a device say nothing about the board; every report from it is marked.
    """
    other_machine = facts.machine not in requires.machines
    other_board = bool(requires.boards) and not (facts.board or "").startswith(requires.boards)
    return other_machine or other_board or facts.simulated


def misfits(manifest: Manifest, device: Device, facts: Facts, *, stand_in: bool) -> list[tuple[str, str | None]]:
    """Return what keeps a bundle off a device, each with its fix; empty when nothing does.

    Parameters
    ----------
    stand_in
        The device need not be the kind of board the bundle was built for.
    """
    found: list[tuple[str, str | None]] = []
    requires = manifest.requires
    anyway = "build for this board (edgekit targets list), or --stand-in to try the bundle here with every figure marked simulated"
    if not stand_in:
        if facts.machine not in requires.machines:
            found.append((f"it is a {facts.machine}, the bundle is for {' or '.join(requires.machines)}", anyway))
        elif facts.board and requires.boards and not facts.board.startswith(requires.boards):
            found.append((f"it is a {facts.board}, the bundle is for {' or '.join(requires.boards)}", anyway))
        elif device.target and not same_kind(device.target, manifest.target):
            found.append((f"[devices.{device.name}] says it is a {device.target}, the bundle is for {manifest.target}", anyway))
        elif manifest.target in target_names() and (other := unsupported(load_target(manifest.target), facts)):
            found.append(other)
    if _version(facts.python) < _version(requires.python):
        found.append(
            (f"its Python is {facts.python}, the bundle needs {requires.python}", "name a newer one: python = ... under [devices.NAME]")
        )
    if requires.runtime == TENSORRT:
        return [*found, *lacks(facts)]
    fitting = [runtime for runtime in facts.runtimes if runtime.kind == requires.runtime]
    if not any(runtime.error is None for runtime in fitting):
        broken = "; ".join(f"{r.name} {r.version}: {r.error}" for r in fitting)
        text = f"no {requires.runtime} runtime runs there" + (f" ({broken})" if broken else "")
        found.append((text, f"edgekit device setup DEVICE --target {manifest.target}"))
    return found


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:3] if part.isdigit())

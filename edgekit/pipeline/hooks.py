"""The hooks of ``[deploy]``: into the bundle when it is built, and compared before an unsigned bundle's hooks are let onto a board.

A hook is a command that a board will run. Called by ``build`` and ``deploy``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle import Bundle
from edgekit.digest import sha256_bytes
from edgekit.errors import DeployError, InputError
from edgekit.health import HOOKS, Health, Hook
from edgekit.project import DeploySection

__all__ = ["Declared", "check_hooks", "declare"]

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_PROGRAM_BYTES_MAX = 1 << 20
"""A script, or a small program; an application comes to a board by other ways."""


@dataclass(frozen=True)
class Declared:
    """What a project asks of its releases; ``files`` are the programs its hooks begin with, by their path in the bundle."""

    health: Health
    files: dict[str, bytes]


def declare(section: DeploySection, folder: Path) -> Declared:
    """Read what ``[deploy]`` declares, with the project's files that it names.

    Raises
    ------
    InputError
        A hook names no regular file of the project, one that is too large, or one whose name a bundle cannot hold.
    """
    files: dict[str, bytes] = {}

    def hook(key: str, words: tuple[str, ...] | None, timeout_s: float) -> Hook | None:
        if words is None:
            return None
        if not words or not all(words):
            raise InputError(f"[deploy] {key}: a command is a list of words, none of them empty", fix=f'{key} = ["./check.sh"]')
        if words[0].startswith("./"):
            files[f"{HOOKS}/{words[0][2:]}"] = _program(key, words[0], folder)
        return Hook(words, timeout_s)

    restart = hook("restart", section.restart, section.restart_timeout_s)
    check = hook("health", section.health, section.health_timeout_s)
    return Declared(Health(latency_p99_ms=section.latency_p99_ms, restart=restart, check=check), files)


def _program(key: str, word: str, folder: Path) -> bytes:
    path = folder / word
    if not _PLAIN.fullmatch(word[2:]):
        raise InputError(
            f"[deploy] {key}: {word} cannot be a name in a bundle", fix="a file beside edgekit.toml, of letters, digits, . _ and -"
        )
    if path.is_symlink() or not path.is_file():
        raise InputError(f"[deploy] {key}: {path} is no regular file", fix="make it, or correct the hook's first word")
    if path.stat().st_size > _PROGRAM_BYTES_MAX:
        raise InputError(f"[deploy] {key}: {path} has more than {_PROGRAM_BYTES_MAX} bytes", fix="install it on the board, and name that")
    return path.read_bytes()


def check_hooks(bundle: Bundle, section: DeploySection, folder: Path | None) -> None:
    """Refuse the hooks of a bundle that nobody vouches for, unless they are the very ones this project declares.

    Parameters
    ----------
    folder
        The project's; None where there is none.

    Raises
    ------
    DeployError
        They are not.
    """
    health = bundle.manifest.health
    hooks = {name: hook for name, hook in (("restart", health.restart), ("health", health.check)) if hook}
    if not hooks:
        return
    own = declare(section, folder) if folder else Declared(Health(), {})
    ours = {"restart": own.health.restart, "health": own.health.check}
    listed = {entry.path: entry.sha256 for entry in bundle.manifest.files}
    for name, hook in hooks.items():
        program = f"{HOOKS}/{hook.command[0][2:]}"
        same_program = program not in own.files or listed.get(program) == sha256_bytes(own.files[program])
        if hook != ours[name] or not same_program:
            raise DeployError(
                f"the bundle's hook {name} runs {' '.join(hook.command)!r} on the board, no signature vouches for it, and this project "
                "declares another one; nothing was sent",
                fix=f"sign the bundle (edgekit sign), or declare the same {name} under [deploy] and build again",
            )

"""The inventory: which living board a name or an address means."""

from __future__ import annotations

from edgekit.device import Address, Device
from edgekit.errors import UsageError
from edgekit.nearest import did_you_mean
from edgekit.project import Project

__all__ = ["find_device"]


def find_device(project: Project, word: str | None, *, root: str | None = None) -> Device:
    """Find the board that a word means: a name under ``[devices]``, else an SSH address or ``local``.

    Parameters
    ----------
    word
        None means the project's only device.
    root
        edgekit's folder on the board, when other than the inventory says.

    Raises
    ------
    UsageError
        No word and no single device to fall back on, or a word that is close to a known name.
    """
    names = sorted(project.devices)
    if word is None:
        if len(names) != 1:
            known = f"; known devices: {', '.join(names)}" if names else ""
            raise UsageError(f"which device?{known}", fix="name it: a name under [devices], user@host, or local")
        word = names[0]
    section = project.devices.get(word)
    if section is None:
        near = did_you_mean(word, names) if "@" not in word and "." not in word else None
        if near:
            raise UsageError(f"no device is called {word!r}", fix=f"did you mean {near!r}?")
        return Device(name=word, address=Address.parse(word), root=root or "~/.edgekit")
    return Device(
        name=word,
        address=Address.parse(section.address),
        target=section.target,
        python=section.python,
        root=root or section.root,
    )

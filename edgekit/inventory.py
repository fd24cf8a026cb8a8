"""The inventory: which living boards a name, a group or an address means."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.device import Address, Device
from edgekit.errors import UsageError
from edgekit.nearest import did_you_mean
from edgekit.project import Project
from edgekit.virtual import find_board

__all__ = ["find_device", "find_devices"]


def find_device(project: Project, word: str | None, *, root: str | None = None) -> Device:
    """Find the board that a word means: a name under ``[devices]``, else a virtual board, an SSH address or ``local``.

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
    DeviceError
        A virtual board that is not up.
    """
    names = sorted(project.devices)
    if word is None:
        if len(names) != 1:
            known = f"; known devices: {', '.join(names)}" if names else ""
            raise UsageError(f"which device?{known}", fix="name it: a name under [devices], user@host, or local")
        word = names[0]
    section = project.devices.get(word)
    virtual = find_board(section.address if section else word)
    if section is None:
        near = did_you_mean(word, names) if "@" not in word and "." not in word and not virtual else None
        if near:
            raise UsageError(f"no device is called {word!r}", fix=f"did you mean {near!r}?")
        return Device(
            name=word,
            address=Address.parse(word),
            target=virtual.target if virtual else None,
            root=root or "~/.edgekit",
            ssh_config=str(virtual.ssh_config) if virtual else None,
        )
    return Device(
        name=word,
        address=Address.parse(section.address),
        target=section.target or (virtual.target if virtual else None),
        python=section.python,
        root=root or section.root,
        site=section.site,
        ssh_config=str(virtual.ssh_config) if virtual else None,
    )


def find_devices(project: Project, words: Sequence[str], *, root: str | None = None) -> tuple[Device, ...]:
    """Find the boards that words mean: a group stands for its members, in the inventory's order; any other word for one board.

    Parameters
    ----------
    root
        As for `find_device`.

    Raises
    ------
    UsageError
        A word that is close to a known one, or means both a group and a board; two names for one board.
    """
    groups: dict[str, list[str]] = {}
    for name, section in project.devices.items():
        for group in section.groups:
            groups.setdefault(group, []).append(name)
    found: dict[str, Device] = {}
    for word in words:
        if word in groups and word in project.devices:
            raise UsageError(f"{word!r} is both a group and a device", fix=f"rename one of them: [devices.{word}], or groups = [{word!r}]")
        near = did_you_mean(word, [*groups, *project.devices]) if "@" not in word and "." not in word else None
        if near and word not in groups and word not in project.devices and not find_board(word):
            raise UsageError(f"no group or device is called {word!r}", fix=f"did you mean {near!r}?")
        for name in groups.get(word, [word]):
            found.setdefault(name, find_device(project, name, root=root))
    places: dict[tuple[str, str], str] = {}
    for name, device in found.items():
        other = places.setdefault((str(device.address), device.root), name)
        if other != name:
            raise UsageError(f"{other!r} and {name!r} are the same board: {device.address}", fix="name it once")
    return tuple(found.values())

"""Where an SSH address leads, by the user's ssh_config. Called by `edgekit.devices.login`.

Read: aliases, HostName, User, Port, IdentityFile, IdentitiesOnly, ProxyJump, ProxyCommand, UserKnownHostsFile,
GlobalKnownHostsFile, HostKeyAlias, ConnectTimeout, Include. The file is ``~/.ssh/config``, or what ``EDGEKIT_SSH_CONFIG`` names.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from edgekit.device import Address
from edgekit.errors import InputError

__all__ = ["Route", "find_route"]

_SSH_PORT = 22
# OpenSSH's own limit (readconf.c, READCONF_MAX_DEPTH).
_INCLUDE_DEPTH_MAX = 16
# The defaults of ssh_config(5), IdentityFile and *KnownHostsFile; the kinds paramiko can load.
_IDENTITY_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_USER_KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
_INCLUDE = re.compile(r"\s*include(?:\s*=\s*|\s+)(.*)", re.IGNORECASE)
# paramiko would take off the quotes at both ends of such a list, even where they belong to two names.
_QUOTED_LIST = re.compile(r"\s*(user|global)knownhostsfile(\s*=\s*|\s+)\".*\"\s*", re.IGNORECASE)
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_GLOBAL_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"


@dataclass(frozen=True)
class Route:
    """One hop, with everything needed to open it.

    Attributes
    ----------
    alias
        The host as the user wrote it.
    key_name
        The name known_hosts files it under.
    known_hosts
        The user's files first; a new key belongs into the first one.
    jumps
        Addresses to go through, in order.
    config
        The ssh_config that was read, when it is not the default one; for the commands that messages show.
    """

    address: Address
    alias: str
    host: str
    port: int
    user: str
    key_name: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    known_hosts: tuple[Path, ...]
    connect_timeout_s: float | None
    proxy_command: str | None
    jumps: tuple[Address, ...]
    config: Path | None

    def __str__(self) -> str:
        via = f" ({self.host}:{self.port})" if (self.host, self.port) != (self.alias, self.address.port or _SSH_PORT) else ""
        return f"{self.address}{via}"

    def ssh_options(self) -> list[str]:
        """Return the options that make OpenSSH's commands go the same way."""
        options = ["-F", str(self.config)] if self.config else []
        return options + (["-p", str(self.address.port)] if self.address.port else [])


def find_route(address: Address, config: str | None = None) -> Route:
    """Look an address up in the user's ssh_config, or in another one; what the address itself says comes first.

    Raises
    ------
    InputError
        The file cannot be read, or a value in it makes no sense.
    """
    override = config or os.environ.get("EDGEKIT_SSH_CONFIG")
    path = Path(override).expanduser() if override else Path("~/.ssh/config").expanduser()
    if override and not path.is_file():
        raise InputError(f"{'' if config else 'EDGEKIT_SSH_CONFIG: '}{path}: no such file")
    try:
        # The first value counts (ssh_config(5)): so what the address says reaches Match, %p and %r, too.
        own = [f"User {address.user}"] if address.user else []
        own += [f"Port {address.port}"] if address.port else []
        found = paramiko.SSHConfig.from_text("\n".join([*own, *_lines(path, 0)])).lookup(address.host)
    except (paramiko.ConfigParseError, paramiko.CouldNotCanonicalize, ImportError, OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: {error}", fix=f"ssh -F {shlex.quote(str(path))} -G {shlex.quote(address.host)}") from error
    host = found["hostname"]
    port = address.port or _port(path, found.get("port")) or _SSH_PORT
    user = address.user or found.get("user") or getpass.getuser()
    alias = found.get("hostkeyalias") or host
    identities = found.get("identityfile") or list(_IDENTITY_FILES)
    tokens = {"%": "%", "d": str(Path.home()), "h": host, "n": address.host, "p": str(port), "r": user, "u": getpass.getuser()}
    named = (_expanded(path, name, tokens) for name in _words(path, found.get("userknownhostsfile", _USER_KNOWN_HOSTS)))
    known = _files([*named, *_words(path, found.get("globalknownhostsfile", _GLOBAL_KNOWN_HOSTS))])
    jumps, command = found.get("proxyjump") or "none", found.get("proxycommand")
    return Route(
        address=address,
        alias=address.host,
        host=host,
        port=port,
        user=user,
        key_name=alias if port == _SSH_PORT or "hostkeyalias" in found else f"[{alias}]:{port}",
        identity_files=tuple(Path(_unquoted(name)).expanduser() for name in identities if name != "none"),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        known_hosts=known,
        connect_timeout_s=_seconds(path, found.get("connecttimeout")),
        proxy_command=command if jumps == "none" else None,
        jumps=() if jumps == "none" else tuple(Address.parse(jump.strip().removeprefix("ssh://")) for jump in jumps.split(",")),
        config=path if override else None,
    )


def _lines(path: Path, depth: int) -> Iterator[str]:
    """Read a config file with what it includes; an Include inside a Host block belongs to that block."""
    if depth > _INCLUDE_DEPTH_MAX:
        raise InputError(f"{path}: Include goes deeper than {_INCLUDE_DEPTH_MAX} files")
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        include = _INCLUDE.fullmatch(line)
        if not include:
            yield f"{line} none" if _QUOTED_LIST.fullmatch(line) else line
            continue
        for pattern in shlex.split(include[1]):
            # Relative names are under ~/.ssh (ssh_config(5), Include).
            absolute = Path("~/.ssh").expanduser() / Path(pattern).expanduser()
            for name in sorted(Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))):
                yield from _lines(name, depth + 1)


def _port(path: Path, value: str | None) -> int | None:
    if value is not None and not (re.fullmatch("[0-9]{1,5}", value) and 1 <= int(value) <= 65535):
        raise InputError(f"{path}: Port {value!r} is not a number from 1 to 65535")
    return None if value is None else int(value)


def _seconds(path: Path, value: str | None) -> float | None:
    """Read a time of sshd_config(5), TIME FORMATS: ``90``, ``90s``, ``1m30s``; 0 and ``none`` leave it to us."""
    if value is None or value == "none":
        return None
    if not re.fullmatch("([0-9]{1,9}[smhdw]?)+", value, re.IGNORECASE):
        raise InputError(f"{path}: ConnectTimeout {value!r} is not a time", fix="write it as seconds, or as 1m30s")
    return float(sum(int(count) * _UNITS_S[unit.lower()] for count, unit in re.findall("([0-9]+)([a-zA-Z]?)", value))) or None


def _words(path: Path, value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise InputError(f"{path}: {value!r}: {error}") from error


def _expanded(path: Path, name: str, tokens: dict[str, str]) -> str:
    """Put in what the tokens of ssh_config(5), TOKENS, stand for."""

    def token(found: re.Match[str]) -> str:
        if found[1] not in tokens:
            raise InputError(f"{path}: UserKnownHostsFile {name!r}: edgekit does not know %{found[1]}, only %{', %'.join(tokens)}")
        return tokens[found[1]]

    return re.sub("%(.?)", token, name)


def _files(names: list[str]) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in names if name != "none")


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value

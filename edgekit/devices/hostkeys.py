"""Is this board the one we know? Strict host keys, from the files OpenSSH keeps. Called by `edgekit.devices.login`."""

from __future__ import annotations

import base64
import fnmatch
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry

from edgekit.devices.route import Route
from edgekit.devices.shell import command, quote
from edgekit.errors import HostKeyError

__all__ = ["KnownKey", "check_host_key", "known_keys"]


@dataclass(frozen=True)
class KnownKey:
    """A line of a known_hosts file that names the host."""

    key: paramiko.PKey
    path: Path
    revoked: bool


def known_keys(name: str, files: Sequence[Path]) -> list[KnownKey]:
    """Return the keys that known_hosts files hold for a host.

    Parameters
    ----------
    name
        As the files have it: ``host``, or ``[host]:port`` for a port other than 22.

    The format, with hashed names, patterns and markers, is that of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT.
    """
    return [KnownKey(key, path, revoked) for path in files for names, key, revoked in _entries(path) if _matches(name, names)]


def check_host_key(route: Route, key: paramiko.PKey, known: Sequence[KnownKey]) -> None:
    """Accept the key a host shows only if a known_hosts file already has it.

    Raises
    ------
    HostKeyError
        The host is unknown, its key has changed, or the key is revoked.
    """
    shown = f"{key.get_name()} {key.fingerprint}"
    same = [entry for entry in known if entry.key.asbytes() == key.asbytes()]
    if any(entry.revoked for entry in same):
        raise HostKeyError(f"{route}: the host key {shown} is marked as revoked in {same[0].path}; do not use this board")
    if same:
        return
    trusted = [entry for entry in known if not entry.revoked]
    if trusted:
        # A key of the same kind is the one that changed; else the board no longer shows any key we know.
        old = next((entry for entry in trusted if entry.key.get_name() == key.get_name()), trusted[0])
        raise HostKeyError(
            f"{route}: the host key has CHANGED: it shows {shown}, {old.path} has {old.key.get_name()} {old.key.fingerprint}. "
            "The board was set up anew, or somebody stands between you and it",
            fix=f"if the board was set up anew: {command(['ssh-keygen', '-R', route.key_name, '-f', str(old.path)])}",
        )
    raise HostKeyError(
        f"{route}: the host key is not known: it shows {shown}. Compare this with what the board itself says, then accept it",
        fix=_accept(route, key),
    )


def _accept(route: Route, key: paramiko.PKey) -> str:
    """Return the command that files the very key that was shown: asking for it once more could bring another one's."""
    if not route.known_hosts:
        return "name a UserKnownHostsFile in ssh_config"
    path = route.known_hosts[0]
    folder = "" if path.parent.is_dir() else f"{command(['mkdir', '-p', '-m', '700', str(path.parent)])} && "
    torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    line = f"{route.key_name} {key.get_name()} {key.get_base64()}"
    form = r"\n%s\n" if torn else r"%s\n"
    return f"{folder}{command(['printf', form, line])} >> {quote(str(path))}"


def _entries(path: Path) -> Iterator[tuple[list[str], paramiko.PKey, bool]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise HostKeyError(f"{path}: {error.strerror}") from error
    for line in lines:
        fields = line.split()
        marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
        if len(fields) < 3 or fields[0].startswith("#") or marker not in ("", "@revoked"):
            continue
        try:
            entry = HostKeyEntry.from_line(" ".join(fields[:3]))
        except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey):
            continue  # OpenSSH skips a line that it cannot read, too
        if entry is not None and entry.valid:
            yield fields[0].split(","), entry.key, marker == "@revoked"


def _matches(name: str, patterns: Sequence[str]) -> bool:
    matched = False
    for pattern in patterns:
        if pattern.startswith("|1|"):
            matched |= _hashes_to(name, pattern)
        elif pattern.startswith("!"):
            if fnmatch.fnmatchcase(name.lower(), _glob(pattern[1:])):
                return False
        else:
            matched |= fnmatch.fnmatchcase(name.lower(), _glob(pattern))
    return matched


def _hashes_to(name: str, pattern: str) -> bool:
    """Compare with a hashed name, ``|1|salt|HMAC-SHA1(salt, name)`` in base64."""
    try:
        salt, digest = (base64.b64decode(part, validate=True) for part in pattern.removeprefix("|1|").split("|"))
    except ValueError:
        return False
    return hmac.compare_digest(hmac.digest(salt, name.encode(), "sha1"), digest)


def _glob(pattern: str) -> str:
    """Turn a known_hosts pattern, where brackets are plain letters, into one for fnmatch."""
    return pattern.lower().replace("[", "[[]")

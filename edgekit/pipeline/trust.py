"""Who signed a bundle, and what a board is told to believe. ``edgekit device trust``; deployment and ``inspect --verify`` ask here.

The board verifies for itself, with its own allowed signers: what the host finds decides for the host alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edgekit.bundle import Bundle
from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.errors import DeployError, DeviceError, InputError, UsageError
from edgekit.ondevice.trust import SIGNERS_MAX_BYTES, verify
from edgekit.ondevice.wire import AgentError
from edgekit.printable import printable

__all__ = ["Admitted", "AllowedSigner", "DeviceTrust", "Signer", "admit", "device_trust", "read_signers", "signature_fields", "signer"]

_TIMEOUT_S = 300.0
_KEY = re.compile(r"(?:^|\s)((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+)\s+([A-Za-z0-9+/]+={0,2})(?=\s|$)")


@dataclass(frozen=True)
class Signer:
    """Whose signature a bundle bears.

    Attributes
    ----------
    name
        The signer's in the allowed-signers file; None where no file was given: the signature is sound, and nobody vouches for the key.
    key
        Fingerprint, as ``ssh-keygen -l`` shows it.
    """

    name: str | None
    key: str
    serial: int


class AllowedSigner(msgspec.Struct, frozen=True):
    """A line of an allowed-signers file; ``names`` is its first field, a pattern list."""

    names: str
    kind: str
    key: str


class Admitted(msgspec.Struct, frozen=True):
    """A board's word on a release it would take; ``signer`` is None where nobody it knows has signed."""

    signer: str | None
    key: str | None
    serial: Annotated[int, msgspec.Meta(ge=1)] | None


class DeviceTrust(msgspec.Struct, frozen=True):
    """What is in force on a board; ``ssh_keygen`` is the program it verifies with, None where there is none."""

    require_signature: bool
    allowed_signers: tuple[AllowedSigner, ...]
    ssh_keygen: str | None


def signer(bundle: Bundle, allowed_signers: Path | None) -> Signer | None:
    """Return whose signature a bundle bears; None for an unsigned one.

    Parameters
    ----------
    allowed_signers
        The file of keys that count (ssh-keygen(1), ALLOWED SIGNERS); None takes any sound signature and names nobody.

    Raises
    ------
    InputError
        The signature is wrong, by none of them, or cannot be verified here.
    """
    if bundle.signed is None:
        return None
    if allowed_signers is not None:
        read_signers(allowed_signers)
    pair = (bundle.signed.statement, bundle.signed.signature)
    try:
        name, key = verify(pair, None if allowed_signers is None else str(allowed_signers))
    except AgentError as error:
        where = bundle.archive or bundle.folder
        raise InputError(
            f"{where}: {printable(error.message)}", fix=error.fix or "get the bundle from who signs it: edgekit sign"
        ) from error
    return Signer(None if name is None else printable(name), key, bundle.signed.serial)


def read_signers(path: Path) -> tuple[AllowedSigner, ...]:
    """Read an allowed-signers file, far enough to find a line that ssh-keygen would pass over without a word.

    Raises
    ------
    InputError
        It is not there, too long, without a key, or one of its lines has none.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}", fix="name the file of allowed signers: ssh-keygen(1), ALLOWED SIGNERS") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no text: {error}") from error
    if len(data) > SIGNERS_MAX_BYTES:
        raise InputError(f"{path}: {len(data)} bytes are more than the {SIGNERS_MAX_BYTES} a board takes")
    found, wrong = _signers(text)
    if wrong or not found:
        line = f":{wrong[0]}: no public key in this line" if wrong else ": names no key"
        raise InputError(f"{path}{line}", fix="each line is: name, perhaps options, key type, key; as in ssh-keygen(1), ALLOWED SIGNERS")
    return found


def _signers(text: str) -> tuple[tuple[AllowedSigner, ...], list[int]]:
    """Return the signers in a text, and the numbers of lines that are none."""
    found, wrong = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.strip().startswith("#"):
            continue
        match = _KEY.search(line)
        kind, blob = (match[1], _blob(match[2])) if match else ("", b"")
        # An SSH public key begins with its own kind's length and name (RFC 4253, 6.6).
        if (
            not match
            or blob[:4] != len(kind).to_bytes(4, "big")
            or blob[4 : 4 + len(kind)] != kind.encode()
            or not line[: match.start()].strip()
        ):
            wrong.append(number)
            continue
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
        found.append(AllowedSigner(printable(line.split()[0]), kind, f"SHA256:{digest}"))
    return tuple(found), wrong


def _blob(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


def signature_fields(bundle: Bundle) -> dict[str, Any]:
    """Return a bundle's signature as jobs take it: `deploy.admit`, `store.stage`."""
    if bundle.signed is None:
        return {"statement": None, "signature": None}
    parts = {"statement": bundle.signed.statement, "signature": bundle.signed.signature}
    return {key: base64.b64encode(data).decode("ascii") for key, data in parts.items()}


def admit(session: AgentSession, bundle: Bundle) -> Admitted:
    """Ask a board whether it would take a bundle, before a byte of it is sent.

    Raises
    ------
    DeployError
        It would not: unsigned, not by one of its allowed signers, or older than what has run.
    """
    job: dict[str, Any] = {"app": bundle.manifest.name, "release": bundle.digest, **signature_fields(bundle)}
    try:
        return msgspec.convert(session.job("deploy.admit", timeout_s=_TIMEOUT_S, **job), Admitted)
    except DeployError as error:
        raise DeployError(f"{error.message}; nothing of the release was sent", fix=error.fix) from error
    except msgspec.ValidationError as error:
        raise DeviceError(f"{session.device.address}: the answer to deploy.admit is malformed: {error}") from error


class _Shown(msgspec.Struct, frozen=True):
    require_signature: bool
    allowed_signers: str | None
    ssh_keygen: str | None


def device_trust(device: Device, *, allowed_signers: Path | None = None, require_signature: bool | None = None) -> DeviceTrust:
    """Tell a board whose signatures count and whether it takes unsigned releases; return what is then in force.

    Parameters
    ----------
    allowed_signers
        Replaces the board's file; None leaves it.
    require_signature
        None leaves the policy.

    Raises
    ------
    InputError
        The file is not one of allowed signers.
    UsageError
        The board would be left with nobody who may sign.
    DeviceError
        The board has no ssh-keygen to verify with.
    """
    fields: dict[str, Any] = {}
    if allowed_signers is not None:
        read_signers(allowed_signers)
        fields["allowed_signers"] = allowed_signers.read_text(encoding="utf-8")
    if require_signature is not None:
        fields["require_signature"] = require_signature
    with connect(device) as connection, AgentSession(connection, device) as session:
        shown = _shown(device, session.job("trust.show", timeout_s=_TIMEOUT_S))
        if (allowed_signers or require_signature) and shown.ssh_keygen is None:
            raise DeviceError(
                f"{device.address}: there is no ssh-keygen to verify signatures with", fix="on the board: sudo apt install openssh-client"
            )
        if require_signature and allowed_signers is None and not shown.allowed_signers:
            raise UsageError(
                f"{device.address}: it knows no allowed signers, so it would take nothing", fix="name them: --allowed-signers FILE"
            )
        if fields:
            shown = _shown(device, session.job("trust.set", timeout_s=_TIMEOUT_S, **fields))
    return DeviceTrust(shown.require_signature, _signers(shown.allowed_signers or "")[0], shown.ssh_keygen)


def _shown(device: Device, data: object) -> _Shown:
    try:
        return msgspec.convert(data, _Shown)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{device.address}: what it says of its trust is malformed: {error}") from error

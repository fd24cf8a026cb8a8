"""``edgekit sign``: a bundle gets a signature that boards can ask for."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from edgekit.bundle import damage, open_bundle, write_signed
from edgekit.errors import InputError
from edgekit.ondevice.trust import NAMESPACE, SERIAL_MAX, armour, find_keygen, statement, verify
from edgekit.ondevice.wire import AgentError
from edgekit.printable import printable
from edgekit.signature import read_signed

__all__ = ["Signing", "sign"]

# Time to type a passphrase, or to find and touch a security key.
_SIGN_TIMEOUT_S = 300.0
_TAIL_CHARS = 300


@dataclass(frozen=True)
class Signing:
    """What was signed, and by which key.

    Attributes
    ----------
    release
        The bundle's digest; a signature does not change it.
    key
        The key's fingerprint.
    """

    bundle: Path
    app: str
    release: str
    serial: int
    key: str


def sign(path: Path, key: Path, *, serial: int | None = None) -> Signing:
    """Sign a bundle, in place of any signature that it has.

    Parameters
    ----------
    key
        A private key, or the public half of one that ssh-agent holds. ssh-keygen asks for a passphrase itself, on the terminal.
    serial
        Where the release stands among those of its application: a board refuses a lower one than it has committed. None takes the
        seconds since 1970, so that what is signed later counts as newer.

    Raises
    ------
    InputError
        The bundle is damaged, or the key does not sign.
    """
    serial = int(time.time()) if serial is None else serial
    if not 1 <= serial <= SERIAL_MAX:
        raise InputError(f"a serial of {serial}: it must be from 1 to {SERIAL_MAX}")
    with open_bundle(path) as bundle:
        if broken := damage(bundle):
            raise InputError(f"{path}: damaged: {'; '.join(broken)}", fix="build or copy the bundle again")
        app = bundle.manifest.name
        line = statement(app, bundle.digest, serial)
        try:
            signature = armour(_ask_keygen(line, key))
            fingerprint = verify((line, signature), None)[1]
        except AgentError as error:
            raise InputError(f"{key}: {error.message}", fix=error.fix) from error
        write_signed(bundle, read_signed(line, signature, app, bundle.digest, str(path)))
        return Signing(path, app, bundle.digest, serial, fingerprint)


def _ask_keygen(line: bytes, key: Path) -> bytes:
    """Let ``ssh-keygen -Y sign`` sign a file: were the message its input, it could not ask for a passphrase (readpass.c: no tty)."""
    program = find_keygen()
    if program is None:
        raise InputError("there is no ssh-keygen here to sign with", fix="install openssh-client (8.2 or later)")
    with tempfile.TemporaryDirectory(prefix="edgekit-sign-") as folder:
        message = Path(folder) / "statement"
        message.write_bytes(line)
        words = [program, "-q", "-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(message)]
        try:
            done = subprocess.run(words, capture_output=True, timeout=_SIGN_TIMEOUT_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise InputError(f"{key}: ssh-keygen did not sign: {error}") from error
        signature = message.with_name("statement.sig")
        if done.returncode or not signature.is_file():
            said = printable(done.stderr.decode("utf-8", "replace").strip()[-_TAIL_CHARS:])
            raise InputError(
                f"{key}: ssh-keygen did not sign with it: {said or f'status {done.returncode}'}",
                fix="name a private key, or the .pub of a key that ssh-agent holds (ssh-add -l)",
            )
        return signature.read_bytes()

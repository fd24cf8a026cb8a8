"""``Signed``: a bundle's statement and its SSH signature. What they say is `edgekit.ondevice.trust`, on host and board alike.

Nothing here tells whether the signature counts: that is `edgekit.pipeline.trust` on the host, and the board for itself.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import InputError
from edgekit.ondevice.trust import SIGNATURE_MAX_BYTES, STATEMENT_MAX_BYTES, armour, read_statement
from edgekit.ondevice.wire import AgentError

__all__ = ["SIGNATURE", "STATEMENT", "Signed", "read_signed"]

STATEMENT, SIGNATURE = "release.json", "release.json.sig"
"""Members of a signed bundle, right after its seal; ``ssh-keygen -Y verify -n edgekit`` reads them as they are."""


@dataclass(frozen=True)
class Signed:
    """What a bundle carries beyond its manifest once it is signed.

    Attributes
    ----------
    statement
        One line of JSON: application, manifest digest, serial.
    signature
        As ``ssh-keygen -Y sign`` writes it.
    serial
        Grows with each release of an application; a board refuses a lower one than it has run.
    """

    statement: bytes
    signature: bytes
    serial: int


def read_signed(statement: bytes, signature: bytes, app: str, digest: str, where: str) -> Signed:
    """Take a statement and a signature for those of a bundle.

    Raises
    ------
    InputError
        They are not as edgekit writes them, or speak of another bundle.
    """
    fix = "get the bundle again, or sign it again: edgekit sign"
    try:
        if len(statement) > STATEMENT_MAX_BYTES or len(signature) > SIGNATURE_MAX_BYTES:
            raise AgentError("usage", "too long")
        named, manifest, serial = read_statement(statement)
        if armour(signature) != signature:
            raise AgentError("usage", "the signature is not spelt as ssh-keygen does")
    except AgentError as error:
        raise InputError(f"{where}: its signature is damaged: {error.message}", fix=fix) from error
    if (named, manifest) != (app, digest):
        raise InputError(f"{where}: its signature is for another bundle: {named} {manifest[:12]}", fix=fix)
    return Signed(statement, signature, serial)

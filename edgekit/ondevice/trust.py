"""Whether a release may run here: its SSH signature, the device's policy, and the serial that keeps an old release from coming back.

Jobs `deploy.admit`, `trust.set`, `trust.show`; `store.stage`, the switch and the commit call `check`, `keep`, `standing` and `committed`.
The host verifies bundles with the same functions. What is signed is the statement: one line of JSON that names the application, the
manifest's digest and the serial. Nothing of the device's folder `trust` is believed to be secret; who can write there has the device.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
from typing import Any, Dict, Tuple

from . import journal
from .disk import locked, make_folder, write_file
from .wire import DIGEST, NAME, AgentError, Progress, integer, matching, strict_json

__all__ = [
    "NAMESPACE", "SERIAL_MAX", "SIGNATURE_MAX_BYTES", "SIGNERS_MAX_BYTES", "STATEMENT_MAX_BYTES", "armour", "find_keygen", "read_statement",
    "statement", "verify",
]  # fmt: skip

STATEMENT_SCHEMA, NAMESPACE = "edgekit.release/1", "edgekit"
STATEMENT_MAX_BYTES, SIGNATURE_MAX_BYTES, SIGNERS_MAX_BYTES = 1 << 10, 16 << 10, 64 << 10
SERIAL_MAX = (1 << 53) - 1  # whole in every reader of JSON
KEYGEN_TIMEOUT_S = 60.0
PRINCIPALS_MAX = 16
SIGNED = "release.signed"  # in a release's folder: the statement's line, then the signature; one file, so that they change together

Pair = Tuple[bytes, bytes]
ARMOUR_WIDTH = 70  # how ssh-keygen wraps (sshbuf_dtob64 of OpenSSH); PROTOCOL.sshsig allows others, one form leaves nothing to change
ARMOUR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\n([A-Za-z0-9+/=\n]+)\n-----END SSH SIGNATURE-----\n")
# What `ssh-keygen -Y verify` and `check-novalidate` print on success (sig_verify in ssh-keygen.c).
GOOD = re.compile(r'Good "edgekit" signature (?:for .+ )?with \S+ key (SHA256:[A-Za-z0-9+/]{43})\s*')


def statement(app: str, manifest: str, serial: int) -> bytes:
    """Return what is signed: one line, one spelling."""
    fields = {"schema": STATEMENT_SCHEMA, "app": app, "manifest": manifest, "serial": serial}
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode("ascii") + b"\n"


def read_statement(data: bytes) -> tuple[str, str, int]:
    """Return the application, the manifest's digest and the serial; any other spelling is refused."""
    value = strict_json(data, "the statement", STATEMENT_MAX_BYTES)
    if not isinstance(value, dict) or value.get("schema") != STATEMENT_SCHEMA:
        raise AgentError("usage", "the statement is not of schema %s" % STATEMENT_SCHEMA)
    app, manifest = matching(value.get("app"), NAME, "the statement's app"), matching(value.get("manifest"), DIGEST, "its manifest")
    serial = integer(value, "serial", 1, SERIAL_MAX)
    if statement(app, manifest, serial) != data:
        raise AgentError("usage", "the statement is not spelt as edgekit does")
    return app, manifest, serial


def armour(data: bytes) -> bytes:
    """Return a signature in its one spelling; anything that is none is refused."""
    found = ARMOUR.fullmatch(data) if len(data) <= SIGNATURE_MAX_BYTES else None
    try:
        body = base64.b64encode(base64.b64decode(found.group(1).replace(b"\n", b""), validate=True)) if found else b""
    except ValueError as error:
        raise AgentError("untrusted", "the signature is damaged: %s" % error) from error
    if not body:
        raise AgentError("untrusted", "the signature is not one of ssh-keygen's")
    lines = [body[start : start + ARMOUR_WIDTH] for start in range(0, len(body), ARMOUR_WIDTH)]
    return b"\n".join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


def find_keygen() -> str | None:
    """Return this machine's ssh-keygen; a login that is not interactive may have a short PATH."""
    return shutil.which("ssh-keygen", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/bin", "/usr/bin", "/bin"]))


def _keygen(words: list[str], signature: bytes, message: bytes) -> tuple[int, str, str]:
    """Run ``ssh-keygen -Y``; the signature comes through a pipe (it fits in: pipe(7)), so that nothing is written to a disk."""
    program = find_keygen()
    if program is None:
        raise AgentError(
            "untrusted", "the signature cannot be verified here: there is no ssh-keygen", "install openssh-client (8.2 or later)"
        )
    reader, writer = os.pipe()
    try:
        try:
            os.write(writer, signature)
        finally:
            os.close(writer)
        done = subprocess.run(
            [program, "-Y", *words, "-s", "/dev/fd/%d" % reader],
            input=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(reader,),
            timeout=KEYGEN_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AgentError("untrusted", "the signature cannot be verified here: %s" % error) from error
    finally:
        os.close(reader)
    errors = done.stderr.decode("utf-8", "replace")
    if done.returncode and "usage: ssh-keygen" in errors:
        # -Y sign and verify came with OpenSSH 8.1, find-principals with 8.2.
        raise AgentError("untrusted", "%s is too old to verify signatures" % program, "install OpenSSH 8.2 or later")
    return done.returncode, done.stdout.decode("utf-8", "replace"), errors


def verify(pair: Pair, signers: str | None) -> tuple[str | None, str]:
    """Return the signer's name in the allowed-signers file, and the key's fingerprint.

    Without a file the name is None: the signature is sound, and nobody vouches for its key.
    """
    line, signature = pair
    if armour(signature) != signature:
        raise AgentError("untrusted", "the signature is not spelt as ssh-keygen does")
    tries: list[tuple[str | None, list[str]]] = [(None, ["check-novalidate", "-n", NAMESPACE])]
    if signers is not None:
        names = _keygen(["find-principals", "-f", signers], signature, b"")[1].replace(",", "\n").split("\n")
        tries = [(name, ["verify", "-f", signers, "-I", name, "-n", NAMESPACE]) for name in names[:PRINCIPALS_MAX] if name]
    said = "its key is not among the allowed signers"
    for name, words in tries:
        code, text, errors = _keygen(words, signature, line)
        good = GOOD.fullmatch(text)
        if code == 0 and good:
            return name, good.group(1)
        said = (errors or text).strip().replace("\n", "; ")[-300:]
    raise AgentError("untrusted", "the signature does not count: %s" % said)


def signers_path(root: str) -> str:
    """Return where the device's allowed signers stand."""
    return os.path.join(root, "trust", "allowed_signers")


def requires_signature(root: str) -> bool:
    """Return the device's policy; a damaged one is an error, never the weaker policy."""
    found = _small_json(os.path.join(root, "trust", "policy.json"), "edgekit device trust writes it anew")
    if found is None:
        return False
    if set(found) != {"require_signature"} or type(found["require_signature"]) is not bool:
        raise AgentError("state", "%s is damaged" % os.path.join(root, "trust", "policy.json"), "edgekit device trust writes it anew")
    return bool(found["require_signature"])


def _small_json(path: str, fix: str) -> dict[str, Any] | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            value = strict_json(file.read(STATEMENT_MAX_BYTES + 1), path, STATEMENT_MAX_BYTES)
    except FileNotFoundError:
        return None
    except AgentError as error:
        raise AgentError("state", error.message, fix) from error
    if not isinstance(value, dict):
        raise AgentError("state", "%s is damaged" % path, fix)
    return value


def pair_of(job: dict[str, Any]) -> Pair | None:
    """Return a job's statement and signature; None for an unsigned release."""
    if job.get("statement") is None and job.get("signature") is None:
        return None
    parts = []
    for key, limit in (("statement", STATEMENT_MAX_BYTES), ("signature", SIGNATURE_MAX_BYTES)):
        text = job.get(key)
        if not isinstance(text, str) or len(text) > limit * 4 // 3 + 4:
            raise AgentError("usage", "%s must be base64 of at most %d bytes" % (key, limit))
        try:
            parts.append(base64.b64decode(text, validate=True))
        except ValueError as error:
            raise AgentError("usage", "%s is not base64: %s" % (key, error)) from error
    return parts[0], parts[1]


def check(root: str, app: str, release: str, pair: Pair | None) -> dict[str, Any]:
    """Say who signed a release, or refuse it: an unsigned one by policy, a wrong signature and an older serial always.

    ``signer`` is None where nobody signed or the device knows no allowed signers; only with a signer does the serial count.
    """
    required, path = requires_signature(root), signers_path(root)
    known = path if os.path.lexists(path) else None
    if pair is None:
        if required:
            raise AgentError("untrusted", "the release is not signed, and this device takes signed ones only")
        return {"signer": None, "key": None, "serial": None}
    try:
        named, manifest, serial = read_statement(pair[0])
    except AgentError as error:
        raise AgentError("untrusted", error.message) from error
    if (named, manifest) != (app, release):
        raise AgentError("untrusted", "the signature is for release %.12s of %s, not for %.12s of %s" % (manifest, named, release, app))
    if required and known is None:
        raise AgentError("untrusted", "this device takes signed releases only and knows no allowed signers")
    signer, key = None, None
    if known or find_keygen():  # without either nobody vouches for it, and nothing requires that
        signer, key = verify(pair, known)
    newest = _serial(root, app)
    if signer is not None and newest is not None:
        if serial < newest[0]:
            text = "older than what ran: serial %d < %d" % (serial, newest[0])
            raise AgentError("untrusted", text, "to go back, edgekit rollback; to deploy it anew, sign it again")
        if serial == newest[0] and release != newest[1]:
            raise AgentError("untrusted", "serial %d was release %.12s" % newest, "sign it with a higher serial")
    return {"signer": signer, "key": key, "serial": serial}


def _serial(root: str, app: str) -> tuple[int, str] | None:
    path = journal.app_path(root, app, "serial")
    found = _small_json(path, "remove that file on the device")
    if found is None:
        return None
    try:
        return integer(found, "serial", 1, SERIAL_MAX), matching(found.get("release"), DIGEST, "release")
    except AgentError as error:
        raise AgentError("state", "%s is damaged: %s" % (path, error), "remove that file on the device") from error


def admit(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Say before a byte of it is sent whether a release would be taken."""
    app, release = matching(job.get("app"), NAME, "app"), matching(job.get("release"), DIGEST, "release")
    return check(root, app, release, pair_of(job))


def keep(folder: str, pair: Pair | None) -> None:
    """Put the signature of a staged release beside its manifest; the caller has checked it."""
    if pair is not None:
        write_file(os.path.join(folder, SIGNED), pair[0] + pair[1])


def _stored(root: str, app: str, release: str) -> Pair | None:
    try:
        with open(os.open(os.path.join(root, "apps", app, "releases", release, SIGNED), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            line, end, signature = file.read(STATEMENT_MAX_BYTES + SIGNATURE_MAX_BYTES).partition(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return None
    return line + end, signature


def standing(root: str, app: str, release: str) -> dict[str, Any]:
    """Check a staged release by what stands beside it, as `check` does: before a switch that is no way back."""
    return check(root, app, release, _stored(root, app, release))


def committed(root: str, app: str, release: str) -> None:
    """Let no older signed release follow this one; called before the journal says committed."""
    found = describe(root, app, release)
    if found["signer"] is not None:
        line = json.dumps({"serial": found["serial"], "release": release}).encode("ascii")
        path = journal.app_path(root, app, "serial")
        journal.spending(os.path.dirname(path), lambda: write_file(path, line))


def describe(root: str, app: str, release: str | None) -> dict[str, Any]:
    """Say for status who signed a release and with which serial; ``untrusted`` tells why it would not be taken again."""
    found: Dict[str, Any] = {"signer": None, "key": None, "serial": None, "untrusted": None}
    if release is None:
        return found
    try:
        pair = _stored(root, app, release)
        if pair:
            found["serial"] = read_statement(pair[0])[2]
        return {**found, **check(root, app, release, pair)}
    except (AgentError, OSError) as error:
        return {**found, "untrusted": str(error)}


def set_trust(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Take allowed signers, a policy or both as the device's own; what is not named stays."""
    text, required = job.get("allowed_signers"), job.get("require_signature")
    if text is not None and (not isinstance(text, str) or not 0 < len(text.encode("utf-8", "replace")) <= SIGNERS_MAX_BYTES):
        raise AgentError("usage", "allowed_signers must be a text of 1 to %d bytes" % SIGNERS_MAX_BYTES)
    if required is not None and type(required) is not bool:
        raise AgentError("usage", "require_signature must be true or false")
    with locked(root):
        folder = make_folder(os.path.join(root, "trust"))
        if required and text is None and not os.path.lexists(signers_path(root)):
            raise AgentError("usage", "nobody would be allowed to sign: this device knows no allowed signers", "name them, too")
        if (required or text) and find_keygen() is None:
            raise AgentError(
                "usage", "it could take nothing: there is no ssh-keygen to verify with", "install openssh-client (8.2 or later)"
            )
        if text is not None:
            write_file(os.path.join(folder, "allowed_signers"), text.encode("utf-8"))
        if required is not None:
            write_file(os.path.join(folder, "policy.json"), json.dumps({"require_signature": required}).encode("ascii"))
    return show(job, root, _progress)


def show(_job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Say what is in force: the policy, the allowed signers' file, and whether there is an ssh-keygen."""
    text = None
    try:
        with open(os.open(signers_path(root), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            text = file.read(SIGNERS_MAX_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        pass
    return {"require_signature": requires_signature(root), "allowed_signers": text, "ssh_keygen": find_keygen()}

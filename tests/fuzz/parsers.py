"""The parsers of both sides: wire, answers, manifest, archive, statement, sample container, allowed signers."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from edgekit.archive import write_archive
from edgekit.bundle import SEAL, damage, encode_manifest, open_bundle, seal
from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST
from edgekit.ondevice import samples, store, trust, wire
from edgekit.ondevice.serve import _decoded
from edgekit.ondevice.server import Refusal
from edgekit.ondevice.wire import AgentError
from edgekit.pipeline.trust import read_signers
from edgekit.signature import SIGNATURE, STATEMENT, read_signed
from tests.fuzz.mutation import broken_bytes, broken_json
from tests.fuzz.surface import Surface
from tests.unit.bundles import FILES, small_manifest, write_small_bundle

# A signature is 0 bytes of any message here: the parsers do not verify.
BLOB = b"SSHSIG\0\0\0\1" + bytes(140)
ARMOURED = trust.armour(b"-----BEGIN SSH SIGNATURE-----\n" + base64.b64encode(BLOB) + b"\n-----END SSH SIGNATURE-----\n")


def manifest(data: bytes, folder: Path) -> None:
    """Both readers: the device's must refuse whatever it cannot make a release of, the host's is stricter."""
    for path, content in FILES.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_bytes(content)
    (folder / MANIFEST).write_bytes(data)
    (folder / SEAL).write_bytes(seal(data))
    try:
        _, files = store.read_manifest(str(folder / MANIFEST))
        assert all(not path.startswith(("/", ".")) and ".." not in path.split("/") for path in files)
    except AgentError:
        pass
    with open_bundle(folder) as bundle:
        damage(bundle)


def archive(data: bytes, folder: Path) -> None:
    (folder / "hostile.edge").write_bytes(data)
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    try:
        with open_bundle(folder / "hostile.edge") as bundle:
            damage(bundle)
    finally:
        tempfile.tempdir = before
        left = [path for path in folder.iterdir() if path.name != "hostile.edge"]
        assert not left, left


@st.composite
def archives(draw: st.DrawFn, sound: list[bytes]) -> bytes:
    """Break a sound archive, or pack a hostile one: any names, kinds, sizes, orders and dialects that tarfile can write."""
    if draw(st.integers(0, 2)):
        return draw(broken_bytes(draw(st.sampled_from(sound))))
    head = encode_manifest(small_manifest())
    members = [(MANIFEST, head), (SEAL, seal(head)), *sorted(FILES.items())]
    dialects = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    names = st.sampled_from(["../x", "/x", "a/../x", "model.tflite", SEAL, STATEMENT, "a" * 200, "\u00e9", "x\n", "golden", "golden/x/y"])
    kinds = st.sampled_from([getattr(tarfile, f"{kind}TYPE") for kind in ("REG", "SYM", "LNK", "CHR", "DIR", "FIFO", "CONT")])
    extensions = st.sampled_from([b"S", b"L", b"K", b"x", b"g", b"Z"])  # sparse, GNU's long names, pax headers, unknown
    extended = st.sampled_from([("size", "0"), ("size", "9" * 30), ("path", "../x"), ("GNU.sparse.size", "9" * 15), ("comment", "x" * 999)])
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=draw(dialects)) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            if draw(st.integers(0, 4)) == 0:
                member.name = draw(names)
            if draw(st.integers(0, 4)) == 0:
                member.type, member.linkname = draw(kinds | extensions), draw(names)
            if tar.format == tarfile.PAX_FORMAT and draw(st.booleans()):
                member.pax_headers = dict([draw(extended)])
            member.size = len(data)
            try:
                tar.addfile(member, io.BytesIO(data))
            except (ValueError, UnicodeError):  # tarfile itself cannot write that in this dialect
                continue
    return buffer.getvalue()


def sound_archives() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        plain = write_small_bundle(Path(folder)).read_bytes()
    head, buffer = encode_manifest(small_manifest()), io.BytesIO()
    line = trust.statement("meter", sha256_bytes(head), 7)
    write_archive(buffer, [(MANIFEST, head), (SEAL, seal(head)), (STATEMENT, line), (SIGNATURE, ARMOURED), *sorted(FILES.items())])
    return [plain, buffer.getvalue()]


def statement(case: tuple[bytes, bytes], _folder: Path) -> None:
    signed = read_signed(*case, "meter", "0" * 64, "bundle")
    assert (signed.statement, signed.signature) == case


def container(data: bytes, folder: Path) -> None:
    (folder / "hostile.npz").write_bytes(data)
    with samples.Samples(folder / "hostile.npz") as opened:
        for index in range(min(len(opened), 100)):
            opened[index]
        opened.labels()


def sound_container() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        samples.write(Path(folder) / "x.npz", [np.arange(4, dtype=np.int8), np.arange(6, dtype=np.float32)], [1, 2])
        return (Path(folder) / "x.npz").read_bytes()


def body(case: tuple[str, bytes], _folder: Path) -> None:
    """What a neighbour on the board sends to the service."""
    _decoded(*case)


def bodies() -> st.SearchStrategy[tuple[str, bytes]]:
    array = io.BytesIO()
    np.save(array, np.arange(12, dtype=np.float32).reshape(3, 4))
    kinds = st.sampled_from(["application/json", "application/x-npy", "image/png", ""])
    sound = st.tuples(st.just("application/json"), broken_json({"x": [[1, 2], [3, 4.5]]}))
    return sound | st.tuples(st.just("application/x-npy"), broken_bytes(array.getvalue())) | st.tuples(kinds, st.binary(max_size=64))


def signers(data: bytes, folder: Path) -> None:
    (folder / "allowed_signers").write_bytes(data)
    read_signers(folder / "allowed_signers")


LINE = b'anna@lab,bert namespaces="edgekit" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA anna\n'
JOB = {"schema": wire.JOB_SCHEMA, "job": "store.status", "root": "~/.edgekit", "app": "meter", "n": 5}
OWN = json.loads(encode_manifest(small_manifest()))


PARSERS: dict[str, Surface] = {
    "job": Surface(10, lambda: broken_json(JOB), lambda line, _: wire.decode_job(line), (AgentError,)),
    "manifest": Surface(14, lambda: broken_json(OWN), manifest, (InputError,)),
    "archive": Surface(14, lambda: archives(sound_archives()), archive, (InputError,)),
    "statement": Surface(
        6,
        lambda: st.tuples(broken_bytes(trust.statement("meter", "0" * 64, 7)), broken_bytes(ARMOURED) | st.just(ARMOURED)),
        statement,
        (InputError,),
    ),
    "container": Surface(6, lambda: broken_bytes(sound_container()), container, (AgentError,)),
    "body": Surface(6, bodies, body, (Refusal,)),
    "signers": Surface(4, lambda: broken_bytes(b"# lab\n" + LINE + LINE), signers, (InputError,)),
}

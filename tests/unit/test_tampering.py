"""A signed manifest with any one field changed is refused, by the host and by a board, whatever else is made to fit it."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgekit.archive import write_archive
from edgekit.bundle import SEAL, encode_manifest, open_bundle, seal
from edgekit.errors import InputError
from edgekit.health import Health, Hook
from edgekit.manifest import MANIFEST
from edgekit.ondevice import store, trust
from edgekit.ondevice.wire import AgentError
from edgekit.pipeline.sign import sign
from edgekit.pipeline.trust import signer
from edgekit.signature import SIGNATURE, STATEMENT
from tests.unit.bundles import FILES, small_manifest
from tests.unit.keys import allow, make_key

HOOKS = Health(latency_p99_ms=20.0, restart=Hook(("systemctl", "restart", "meter")), check=Hook(("./check.sh",), 5.0))


def leaves(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value that holds no other."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not items:
        yield at
    for key, item in items:
        yield from leaves(item, (*at, key))


def flipped(value: Any) -> Any:
    """Change a leaf by as little as its kind allows."""
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "x"
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ 1
    return value * 2 if isinstance(value, float) else {"x": 1} if value == {} else [0] if value == [] else 0


@dataclass(frozen=True)
class Signed:
    """A bundle's parts, signed by a key that is allowed."""

    manifest: dict[str, Any]
    statement: bytes
    signature: bytes
    allowed: Path

    def with_changed(self, at: tuple[Any, ...]) -> bytes:
        value = copy.deepcopy(self.manifest)
        holder = value
        for key in at[:-1]:
            holder = holder[key]
        holder[at[-1]] = flipped(holder[at[-1]])
        assert value != self.manifest
        return json.dumps(value, indent=2, sort_keys=True).encode() + b"\n"


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Signed:
    folder = tmp_path_factory.mktemp("signed")
    manifest = msgspec.structs.replace(small_manifest(), health=HOOKS)
    head, path = encode_manifest(manifest), folder / "meter.edge"
    with path.open("wb") as file:
        write_archive(file, [(MANIFEST, head), (SEAL, seal(head)), *sorted(FILES.items())])
    key = make_key(folder, "anna")
    sign(path, key, serial=7)
    with open_bundle(path) as bundle:
        assert bundle.signed
        return Signed(json.loads(head), bundle.signed.statement, bundle.signed.signature, allow(folder, anna=key))


def test_every_field_counts_on_the_host(signed: Signed, tmp_path: Path) -> None:
    path, missed = tmp_path / "changed.edge", []
    places = list(leaves(signed.manifest))
    assert len(places) > 50
    for at in places:
        head = signed.with_changed(at)
        statement = trust.statement("meter", hashlib.sha256(head).hexdigest(), 7)  # as somebody would who cannot sign
        for line in (signed.statement, statement):
            members = [(MANIFEST, head), (SEAL, seal(head)), (STATEMENT, line), (SIGNATURE, signed.signature), *sorted(FILES.items())]
            with path.open("wb") as file:
                write_archive(file, members)
            try:
                with open_bundle(path) as bundle:
                    missed.append((at, signer(bundle, signed.allowed)))
            except InputError:
                continue
    assert missed == []


def test_every_field_counts_on_a_board(signed: Signed, tmp_path: Path) -> None:
    root = str(tmp_path / "root")
    trust.set_trust({"allowed_signers": signed.allowed.read_text(), "require_signature": True}, root, lambda *_: None)
    good = hashlib.sha256(encode_manifest(msgspec.structs.replace(small_manifest(), health=HOOKS))).hexdigest()
    blobs = tmp_path / "root" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    missed, kinds = [], set()
    for at in leaves(signed.manifest):
        head = signed.with_changed(at)
        changed = hashlib.sha256(head).hexdigest()
        (blobs / changed).write_bytes(head)
        files = [{"path": MANIFEST, "sha256": changed, "bytes": len(head)}]
        for release, line in ((good, signed.statement), (changed, signed.statement), (changed, trust.statement("meter", changed, 7))):
            pair = {"statement": base64.b64encode(line).decode(), "signature": base64.b64encode(signed.signature).decode()}
            try:
                missed.append((at, store.stage({"app": "meter", "release": release, "files": files, **pair}, root, lambda *_: None)))
            except AgentError as error:
                kinds.add((release == good, error.kind))
    assert missed == []
    assert kinds == {(True, "mismatch"), (False, "untrusted")}
    assert not (tmp_path / "root" / "apps").exists()

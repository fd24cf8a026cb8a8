"""A device's root as the agent finds it, with hostile jobs sent to it and hostile bytes lying on its disk."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from edgekit.bundle import encode_manifest
from edgekit.manifest import MANIFEST
from edgekit.ondevice import agent, boot, deploy, hooks, prove, sampler, service, trust, wire
from edgekit.ondevice.chunks import Chunk, pack
from edgekit.ondevice.stdin import Stdin
from edgekit.ondevice.transfer import PACKED
from edgekit.ondevice.wire import AgentError
from tests.fuzz.mutation import TOKENS, broken_bytes, broken_json, broken_value
from tests.fuzz.parsers import ARMOURED, LINE
from tests.fuzz.surface import Surface
from tests.unit.bundles import FILES, small_manifest

HEAD = encode_manifest(small_manifest())
RELEASE, OLDER = hashlib.sha256(HEAD).hexdigest(), hashlib.sha256(HEAD + b" ").hexdigest()
CONTENTS = {MANIFEST: HEAD, **FILES}
LISTED = [{"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} for path, data in sorted(CONTENTS.items())]
BLOB = hashlib.sha256(FILES["model.tflite"]).hexdigest()
STATEMENT = trust.statement("meter", RELEASE, 7)
PAIR = {"statement": base64.b64encode(STATEMENT).decode(), "signature": base64.b64encode(ARMOURED).decode()}
NAMED = {"app": "meter", "release": RELEASE}
# A blob in three chunks, of which two must come, one of them packed, and one is in another blob.
MODEL = FILES["model.tflite"]
CUT = (b"first chunk", b"second chunk " * 20, MODEL[:64])
NEW = b"".join(CUT)
COMING = hashlib.sha256(NEW).hexdigest()
CHUNKS = base64.b64encode(pack(Chunk(hashlib.sha256(data).digest()[:16], len(data)) for data in CUT)).decode()
PACKED_FRAME = zlib.compress(CUT[1])
STREAM = struct.pack(">I", len(CUT[0])) + CUT[0] + struct.pack(">I", len(PACKED_FRAME) | PACKED) + PACKED_FRAME
KNOWN = pack(Chunk(hashlib.sha256(data).digest()[:16], len(data)) for data in (MODEL[:64], MODEL[64:]))

# What each job is sent by an honest host.
JOBS: dict[str, dict[str, Any]] = {
    "deploy.activate": {**NAMED, "deployment": "0" * 16, "deadline_s": 60.0},
    "deploy.admit": {**NAMED, **PAIR},
    "deploy.commit": {**NAMED, "deployment": "0" * 16, "keep": 2},
    "deploy.prove": {**NAMED, "deployment": "0" * 16, "threads": 1},
    "deploy.settle": {"app": "meter"},
    "golden": {**NAMED, "threads": 1},
    "lease.release": {"token": "0" * 32, "force": True, "owner": "anna"},
    "lease.show": {},
    "lease.take": {"token": "0" * 32, "ttl_s": 60, "owner": "anna", "reason": "a test", "renews": True},
    "probe.accuracy": {**NAMED, "threads": 1, "samples": BLOB},
    "probe.cold": {**NAMED, "threads": 1},
    "probe.consistency": {**NAMED, "threads": 1, "rounds": 2},
    "probe.energy": {**NAMED, "threads": 1, "idle_s": 0.5, "load_s": 0.5, "period_s": 0.1},
    "probe.latency": {**NAMED, "threads": 1, "min_time_s": 0, "min_count": 1, "warmup_cap_s": 0},
    "probe.memory": {**NAMED, "threads": 1},
    "probe.ops": {**NAMED, "threads": 1, "runs": 5},
    "probe.outputs": {**NAMED, "threads": 1, "samples": BLOB},
    "probe.soak": {**NAMED, "threads": 1, "seconds": 0.2, "window_s": 0.1},
    "probe.throughput": {**NAMED, "threads": 1, "streams": 2, "min_time_s": 0.1},
    "probe.regression": {"app": "meter", "releases": [OLDER, RELEASE], "threads": 1, "min_time_s": 0, "min_count": 1, "warmup_cap_s": 0},
    "runtime.install": {"lock": "tflite-1", "wheels": [{"name": "x-1-py3-none-any.whl", "sha256": BLOB, "bytes": 10}]},
    "service.install": {"app": "meter", "port": 8080},
    "service.look": {"app": "meter", "port": 8080},
    "service.remove": {"app": "meter"},
    "service.show": {"app": "meter"},
    "store.restore": {"app": "meter", "deployment": "0" * 16, "current": OLDER, "previous": None, "tried": RELEASE},
    "store.rollback": {"app": "meter"},
    "store.stage": {**NAMED, "files": LISTED, **PAIR},
    "store.status": {"app": "meter"},
    "transfer.offer": {"blobs": [{"sha256": COMING, "bytes": len(NEW), "chunks": CHUNKS}]},
    "transfer.take": {"blobs": [{"sha256": COMING, "bytes": len(NEW), "chunks": CHUNKS, "start": 0, "needed": "Aw=="}]},
    "trust.set": {"allowed_signers": LINE.decode(), "require_signature": False},
    "trust.show": {},
}
ELSEWHERE = {
    "deploy.watch": "a process of its own, which waits: tests/unit/ondevice/test_deploy.py",
    "facts": "it takes no fields, and asks many programs",
    "infer": "the host's own: it writes where it is told",
    "engine.build": "needs a GPU: tests/unit/ondevice/tensorrt",
    "engine.check": "needs NVIDIA's parser: tests/unit/ondevice/tensorrt",
    "engine.race": "needs a GPU: tests/unit/ondevice/tensorrt",
    "serve": "a server that ends by a signal: tests/unit/ondevice/test_serve.py",
    "engine.work": "a process that engine.build starts; it ends its own group",
}

# What lies on the disk, by path below the root.
STEPS: tuple[dict[str, Any], ...] = (
    {"event": "committed", "release": OLDER, "previous": None, "deployment": "f" * 16, "by": "host"},
    {"event": "staged", "release": RELEASE, "previous": None, "deployment": "0" * 16},
    {
        "event": "switching",
        "release": RELEASE,
        "previous": OLDER,
        "deployment": "0" * 16,
        "becomes": "activated",
        "deadline": 9e9,
        "boot": "x",
    },
    {"event": "activated", "release": RELEASE, "previous": OLDER, "deployment": "0" * 16, "deadline": 9e9, "boot": "x"},
    {"event": "proven", "release": RELEASE, "previous": OLDER, "deployment": "0" * 16, "by": "host", "proof": {}},
    {"event": "committed", "release": RELEASE, "previous": OLDER, "deployment": "0" * 16, "by": "host"},
)
JOURNALS = [
    b"".join(b"\n" + json.dumps({"time": "2026-01-01T00:00:00Z", **step}).encode() for step in STEPS[:count]) for count in range(1, 7)
]
LEASE = {"token": "0" * 32, "owner": "anna", "reason": "a test", "boot": "x", "ttl_s": 1, "uptime_s": 1, "wall_s": 1.5, "renews": False}
DISK: dict[str, bytes] = {
    "lease.json": json.dumps(LEASE).encode(),
    "lease.log": b"\n" + json.dumps({"time": "2026-01-01T00:00:00Z", "owner": "anna", "reason": "a test", "by": "bert"}).encode(),
    "apps/meter/journal": JOURNALS[-1],
    f"apps/meter/releases/{RELEASE}/{MANIFEST}": HEAD,
    f"apps/meter/releases/{RELEASE}/{trust.SIGNED}": STATEMENT + ARMOURED,
    "apps/meter/serial": json.dumps({"serial": 5, "release": OLDER}).encode(),
    f"chunks/{BLOB}": KNOWN,
    f"incoming/{COMING}.part": CUT[0] + CUT[1][:7],
    "trust/policy.json": b'{"require_signature": false}',
    "trust/allowed_signers": LINE,
}
LINKS = ("apps/meter/current", "apps/meter/previous")
READERS = sorted(name for name in JOBS if name not in ("golden", "runtime.install") and not name.startswith("probe."))


_furnished: dict[Path, list[tuple[object, ...]]] = {}


def _seen(root: Path) -> list[tuple[object, ...]]:
    """Return what tells whether anything below a folder has changed."""
    found: list[tuple[object, ...]] = []
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files, "."):
            status = (Path(folder) / name).lstat()
            found.append((folder, name, status.st_mode, status.st_size, status.st_ino, status.st_mtime_ns))
    return sorted(found, key=str)


def furnish(root: Path) -> None:
    """Make a root with one application of two releases, the newer current; one that is still as it was made stays."""
    if root.exists():
        if _seen(root) == _furnished.get(root):
            return
        shutil.rmtree(root)
    for release in (RELEASE, OLDER):
        folder = root / "apps" / "meter" / "releases" / release
        for path, data in CONTENTS.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data + b" " if (path, release) == (MANIFEST, OLDER) else data)
    blobs = root / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for data in CONTENTS.values():
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    for path, data in DISK.items():
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(data)
    for link, release in zip(LINKS, (RELEASE, OLDER), strict=True):
        (root / link).symlink_to(f"releases/{release}")
    _furnished.clear()
    _furnished[root] = _seen(root)


@contextmanager
def unmanned(folder: Path) -> Iterator[None]:
    """No program runs, and no manager of systemd: what a release's own commands do is theirs, and the watchdog has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder / "home"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "home" / ".config"))
        patch.setattr(deploy, "start", lambda *_: None)
        patch.setattr(hooks, "run", lambda *_: None)
        patch.setattr(prove, "_examine", lambda *_: ({}, "no program can be run"))
        patch.setattr(service, "_run", lambda _: (1, "no manager"))
        patch.setattr(boot, "_run", lambda _: 1)
        # As on a board without a core to watch from, and without programs that tell of it.
        patch.setattr(sampler, "_spare", lambda *_: None)
        patch.setattr(sampler._Watch, "state", lambda _, phase: {"phase": phase})
        yield


def send(root: Path, line: bytes, payload: bytes = STREAM) -> None:
    """Run a job as the agent's own boundary does, in this process; what it answers must be an answer."""
    with memory_file(line + payload) as handle, unmanned(root.parent):
        data = agent._run(io.BytesIO(), Stdin(handle))
    wire.decode_event(wire.encode_event({"event": "result", "data": data}))


@contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    handle = os.memfd_create("stdin")
    try:
        os.write(handle, data)
        os.lseek(handle, 0, os.SEEK_SET)
        yield handle
    finally:
        os.close(handle)


def run_jobs(case: tuple[list[tuple[str, Any]], bytes], folder: Path) -> None:
    (sent, payload), root = case, folder / "root"
    furnish(root)
    for number, (name, fields) in enumerate(sent):
        job = {"schema": wire.JOB_SCHEMA, "job": name, "root": str(root), **(fields if isinstance(fields, dict) else {"app": fields})}
        try:
            send(root, json.dumps({**job, "root": str(root)}).encode() + b"\n", payload)
        except REFUSALS:
            if number == len(sent) - 1:
                raise


def run_on_disk(case: tuple[str, bytes, list[str]], folder: Path) -> None:
    path, data, names = case
    root = folder / "root"
    furnish(root)
    spoilt = root / path
    spoilt.unlink(missing_ok=True)
    if path in LINKS:
        spoilt.symlink_to(data.replace(b"\0", b"").decode("utf-8", "surrogateescape") or "x")
    else:
        spoilt.write_bytes(data)
    run_jobs_on(root, names)


def run_jobs_on(root: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        try:
            send(root, wire.encode_job(name, str(root), JOBS[name]))
        except REFUSALS:
            if number == len(names) - 1:
                raise


def jobs() -> st.SearchStrategy[Any]:
    one = st.sampled_from(sorted(JOBS)).flatmap(lambda name: broken_value(JOBS[name]).map(lambda fields: (name, fields)))
    taking = (broken_value(JOBS["transfer.take"]) | st.just(JOBS["transfer.take"])).map(lambda fields: [("transfer.take", fields)])
    several = st.lists(one, min_size=1, max_size=3)
    return st.tuples(several, st.just(STREAM)) | st.tuples(several, st.just(STREAM)) | st.tuples(taking, broken_bytes(STREAM))


@st.composite
def disks(draw: st.DrawFn) -> tuple[str, bytes, list[str]]:
    path = draw(st.sampled_from([*DISK, *LINKS]))
    if path in LINKS:
        targets = ["/etc", "..", "../../..", f"releases/{OLDER}/../../..", "releases/" + "f" * 64, "current", f"releases/{RELEASE}/"]
        data = draw(st.sampled_from(targets).map(str.encode) | st.sampled_from(TOKENS))
    elif DISK[path].startswith(b"{") and "signed" not in path:
        data = draw(broken_json(json.loads(DISK[path])))
    else:
        data = draw(broken_bytes(draw(st.sampled_from(JOURNALS)) if path.endswith("journal") else DISK[path]))
    return path, data, draw(st.lists(st.sampled_from(READERS), min_size=1, max_size=3))


# An OSError reaches the host as an error of kind state or no-space (`edgekit.ondevice.agent`), not as a bug.
REFUSALS = (AgentError, OSError)
BOARDS: dict[str, Surface] = {
    "jobs": Surface(12, jobs, run_jobs, REFUSALS, frozenset({"ssh-keygen"})),
    "disk": Surface(10, disks, run_on_disk, REFUSALS, frozenset({"ssh-keygen"})),
}

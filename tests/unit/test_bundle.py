"""Bundles: the same bytes every time, every damage found, nothing hostile believed."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bundle import bundle_files, damage, encode_manifest, open_bundle, write_bundle
from edgekit.digest import sha256_file
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST
from tests.unit.bundles import FILES, small_manifest, write_small_bundle


def test_same_inputs_same_bytes(tmp_path: Path) -> None:
    first, second = write_small_bundle(tmp_path / "a"), write_small_bundle(tmp_path / "b")
    assert first.name == second.name
    assert sha256_file(first) == sha256_file(second)


def test_round_trip(tmp_path: Path) -> None:
    path = write_small_bundle(tmp_path)
    with open_bundle(path) as bundle:
        assert bundle.manifest == small_manifest()
        assert bundle.file_name == path.name == f"meter-rpi4-{bundle.digest[:12]}.edge"
        assert {e.path for e in bundle.entries} == {MANIFEST, *FILES}
        assert bundle.read("model.tflite") == FILES["model.tflite"]
        assert damage(bundle) == []
        folder = bundle.folder
    assert not folder.exists(), "the unpacked copy goes with the block"


def test_newest_bundle_first(tmp_path: Path) -> None:
    path = write_small_bundle(tmp_path)
    other = write_bundle(msgspec.structs.replace(small_manifest(), name="other"), FILES, tmp_path)
    os.utime(path, (1, 1))
    assert bundle_files(tmp_path) == [other, path]


def test_every_flipped_byte_is_found(tmp_path: Path) -> None:
    """Each content byte of a file, and of the manifest, is covered by some check."""
    path = write_small_bundle(tmp_path)
    data = path.read_bytes()
    with tarfile.open(path) as tar:
        spans = [(member.name, member.offset_data, member.size) for member in tar]
    missed = []
    for name, start, size in spans:
        for offset in {start, start + size // 2, start + size - 1}:
            path.write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
            try:
                with open_bundle(path) as bundle:
                    # A manifest that still parses has another digest, so it is another bundle.
                    if not damage(bundle) and bundle.file_name == path.name:
                        missed.append((name, offset))
            except InputError:
                continue
    assert missed == []


def _tar(members: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _file(name: str, data: bytes) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info, data


def _link(name: str, kind: bytes, to: str) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""


def _good() -> list[tuple[tarfile.TarInfo, bytes]]:
    return [_file(MANIFEST, encode_manifest(small_manifest())), *(_file(path, data) for path, data in FILES.items())]


HOSTILE: dict[str, Callable[[], list[tuple[tarfile.TarInfo, bytes]]]] = {
    "climbs out": lambda: [*_good(), _file("../../evil", b"x")],
    "absolute": lambda: [*_good(), _file("/tmp/evil", b"x")],
    "unlisted": lambda: [*_good(), _file("extra", b"x")],
    "twice": lambda: [*_good(), _file("plan.json", b"{}\n")],
    "symlink": lambda: [*_good()[:-1], _link("golden/outputs.npz", tarfile.SYMTYPE, "/etc/passwd")],
    "hard link": lambda: [*_good()[:-1], _link("golden/outputs.npz", tarfile.LNKTYPE, MANIFEST)],
    "device": lambda: [*_good()[:-1], _link("golden/outputs.npz", tarfile.CHRTYPE, "")],
    "folder": lambda: [*_good()[:-1], _link("golden/outputs.npz", tarfile.DIRTYPE, "")],
    "lying size": lambda: [*_good()[:-1], _file("golden/outputs.npz", b"longer than the manifest says")],
    "missing file": lambda: _good()[:-1],
    "manifest not first": lambda: [*_good()[1:], _good()[0]],
    "no manifest": lambda: _good()[1:],
    "empty": list,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_tar_is_refused_and_writes_nothing_outside(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evil.edge"
    path.write_bytes(_tar(HOSTILE[name]()))
    with pytest.raises(InputError) as caught, open_bundle(path):
        pass
    assert "evil.edge" in caught.value.message
    assert [p.name for p in tmp_path.iterdir()] == ["evil.edge"]


@pytest.mark.parametrize("path", ["../x", "/x", "a/../x", "a/b/c", ".hidden", "a//b", "a\\b", "a\nb", "", "-rf"])
def test_manifest_paths_are_plain(path: str, tmp_path: Path) -> None:
    entry = msgspec.structs.replace(small_manifest().files[0], path=path)
    manifest = msgspec.structs.replace(small_manifest(), files=(*small_manifest().files, entry))
    (tmp_path / "evil.edge").write_bytes(_tar([_file(MANIFEST, encode_manifest(manifest))]))
    with pytest.raises(InputError), open_bundle(tmp_path / "evil.edge"):
        pass


def test_truncated_tar_is_refused(tmp_path: Path) -> None:
    path = write_small_bundle(tmp_path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError), open_bundle(path):
        pass


@given(junk=st.binary(max_size=2000))
def test_junk_is_no_bundle(tmp_path_factory: pytest.TempPathFactory, junk: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.edge"
    path.write_bytes(junk)
    with pytest.raises(InputError), open_bundle(path):
        pass


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such bundle"), open_bundle(tmp_path / "x.edge"):
        pass
    with pytest.raises(InputError, match="it is no bundle"), open_bundle(tmp_path):
        pass

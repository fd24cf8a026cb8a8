"""Bundles: the same bytes every time, every damage found, nothing hostile believed."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bundle import SEAL, bundle_files, damage, encode_manifest, open_bundle, seal, write_bundle
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
        assert path.name == f"meter-rpi4-{bundle.digest[:12]}.edge"
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


def find_damage(path: Path) -> list[str]:
    """Return what opening and verifying a bundle find wrong with it."""
    try:
        with open_bundle(path) as bundle:
            return damage(bundle)
    except InputError as error:
        return [error.message]


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """Contents, manifest, seal, tar headers and padding alike: nothing in the file is free to change."""
    path = write_small_bundle(tmp_path)
    data = path.read_bytes()
    assert find_damage(path) == []
    missed = []
    # Every byte of the members' headers and first contents, then a stride through the rest.
    for offset in [*range(0, 1600, 7), *range(1600, len(data), 61)]:
        path.write_bytes(data[:offset] + bytes([data[offset] ^ (1 << offset % 8)]) + data[offset + 1 :])
        if not find_damage(path):
            missed.append(offset)
    assert missed == []


@pytest.mark.parametrize("grown", [b"\0", b"x", b"\0" * 512, b"\0" * 10240])
def test_a_grown_archive_is_found(tmp_path: Path, grown: bytes) -> None:
    path = write_small_bundle(tmp_path)
    path.write_bytes(path.read_bytes() + grown)
    assert find_damage(path)


def test_a_changed_manifest_is_found_in_a_folder_too(tmp_path: Path) -> None:
    with open_bundle(write_small_bundle(tmp_path)) as bundle:
        copy = tmp_path / "folder"
        shutil.copytree(bundle.folder, copy)
    manifest = copy / MANIFEST
    manifest.write_text(manifest.read_text().replace('"tolerance": 2', '"tolerance": 9'))
    (message,) = find_damage(copy)
    assert "manifest.json is damaged" in message


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
    head = encode_manifest(small_manifest())
    return [_file(MANIFEST, head), _file(SEAL, seal(head)), *(_file(path, data) for path, data in FILES.items())]


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
    "no seal": lambda: [_good()[0], *_good()[2:]],
    "another's seal": lambda: [_good()[0], _file(SEAL, seal(b"other")), *_good()[2:]],
    "manifest not first": lambda: [*_good()[1:], _good()[0]],
    "no manifest": lambda: _good()[2:],
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


@pytest.mark.parametrize(
    "path", ["../x", "/x", "a/../x", "a/b/c", ".hidden", "a//b", "a\\b", "a\nb", "a\n", "", "-rf", "plan.json/x", "manifest.json/x"]
)
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

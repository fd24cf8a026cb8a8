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

from edgekit.archive import write_archive
from edgekit.bundle import SEAL, bundle_files, damage, encode_manifest, open_bundle, seal, write_bundle
from edgekit.digest import sha256_file
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST
from edgekit.signature import SIGNATURE, STATEMENT
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
    dialect = tarfile.PAX_FORMAT if any(info.pax_headers for info, _ in members) else tarfile.GNU_FORMAT
    with tarfile.open(fileobj=buffer, mode="w", format=dialect) as tar:
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
    "not in order": lambda: [*_good()[:3], *reversed(_good()[3:])],
    "a thousand more": lambda: [*_good(), *(_file(f"more{number}", b"") for number in range(1000))],
    "GNU long name": lambda: [*_good()[:-1], _file("x" * 150, b"x")],
    "GNU sparse": lambda: [*_good()[:-1], _link("golden/outputs.npz", b"S", "")],
    "pax header": lambda: [*_good()[:-1], _extended("golden/outputs.npz", {"size": "9" * 30})],
    "pax header for all": lambda: [_link("x", b"g", ""), *_good()],
    "a signature without a statement": lambda: [*_good()[:2], _file(SIGNATURE, b"x"), *_good()[2:]],
    "a statement without a signature": lambda: [*_good()[:2], _file(STATEMENT, b"x"), *_good()[2:]],
    "a statement too long": lambda: [*_good()[:2], _file(STATEMENT, b"x" * 2000), _file(SIGNATURE, b"x"), *_good()[2:]],
}


def _extended(name: str, headers: dict[str, str]) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    return info, b""


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


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "another schema": lambda head: head.replace(b"edgekit.bundle/1", b"edgekit.bundle/2"),
    "an unknown key": lambda head: head.replace(b'"threads"', b'"thread": 4, "threads"'),
    "a doubled key": lambda head: head.replace(b'"threads"', b'"threads": 4, "threads"'),
    "NaN": lambda head: head.replace(b'"preprocess": {', b'"preprocess": {"x": NaN, '),
    "too deep": lambda head: head.replace(b'"preprocess": {', b'"preprocess": {"x": ' + b"[" * 20 + b"]" * 20 + b", "),
    "deeper than a stack": lambda head: head.replace(b'"preprocess": {', b'"preprocess": {"x": ' + b"[" * 99999),
    "no UTF-8": lambda head: head.replace(b"rpi4", b"rpi\xff"),
    "a long number": lambda head: head.replace(b'"preprocess": {', b'"preprocess": {"x": ' + b"9" * 5000 + b", "),
    "too long": lambda head: head + b" " * (4 << 20),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    head = MANIFESTS[name](encode_manifest(small_manifest()))
    assert head != encode_manifest(small_manifest())
    path = tmp_path / "evil.edge"
    with path.open("wb") as file:
        write_archive(file, [(MANIFEST, head), (SEAL, seal(head)), *sorted(FILES.items())])
    with pytest.raises(InputError, match=r"evil\.edge"), open_bundle(path):
        pass


def test_the_archive_is_what_tar_itself_writes(tmp_path: Path) -> None:
    """The same members by Python's tarfile, in ustar, give the same bytes: long names, empty files, whole records."""
    members = [("a", b""), ("b" * 100, b"x" * 512), ("c" * 60 + "/" + "d" * 60, b"y" * 9000)]
    theirs, ours = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            tar.addfile(_file(name, data)[0], io.BytesIO(data))
    write_archive(ours, members)
    assert ours.getvalue() == theirs.getvalue()


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

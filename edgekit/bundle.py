"""``Bundle``: what travels. A folder, or a deterministic tar of it, named by the manifest's digest.

The tar holds ``manifest.json``, which lists every other file with its digest, then ``manifest.sha256`` with the
manifest's own (in the form ``sha256sum -c`` reads), then the files. Nothing in a bundle is believed before it is
checked: names, kinds, sizes and digests, in that order.
"""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import msgspec

from edgekit.digest import atomic_file, sha256_bytes, sha256_file, sha256_stream
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST, MANIFEST_BYTES_MAX, FileEntry, Manifest
from edgekit.parse import from_json

__all__ = ["SEAL", "Bundle", "bundle_files", "damage", "encode_manifest", "list_files", "open_bundle", "seal", "write_bundle"]

SUFFIX = ".edge"
SEAL = "manifest.sha256"
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk, unpacked.

    Attributes
    ----------
    folder
        Holds ``manifest.json`` and every file it lists.
    digest
        SHA-256 of ``manifest.json``: the release's name on a device.
    archive
        The ``.edge`` file it came from; None for a folder.
    """

    folder: Path
    digest: str
    manifest: Manifest
    archive: Path | None

    @property
    def entries(self) -> tuple[FileEntry, ...]:
        """Every file of the bundle, the manifest itself first."""
        own = self.folder / MANIFEST
        return (FileEntry(MANIFEST, self.digest, own.stat().st_size), *self.manifest.files)

    def read(self, path: str) -> bytes:
        """Return one file's bytes, checked against the manifest.

        Raises
        ------
        InputError
            The file is not listed, or its bytes are not those the manifest names.
        """
        for entry in self.manifest.files:
            if entry.path == path:
                data = (self.folder / path).read_bytes()
                if sha256_bytes(data) != entry.sha256:
                    raise InputError(
                        f"{self.folder / path}: its bytes are not those the manifest names", fix="build or copy the bundle again"
                    )
                return data
        raise InputError(f"{self.folder}: the bundle has no {path}")


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest's canonical bytes: sorted keys, two spaces, a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=2) + b"\n"


def list_files(files: Mapping[str, bytes]) -> tuple[FileEntry, ...]:
    """Describe files as a manifest lists them, sorted by path."""
    return tuple(FileEntry(path, sha256_bytes(data), len(data)) for path, data in sorted(files.items()))


def write_bundle(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> Path:
    """Write ``NAME-TARGET-<digest12>.edge`` into a folder, whole or not at all.

    Parameters
    ----------
    manifest
        Its ``files`` already describe ``files``.

    Returns
    -------
    Path
        The written tar: POSIX ustar, sorted, all times and owners zero.
    """
    head = encode_manifest(manifest)
    path = folder / f"{manifest.name}-{manifest.target}-{sha256_bytes(head)[:12]}{SUFFIX}"
    with atomic_file(path) as file:
        _write_tar(file, [(MANIFEST, head), (SEAL, seal(head)), *sorted(files.items())])
    return path


def seal(manifest: bytes) -> bytes:
    """Return the content of ``manifest.sha256``."""
    return f"{sha256_bytes(manifest)}  {MANIFEST}\n".encode()


def _write_tar(file: IO[bytes], members: Iterable[tuple[str, bytes]]) -> None:
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, data in members:
            member = tarfile.TarInfo(path)
            member.size, member.mode = len(data), 0o644
            tar.addfile(member, io.BytesIO(data))


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle, a folder or a ``.edge`` file, for the time of a ``with`` block.

    A tar is unpacked into a private temporary folder that goes when the block ends. Sizes and
    names are checked here, digests by `damage` or when a file is read.

    Raises
    ------
    InputError
        No bundle there, or one that is not what its manifest says.
    """
    if path.is_dir():
        yield _bundle_in(path, str(path), None)
        return
    if not path.is_file():
        raise InputError(f"{path}: no such bundle", fix="edgekit build makes one and prints its path")
    scratch = Path(tempfile.mkdtemp(prefix="edgekit-bundle-"))
    try:
        _unpack(path, scratch)
        yield _bundle_in(scratch, str(path), path)
    finally:
        shutil.rmtree(scratch)


def bundle_files(folder: Path) -> list[Path]:
    """Return the bundles in a folder, the newest first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)


def damage(bundle: Bundle) -> list[str]:
    """Return one line for each thing whose bytes are not as they were written; none is good.

    Files are compared with the manifest, the manifest with its seal (when the bundle was opened),
    and the archive around them with what `write_bundle` makes of the same files.
    """
    found = []
    for entry in bundle.manifest.files:
        actual = sha256_file(bundle.folder / entry.path)
        if actual != entry.sha256:
            found.append(f"{entry.path}: sha256 is {actual[:12]}.., the manifest says {entry.sha256[:12]}..")
    if bundle.archive and not found:
        paths = [MANIFEST, SEAL, *sorted(entry.path for entry in bundle.manifest.files)]
        with tempfile.TemporaryFile() as again:
            _write_tar(again, ((path, (bundle.folder / path).read_bytes()) for path in paths))
            again.seek(0)
            same = sha256_stream(again) == sha256_file(bundle.archive)
        if not same:
            found.append(f"{bundle.archive.name}: the archive's own headers or padding were changed")
    return found


def _bundle_in(folder: Path, where: str, archive: Path | None) -> Bundle:
    own, sealed = folder / MANIFEST, folder / SEAL
    for file in (own, sealed):
        if not file.is_file() or file.is_symlink():
            raise InputError(f"{where}: no {file.name} in it, so it is no bundle")
    data = own.read_bytes()
    if sealed.read_bytes() != seal(data):
        raise InputError(f"{where}: {MANIFEST} is damaged: its digest is not the one in {SEAL}", fix="build or copy the bundle again")
    manifest = _check(from_json(data, Manifest, f"{where}:{MANIFEST}", max_bytes=MANIFEST_BYTES_MAX), where)
    for entry in manifest.files:
        file = folder / entry.path
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{where}: {entry.path} is missing", fix="build or copy the bundle again")
        if file.stat().st_size != entry.bytes:
            raise InputError(
                f"{where}: {entry.path} has {file.stat().st_size} bytes, the manifest says {entry.bytes}",
                fix="build or copy the bundle again",
            )
    return Bundle(folder, sha256_bytes(data), manifest, archive)


def _check(manifest: Manifest, where: str) -> Manifest:
    paths = [entry.path for entry in manifest.files]
    folders = {path.rpartition("/")[0] for path in paths}
    if folders & {*paths, MANIFEST, SEAL}:
        raise InputError(f"{where}:{MANIFEST}: a path runs through a file")
    if len(set(paths)) != len(paths) or {MANIFEST, SEAL} & set(paths):
        raise InputError(f"{where}:{MANIFEST}: a file is listed twice")
    golden = manifest.golden
    recipe = manifest.recipe.files.values() if manifest.recipe else ()
    engine = (manifest.engine.path, manifest.engine.layers) if manifest.engine else ()
    for path in (manifest.artifact, golden.samples, golden.outputs, golden.builtin_outputs, *recipe, *engine):
        if path not in paths:
            raise InputError(f"{where}:{MANIFEST}: {path} is used but not listed under files")
    return manifest


def _unpack(path: Path, folder: Path) -> None:
    """Unpack only what the manifest, the first member, lists: no links, no surprises, exact sizes."""
    try:
        with tarfile.open(path, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.issparse() or first.size > MANIFEST_BYTES_MAX:
                raise InputError(f"{path}: does not begin with {MANIFEST}, so it is no bundle")
            _copy(tar.extractfile(first), folder / MANIFEST, first.size, path)
            manifest = _check(from_json((folder / MANIFEST).read_bytes(), Manifest, f"{path}:{MANIFEST}"), str(path))
            sizes = {SEAL: len(seal(b"")), **{entry.path: entry.bytes for entry in manifest.files}}
            while (member := tar.next()) is not None:
                if not member.isreg() or member.issparse() or sizes.pop(member.name, None) != member.size:
                    raise InputError(f"{path}: {member.name!r} is not as the manifest lists it", fix="build or copy the bundle again")
                _copy(tar.extractfile(member), folder / member.name, member.size, path)
    # Python 3.10 raises OSError for an archive without members.
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: not a readable bundle: {error}", fix="build or copy the bundle again") from error


def _copy(source: IO[bytes] | None, destination: Path, size: int, where: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with destination.open("xb") as file:
        while size and source and (block := source.read(min(size, _BLOCK_BYTES))):
            file.write(block)
            size -= len(block)
    if size:
        raise InputError(f"{where}: ends in the middle of {destination.name}", fix="build or copy the bundle again")

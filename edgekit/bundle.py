"""``Bundle``: what travels. A folder, or a deterministic tar of it, named by the manifest's digest.

The tar holds ``manifest.json``, which lists every other file with its digest, then ``manifest.sha256`` with the
manifest's own (in the form ``sha256sum -c`` reads), then, once it is signed, ``release.json`` and its signature, then the files, sorted.
Nothing in a bundle is believed before it is checked: names, kinds, sizes and digests, in that order.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import msgspec

from edgekit.archive import copy_member, read_end, read_header, read_member, write_archive
from edgekit.digest import atomic_file, sha256_bytes, sha256_file, write_atomic
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST, MANIFEST_BYTES_MAX, FileEntry, Manifest
from edgekit.ondevice.trust import SIGNATURE_MAX_BYTES, STATEMENT_MAX_BYTES
from edgekit.ondevice.wire import AgentError, strict_json
from edgekit.parse import from_json
from edgekit.signature import SIGNATURE, STATEMENT, Signed, read_signed

__all__ = [
    "SEAL", "Bundle", "bundle_files", "damage", "encode_manifest", "list_files", "open_bundle", "seal", "write_bundle", "write_signed",
]  # fmt: skip

SUFFIX = ".edge"
SEAL = "manifest.sha256"
_FIX = "build or copy the bundle again"


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
    signed
        Its statement and signature, not yet verified; None for an unsigned bundle.
    """

    folder: Path
    digest: str
    manifest: Manifest
    archive: Path | None
    signed: Signed | None

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
        write_archive(file, [(MANIFEST, head), (SEAL, seal(head)), *sorted(files.items())])
    return path


def write_signed(bundle: Bundle, signed: Signed) -> None:
    """Put a signature into the bundle, in place of any that it has: where it came from holds the old bytes or the new ones."""
    if bundle.archive is None:
        for name, data in ((SIGNATURE, signed.signature), (STATEMENT, signed.statement)):
            write_atomic(bundle.folder / name, data)
        return
    with atomic_file(bundle.archive) as file:
        head = [(name, (bundle.folder / name).read_bytes()) for name in (MANIFEST, SEAL)]
        files = [(path, bundle.folder / path) for path in sorted(entry.path for entry in bundle.manifest.files)]
        write_archive(file, [*head, (STATEMENT, signed.statement), (SIGNATURE, signed.signature), *files])


def seal(manifest: bytes) -> bytes:
    """Return the content of ``manifest.sha256``."""
    return f"{sha256_bytes(manifest)}  {MANIFEST}\n".encode()


@contextmanager
def open_bundle(path: Path) -> Iterator[Bundle]:
    """Open a bundle, a folder or a ``.edge`` file, for the time of a ``with`` block.

    A tar is unpacked into a private temporary folder that goes when the block ends. Sizes, names and the archive's
    own bytes are checked here, digests by `damage` or when a file is read.

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
    """Return one line for each file whose bytes are not those the manifest names; none is good.

    The manifest was compared with its seal, and the archive with what `write_bundle` writes, when the bundle was opened.
    """
    found = []
    for entry in bundle.manifest.files:
        actual = sha256_file(bundle.folder / entry.path)
        if actual != entry.sha256:
            found.append(f"{entry.path}: sha256 is {actual[:12]}.., the manifest says {entry.sha256[:12]}..")
    return found


def _bundle_in(folder: Path, where: str, archive: Path | None) -> Bundle:
    data = _small_file(folder / MANIFEST, MANIFEST_BYTES_MAX, where)
    if _small_file(folder / SEAL, len(seal(b"")), where) != seal(data):
        raise InputError(f"{where}: {MANIFEST} is damaged: its digest is not the one in {SEAL}", fix=_FIX)
    manifest = _read_manifest(data, where)
    for entry in manifest.files:
        file = folder / entry.path
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{where}: {entry.path} is missing", fix=_FIX)
        if file.stat().st_size != entry.bytes:
            raise InputError(f"{where}: {entry.path} has {file.stat().st_size} bytes, the manifest says {entry.bytes}", fix=_FIX)
    bundle = Bundle(folder, sha256_bytes(data), manifest, archive, None)
    if not any((folder / name).exists() for name in (STATEMENT, SIGNATURE)):
        return bundle
    statement = _small_file(folder / STATEMENT, STATEMENT_MAX_BYTES, where)
    signature = _small_file(folder / SIGNATURE, SIGNATURE_MAX_BYTES, where)
    return replace(bundle, signed=read_signed(statement, signature, manifest.name, bundle.digest, where))


def _small_file(file: Path, max_bytes: int, where: str) -> bytes:
    if file.is_symlink() or not file.is_file():
        raise InputError(f"{where}: no {file.name} in it, so it is no bundle", fix=_FIX)
    with file.open("rb") as opened:
        data = opened.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise InputError(f"{where}: {file.name} is longer than the {max_bytes} bytes allowed", fix=_FIX)
    return data


def _read_manifest(data: bytes, where: str) -> Manifest:
    """Read a manifest as a board does (no doubled keys, no NaN, bounded depth), then as the noun."""
    try:
        strict_json(data, "it", MANIFEST_BYTES_MAX)
    except AgentError as error:
        raise InputError(f"{where}:{MANIFEST}: {error.message}") from error
    return _check(from_json(data, Manifest, f"{where}:{MANIFEST}", max_bytes=MANIFEST_BYTES_MAX), where)


def _check(manifest: Manifest, where: str) -> Manifest:
    paths = [entry.path for entry in manifest.files]
    own = {MANIFEST, SEAL, STATEMENT, SIGNATURE}
    if {path.rpartition("/")[0] for path in paths} & {*paths, *own}:
        raise InputError(f"{where}:{MANIFEST}: a path runs through a file")
    if len(set(paths)) != len(paths) or own & set(paths):
        raise InputError(f"{where}:{MANIFEST}: a file is listed twice")
    golden = manifest.golden
    recipe = manifest.recipe.files.values() if manifest.recipe else ()
    engine = (manifest.engine.path, manifest.engine.layers) if manifest.engine else ()
    for path in (manifest.artifact, golden.samples, golden.outputs, golden.builtin_outputs, *recipe, *engine):
        if path not in paths:
            raise InputError(f"{where}:{MANIFEST}: {path} is used but not listed under files")
    return manifest


def _unpack(path: Path, folder: Path) -> None:
    """Unpack what the manifest, the first member, lists: those members in that order, of those sizes, and nothing else."""
    where = str(path)
    try:
        with path.open("rb") as file:
            head = _small_member(file, MANIFEST, MANIFEST_BYTES_MAX, where)
            manifest = _read_manifest(head, where)
            (folder / MANIFEST).write_bytes(head)
            (folder / SEAL).write_bytes(_small_member(file, SEAL, len(seal(b"")), where))
            name, size = read_header(file, where)
            if name == STATEMENT and size <= STATEMENT_MAX_BYTES:
                (folder / STATEMENT).write_bytes(read_member(file, size, where))
                (folder / SIGNATURE).write_bytes(_small_member(file, SIGNATURE, SIGNATURE_MAX_BYTES, where))
                name, size = read_header(file, where)
            entries = sorted(manifest.files, key=lambda entry: entry.path)
            for number, entry in enumerate(entries):
                if (name, size) != (entry.path, entry.bytes):
                    raise InputError(f"{where}: {name!r} is not as the manifest lists it", fix=_FIX)
                (folder / name).parent.mkdir(exist_ok=True)
                copy_member(file, size, folder / name, where)
                if number < len(entries) - 1:
                    name, size = read_header(file, where)
            read_end(file, where)
    except OSError as error:
        raise InputError(f"{where}: not a readable bundle: {error}", fix=_FIX) from error


def _small_member(file: IO[bytes], wanted: str, max_bytes: int, where: str) -> bytes:
    name, size = read_header(file, where)
    if name != wanted or size > max_bytes:
        raise InputError(f"{where}: holds {name!r} of {size} bytes where {wanted} belongs, so it is no bundle", fix=_FIX)
    return read_member(file, size, where)

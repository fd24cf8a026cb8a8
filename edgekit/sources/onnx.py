"""ONNX files, with external weights beside them or without. Nothing in a file is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # comes with onnx, without types
from onnx import helper

from edgekit.digest import sha256_bytes, sha256_file
from edgekit.errors import InputError
from edgekit.model import Model, TensorSpec

__all__ = ["OnnxSource"]

_HEAD_BYTES = 512
# A protobuf message is shorter than 2 GiB (protocolbuffers documentation, "Total Size of the Message"), and the model is one in memory.
_MODEL_BYTES_MAX = (1 << 31) - 1


class OnnxSource:
    """Reads ``.onnx``."""

    def read(self, path: Path) -> Model:
        """Parse the structure, check versions and external files, and return what the model declares.

        The digest is the file's; with external weights it covers them too.

        Raises
        ------
        InputError
            Not an ONNX model, one larger than 2 GiB with its weights, a version this installation does not
            know, or external weights that are absent, cut short or outside the model's folder.
        """
        proto = _parse(path)
        _check_versions(path, proto)
        files = [(location, _external_file(path, location, bytes_needed)) for location, bytes_needed in _external(proto)]
        _check_size(path, [path, *{file for _, file in files}])
        digest = sha256_file(path)
        if files:
            lines = [digest] + [f"{sha256_file(file)} {location}" for location, file in sorted(set(files))]
            digest = sha256_bytes("\n".join(lines).encode())
        constants = {tensor.name for tensor in proto.graph.initializer}
        return Model(
            path=path,
            format="onnx",
            sha256=digest,
            inputs=tuple(_spec(path, value) for value in proto.graph.input if value.name not in constants),
            outputs=tuple(_spec(path, value) for value in proto.graph.output),
        )

    def load(self, model: Model) -> onnx.ModelProto:
        """Return the model with its external weights in memory, checked against the ONNX standard.

        Raises
        ------
        InputError
            As ``read``, or the model breaks the standard, or it changed since it was read.
        """
        if self.read(model.path).sha256 != model.sha256:
            raise InputError(f"{model.path}: the file changed while it was being built", fix="run the build again")
        proto = _parse(model.path)
        try:
            onnx.load_external_data_for_model(proto, str(model.path.parent))
            onnx.checker.check_model(proto)
        except onnx.checker.ValidationError as error:
            raise InputError(f"{model.path}: not a valid ONNX model: {_first_line(error)}", fix="export the model again") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{model.path}: its external weights cannot be read: {_first_line(error)}") from error
        return proto


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        _check_size(path, [path])
        proto = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except DecodeError as error:
        raise InputError(f"{path}: {_what_it_is(path)}", fix="export the model again, or copy the file again") from error
    if not proto.graph.node or not proto.graph.output or not proto.ir_version:
        raise InputError(f"{path}: {_what_it_is(path)}", fix="export the model again, or copy the file again")
    return proto


def _check_size(path: Path, files: Iterable[Path]) -> None:
    size = sum(file.stat().st_size for file in files)
    if size > _MODEL_BYTES_MAX:
        raise InputError(
            f"{path}: {size / 1e9:.1f} GB with its weights; edgekit reads models of 2.1 GB at most",
            fix="export a smaller model, or one part of it at a time",
        )


def _what_it_is(path: Path) -> str:
    """Say in words what a file that does not parse looks like."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if not head:
        return "the file is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the model itself (git lfs pull)"
    if all(byte in b"\t\n\r\f" or 32 <= byte < 127 for byte in head):
        return f"a text file, not an ONNX model (it begins {head[:24].decode()!r})"
    return "not an ONNX model, or cut short"


def _check_versions(path: Path, proto: onnx.ModelProto) -> None:
    if proto.ir_version > onnx.IR_VERSION:
        raise InputError(
            f"{path}: ONNX IR version {proto.ir_version} is newer than this installation knows ({onnx.IR_VERSION})",
            fix="pip install --upgrade onnx onnxruntime, or export with an older opset",
        )
    versions = [entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")]
    newest = onnx.defs.onnx_opset_version()
    if not versions:
        raise InputError(f"{path}: the model declares no standard operator set", fix="export the model again")
    if versions[0] > newest:
        raise InputError(
            f"{path}: operator set {versions[0]} is newer than this installation knows ({newest})",
            fix=f"export with opset_version={min(17, newest)}, or pip install --upgrade onnx onnxruntime",
        )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield every constant of a graph and of the graphs inside it."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            for inner in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                yield from _tensors(inner)


def _external(proto: onnx.ModelProto) -> Iterator[tuple[str, int]]:
    """Yield (location, bytes the file must at least have) of each external constant."""
    for tensor in _tensors(proto.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            try:
                needed = int(entries.get("offset", "0")) + int(entries.get("length", "0"))
            except ValueError as error:
                raise InputError(f"constant {tensor.name!r}: its place in the external file is not a number") from error
            yield entries.get("location", ""), needed


def _external_file(path: Path, location: str, needed: int) -> Path:
    """Return the file of an external constant, which must lie in the model's folder or below."""
    folder = path.parent.resolve()
    plain = PurePosixPath(location)
    outside = not location or plain.is_absolute() or PureWindowsPath(location).is_absolute() or ".." in plain.parts
    file = folder / location
    if outside or not file.resolve().is_relative_to(folder):
        raise InputError(
            f"{path}: external weights {location!r} are outside the model's folder",
            fix="put the weights beside the model and export it again",
        )
    if not file.is_file():
        raise InputError(f"{path}: its external weights {location!r} are absent", fix=f"put {location} into {path.parent}")
    size = file.stat().st_size
    if needed < 0 or size < needed:
        raise InputError(f"{path}: its external weights {location!r} are cut short: {size} bytes of {needed}", fix="copy the file again")
    return file


def _spec(path: Path, value: onnx.ValueInfoProto) -> TensorSpec:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type == onnx.TensorProto.UNDEFINED:
        raise InputError(f"{path}: {value.name!r} is not a tensor; edgekit builds models whose inputs and outputs are tensors")
    shape = tuple(d.dim_value if d.dim_value > 0 else -1 for d in kind.shape.dim)
    return TensorSpec(value.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape)

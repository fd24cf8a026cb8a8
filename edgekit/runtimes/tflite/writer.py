"""``Writer``: tensors and operators in, the bytes of a .tflite out.

Knows the flatbuffer format (schema version 3) and nothing about ONNX or quantization decisions.
The same calls in the same order give the same bytes. Called by ``emission``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.graph import Array
from edgekit.runtimes.tflite.schema import flatbuffers, schema
from edgekit.runtimes.tflite.versions import lowest_version

__all__ = ["Writer"]

# Of the file format: "TFL3" with `version: 3` (schema.fbs, `file_identifier` and `Model.version`).
_IDENTIFIER, _FORMAT = b"TFL3", 3
# `Buffer.data` is declared `force_align: 16` in schema.fbs: kernels read weights in place.
_ALIGNMENT_BYTES = 16
# Operator codes up to 126 are repeated in the byte-wide field that old readers know (schema_utils.cc).
_OLD_CODE_LIMIT = 127

# Where an operator's data stand among its inputs, if not first.
_DATA_INPUT = {"SPLIT": 1, "TRANSPOSE_CONV": 1}
_DTYPES = {"int8": "INT8", "uint8": "UINT8", "float32": "FLOAT32", "int32": "INT32", "bool": "BOOL"}


class _AlignedBuffer(schema.BufferT):  # type: ignore[misc]  # the generated class is untyped
    """A buffer whose data starts on a 16-byte boundary; the generated code aligns to one byte."""

    def Pack(self, builder: Any) -> Any:  # noqa: N802 (name given by the generated code)
        if self.data is not None:
            # The vector that follows needs no padding of its own after this one.
            builder.Prep(_ALIGNMENT_BYTES, len(self.data))
        return super().Pack(builder)


class Writer:
    """Collects one subgraph."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        # Buffer 0 is the empty one that every computed tensor names (schema.fbs, `Model.buffers`).
        self._buffers: list[Any] = [_AlignedBuffer()]
        self._known: dict[bytes, int] = {}
        self._names: set[str] = set()

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        *,
        data: Array | None = None,
        scales: Sequence[float] = (),
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Add a tensor and return its index; a name already taken gets a number.

        Parameters
        ----------
        data
            Makes it a constant.
        scales
            One for the tensor, or one per index of ``axis``; none for a tensor without quantization.
        """
        entry = schema.TensorT(shape=[int(d) for d in shape], type=getattr(schema.TensorType, _DTYPES[dtype]), hasRank=True)
        entry.name = self._unique(name)
        entry.buffer = 0 if data is None else self._buffer(data)
        entry.quantization = schema.QuantizationParametersT()
        if len(scales):
            entry.quantization.scale = np.asarray(scales, np.float32)
            entry.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            entry.quantization.quantizedDimension = axis
        self._tensors.append(entry)
        return len(self._tensors) - 1

    def operator(self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **fields: Any) -> None:
        """Add an operator.

        Parameters
        ----------
        code
            Name in ``BuiltinOperator``, as ``"CONV_2D"``.
        options
            Name in ``BuiltinOptions``, as ``"Conv2DOptions"``; ``fields`` are its members.
        """
        entry = schema.OperatorT(opcodeIndex=self._code(code, inputs, outputs, fields))
        entry.inputs, entry.outputs = list(inputs), list(outputs)
        if options:
            entry.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            entry.builtinOptions = getattr(schema, f"{options}T")(**fields)
        self._operators.append(entry)

    def rename(self, tensor: int, name: str) -> None:
        """Give a tensor another name."""
        self._names.discard(self._tensors[tensor].name)
        self._tensors[tensor].name = self._unique(name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(self._tensors[tensor].shape)

    def dtype(self, tensor: int) -> str:
        """Return the dtype of a tensor, as numpy spells it."""
        return next(name for name, kind in _DTYPES.items() if getattr(schema.TensorType, kind) == self._tensors[tensor].type)

    def scale(self, tensor: int) -> float:
        """Return the scale of a tensor that has one for all of it."""
        return float(self._tensors[tensor].quantization.scale[0])

    def finish(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """Return the file; ``inputs`` and ``outputs`` (name -> tensor) also become its signature.

        Operators whose results nobody reads are left out, and what only they need. Nothing can be added afterwards.
        """
        places = self._prune({*inputs.values(), *outputs.values()}, set(outputs.values()))
        inputs, outputs = ({name: places[index] for name, index in held.items()} for held in (inputs, outputs))
        subgraph = schema.SubGraphT(
            tensors=self._tensors,
            inputs=list(inputs.values()),
            outputs=list(outputs.values()),
            operators=self._operators,
            name="main",
        )
        signature = schema.SignatureDefT(
            inputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in inputs.items()],
            outputs=[schema.TensorMapT(name=name, tensorIndex=index) for name, index in outputs.items()],
            signatureKey="serving_default",
        )
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=min(code, _OLD_CODE_LIMIT), builtinCode=code, version=version)
            for code, version in self._codes
        ]
        model = schema.ModelT(
            version=_FORMAT,
            operatorCodes=codes,
            subgraphs=[subgraph],
            description="edgekit",
            buffers=self._buffers,
            signatureDefs=[signature],
        )
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _prune(self, kept: set[int], needed: set[int]) -> dict[int, int]:
        """Leave out what ``needed`` tensors do not need; return the new index of each old one. ``kept`` stay anyhow."""
        alive: list[Any] = []
        needed = set(needed)
        for entry in reversed(self._operators):
            if not needed.isdisjoint(entry.outputs):
                needed.update(index for index in entry.inputs if index >= 0)
                alive.append(entry)
        used = {index for entry in alive for index in (*entry.inputs, *entry.outputs) if index >= 0} | kept
        places = {old: new for new, old in enumerate(sorted(used))}
        self._operators, self._tensors = alive[::-1], [self._tensors[old] for old in places]
        for entry in self._operators:
            entry.inputs, entry.outputs = ([places.get(index, index) for index in held] for held in (entry.inputs, entry.outputs))
        codes = {old: new for new, old in enumerate(sorted({entry.opcodeIndex for entry in self._operators}))}
        self._codes = {code: codes[old] for code, old in self._codes.items() if old in codes}
        for entry in self._operators:
            entry.opcodeIndex = codes[entry.opcodeIndex]
        buffers = {old: new for new, old in enumerate(sorted({0} | {entry.buffer for entry in self._tensors}))}
        self._buffers = [self._buffers[old] for old in buffers]
        for entry in self._tensors:
            entry.buffer = buffers[entry.buffer]
        return places

    def _code(self, code: str, inputs: Sequence[int], outputs: Sequence[int], fields: Mapping[str, Any]) -> int:
        shapes = [self.shape(index) for index in inputs if index >= 0]
        data = inputs[_DATA_INPUT.get(code, 0)]
        dtype = self.dtype(data)
        rescale = 0.0
        if code == "MUL" and dtype == "int8":
            rescale = self.scale(inputs[0]) * self.scale(inputs[1]) / self.scale(outputs[0])
        version = lowest_version(
            code,
            dtype,
            len(self.shape(data)),
            fields,
            grouped=code == "CONV_2D" and shapes[0][3] != shapes[1][3],
            broadcasts=len(shapes) > 1 and shapes[0] != shapes[1],
            rescale=rescale,
        )
        return self._codes.setdefault((getattr(schema.BuiltinOperator, code), version), len(self._codes))

    def _buffer(self, data: Array) -> int:
        """Return the buffer that holds these bytes; equal constants share one."""
        content = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("<")).tobytes()
        if content not in self._known:
            self._known[content] = len(self._buffers)
            self._buffers.append(_AlignedBuffer(data=np.frombuffer(content, np.uint8)))
        return self._known[content]

    def _unique(self, name: str) -> str:
        chosen, n = name, 1
        while chosen in self._names:
            n += 1
            chosen = f"{name}_{n}"
        self._names.add(chosen)
        return chosen

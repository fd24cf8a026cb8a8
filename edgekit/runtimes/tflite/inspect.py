"""What is inside a .tflite: its operators, read back from the bytes. For tests and reports; trusts the file."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.runtimes.tflite.schema import schema

__all__ = ["OperatorUse", "operators"]


@dataclass(frozen=True)
class OperatorUse:
    """One operator of a file: its name in the schema, its version, and the dtypes of its tensors."""

    name: str
    version: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def is_float(self) -> bool:
        """Whether any tensor it touches is floating point."""
        return any(dtype.startswith("float") for dtype in (*self.inputs, *self.outputs))


def operators(data: bytes) -> tuple[OperatorUse, ...]:
    """Return the operators of a file's first subgraph, in order."""
    model = schema.ModelT.InitFromPackedBuf(data, 0)
    codes = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    dtypes = {value: name.lower() for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    subgraph = model.subgraphs[0]

    def kinds(indices: list[int]) -> tuple[str, ...]:
        return tuple(dtypes[subgraph.tensors[index].type] for index in indices if index >= 0)

    return tuple(
        OperatorUse(
            codes[model.operatorCodes[entry.opcodeIndex].builtinCode],
            model.operatorCodes[entry.opcodeIndex].version,
            kinds(entry.inputs),
            kinds(entry.outputs),
        )
        for entry in subgraph.operators
    )

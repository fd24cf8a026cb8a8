"""A double of NVIDIA's TensorRT, for tests: `_run` opens engines. Not NVIDIA's, and nothing of theirs is in it."""

from __future__ import annotations

import enum

from ._run import (
    VERSION,
    EngineInspector,
    ICudaEngine,
    IExecutionContext,
    LayerInformationFormat,
    Runtime,
    TensorIOMode,
    init_libnvinfer_plugins,
)

__all__ = [
    "DataType",
    "EngineInspector",
    "ICudaEngine",
    "IExecutionContext",
    "ILogger",
    "LayerInformationFormat",
    "Runtime",
    "TensorIOMode",
    "__version__",
    "init_libnvinfer_plugins",
]


__version__ = VERSION


class DataType(enum.IntEnum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class ILogger:
    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class Builder:
    def build_serialized_network(self) -> None:
        raise NotImplementedError

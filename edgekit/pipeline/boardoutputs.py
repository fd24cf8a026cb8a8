"""A release's raw outputs on a board, sample by sample. Called by the probes ``accuracy`` and ``agreement``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from edgekit.errors import DeviceError
from edgekit.metrics import Array
from edgekit.ondevice.samples import ALONE, Writer
from edgekit.outputs import OutputTable, real_outputs
from edgekit.pipeline import Progress
from edgekit.pipeline.undertest import UnderTest

__all__ = ["board_outputs"]

_TIMEOUT_S = 3600.0


class _Part(msgspec.Struct, frozen=True):
    outputs: tuple[bytes, ...]


class _End(msgspec.Struct, frozen=True):
    outputs: Annotated[tuple[OutputTable, ...], msgspec.Meta(min_length=1, max_length=1000)]


def board_outputs(under: UnderTest, samples: str, count: int, scratch: Path, progress: Progress) -> Iterator[dict[str, Array]]:
    """Run a set on the board and return the real values of each sample's outputs, as `edgekit.outputs.real_outputs` does.

    They are kept in a file as they come: memory holds one sample's.

    Parameters
    ----------
    samples
        Digest of the set, which is on the board.
    count
        How many samples it has.
    scratch
        A private folder.

    Raises
    ------
    DeviceError
        What came is not what the bundle's artifact gives.
    """
    specs, file = under.manifest.outputs, scratch / "outputs.npz"
    names = (ALONE,) if len(specs) == 1 else tuple(spec.name for spec in specs)
    with Writer(file) as writer:

        def take(part: dict[str, Any]) -> None:
            came = under.read(part, _Part, "probe.outputs").outputs
            wanted = [math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in specs]
            if [len(one) for one in came] != wanted or writer.count == count:
                raise DeviceError(f"{under.address}: output {writer.count + 1} of {count} is not what {under.manifest.artifact} gives")
            arrays = [np.frombuffer(one, spec.dtype).reshape(spec.shape) for one, spec in zip(came, specs, strict=True)]
            writer.add(dict(zip(names, arrays, strict=True)))

        told = under.job("probe.outputs", timeout_s=_TIMEOUT_S, progress=progress, on_part=take, samples=samples)
        if writer.count != count:
            raise DeviceError(f"{under.address}: {writer.count} outputs came for {count} samples")
    tables = under.read(told, _End, "probe.outputs").outputs
    if [(one.dtype, one.shape) for one in tables] != [(spec.dtype, spec.shape) for spec in specs]:
        raise DeviceError(f"{under.address}: its runtime sees other outputs in {under.manifest.artifact} than the host's")
    return real_outputs(file, names, tables, specs, under.manifest.layouts)

"""All outputs of a release on a sample set, fetched from the board in pieces: disk and link hold one piece. Called by probes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np

from edgekit.digest import sha256_file
from edgekit.errors import DeviceError
from edgekit.metrics import Array
from edgekit.ondevice.accuracy import OUTPUTS
from edgekit.ondevice.wire import AgentError
from edgekit.outputs import OutputTable, real_outputs
from edgekit.parse import Sha256
from edgekit.pipeline import Progress
from edgekit.pipeline.undertest import UnderTest

__all__ = ["board_outputs"]

_TIMEOUT_S = 3600.0
_PIECE_BYTES = 64 << 20
_ENTRY_BYTES = 1024
"""What an output takes in a container beside its values: a header of numpy's and two of zip's, whose names may be long."""


class _Answer(msgspec.Struct, frozen=True):
    outputs: Annotated[tuple[OutputTable, ...], msgspec.Meta(min_length=1, max_length=1000)]
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    sha256: Sha256


def board_outputs(under: UnderTest, samples: str, count: int, scratch: Path, progress: Progress) -> Iterator[dict[str, Array]]:
    """Yield the real values of each sample's outputs, as `edgekit.outputs.real_outputs` does.

    Parameters
    ----------
    samples
        Digest of the set, which is on the board.
    count
        How many samples it has.
    scratch
        A private folder for the pieces.

    Raises
    ------
    DeviceError
        What came is not what the bundle's artifact gives.
    """
    specs = under.manifest.outputs
    size = sum(math.prod(spec.shape) * np.dtype(spec.dtype).itemsize + _ENTRY_BYTES for spec in specs)
    step = max(1, _PIECE_BYTES // size)
    file = scratch / "outputs.npz"
    for first in range(0, count, step):
        some = min(step, count - first)
        told = under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=samples, first=first, count=some)
        try:
            answer = msgspec.convert(told, _Answer)
            if answer.bytes > some * size + _ENTRY_BYTES:
                raise ValueError(f"{answer.bytes} bytes of outputs, {some * size} are expected")
            under.connection.get(f"{under.device.root}/incoming/{OUTPUTS}", file, max_bytes=answer.bytes)
            if sha256_file(file) != answer.sha256:
                raise ValueError("the outputs were damaged on the way")
            yield from real_outputs(file, answer.outputs, specs, under.manifest.layouts, some)
        except (msgspec.ValidationError, ValueError, AgentError) as error:
            raise DeviceError(f"{under.address}: the answer to probe.accuracy is malformed: {error}") from error
    under.job("probe.accuracy", timeout_s=_TIMEOUT_S, progress=progress, samples=samples, count=0)

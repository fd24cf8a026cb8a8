"""What an artifact's raw outputs stand for: real numbers by the network's own names, in its layout. Host and board answer in one form.

``pipeline.verify`` and ``pipeline.probes.accuracy`` read containers of raw outputs with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from edgekit.metrics import Array
from edgekit.model import TensorSpec
from edgekit.ondevice.samples import ALONE, Samples

__all__ = ["OutputTable", "by_name", "real_outputs"]

_IMAGE_RANK = 4


class OutputTable(msgspec.Struct, frozen=True):
    """What a runtime tells of one output of an artifact; see `edgekit.ondevice.inputs`."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    scale: Annotated[float, msgspec.Meta(gt=0)] | None
    zero_point: int | None


def real_outputs(
    container: Path, tables: Sequence[OutputTable], specs: Sequence[TensorSpec], layouts: Mapping[str, str], count: int
) -> Iterator[dict[str, Array]]:
    """Yield the real values of each sample's outputs by the network's names for them.

    Parameters
    ----------
    container
        Raw outputs, as the agent wrote them.
    tables
        The artifact's outputs, as the runtime told them.
    specs, layouts
        The same as the bundle says them, in the same order.
    count
        How many samples there must be.

    Raises
    ------
    ValueError
        What is there is not what the bundle's artifact gives.
    AgentError
        The container is none.
    """
    if len(tables) != len(specs):
        raise ValueError(f"{len(tables)} outputs came of {len(specs)}")
    names = (ALONE,) if len(tables) == 1 else tuple(sorted(table.name for table in tables))
    with Samples(container) as samples:
        if len(samples) != count or samples.arrays != names:
            raise ValueError(f"{len(samples)} answers came of {count}, with the outputs {', '.join(samples.arrays)}")
        for number in range(count):
            raw = samples[number]
            yield {
                spec.name: _real(raw[ALONE if len(tables) == 1 else table.name], table, spec, layouts.get(spec.name, "as-is"))
                for table, spec in zip(tables, specs, strict=True)
            }


def _real(raw: Array, table: OutputTable, spec: TensorSpec, layout: str) -> Array:
    if raw.shape != spec.shape or raw.dtype.name != table.dtype:
        raise ValueError(f"the output {spec.name} is {raw.dtype} {list(raw.shape)}, and should be {table.dtype} {list(spec.shape)}")
    values = raw
    if table.scale is not None:
        values = (raw.astype(np.float32) - np.float32(table.zero_point or 0)) * np.float32(table.scale)
    return values.transpose(0, 3, 1, 2) if layout == "nhwc" and values.ndim == _IMAGE_RANK else values


def by_name(sample: Mapping[str, Array], names: Sequence[str]) -> dict[str, Any]:
    """Return a sample of a container of outputs by the network's names for them."""
    return {names[0]: sample[ALONE]} if len(names) == 1 else dict(sample)

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
from edgekit.ondevice.samples import ALONE, read

__all__ = ["OutputTable", "by_name", "real_outputs"]

_IMAGE_RANK = 4


class OutputTable(msgspec.Struct, frozen=True):
    """What a runtime tells of one output of an artifact; see `edgekit.ondevice.inputs`."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    dtype: str
    shape: tuple[Annotated[int, msgspec.Meta(ge=0)], ...]
    scale: Annotated[float, msgspec.Meta(gt=0)] | None
    zero_point: Annotated[int, msgspec.Meta(ge=-(1 << 31), le=1 << 31)] | None


def real_outputs(
    container: Path, names: Sequence[str], tables: Sequence[OutputTable], specs: Sequence[TensorSpec], layouts: Mapping[str, str]
) -> Iterator[dict[str, Array]]:
    """Yield the real values of each sample's outputs by the network's names for them.

    Parameters
    ----------
    container, names
        Raw outputs, and what each is called there, in the artifact's order.
    tables
        The artifact's outputs, as the runtime told them.
    specs, layouts
        The same as the bundle says them.

    Raises
    ------
    ValueError
        What is there is not what the artifact gives.
    """
    for raw in read(container):
        yield {
            spec.name: _real(raw[name], table, layouts.get(spec.name, "as-is"))
            for name, table, spec in zip(names, tables, specs, strict=True)
        }


def _real(raw: Array, table: OutputTable, layout: str) -> Array:
    values = raw
    if table.scale is not None:
        values = (raw.astype(np.float32) - np.float32(table.zero_point or 0)) * np.float32(table.scale)
    return values.transpose(0, 3, 1, 2) if layout == "nhwc" and values.ndim == _IMAGE_RANK else values


def by_name(sample: Mapping[str, Array], names: Sequence[str]) -> dict[str, Any]:
    """Return a sample of a container of outputs by the network's names for them."""
    return {names[0]: sample[ALONE]} if len(names) == 1 else dict(sample)

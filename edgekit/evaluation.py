"""``Evaluation``: who said what on each evaluation sample. Travels in the bundle as ``evaluation.json``.

What metrics other than top-1 keep of a sample stands beside it, as numbers: `STATISTICS`, a sample container of one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Array, Statistics
from edgekit.ondevice import samples
from edgekit.ondevice.wire import AgentError
from edgekit.parse import Sha256

__all__ = ["EVALUATION", "STATISTICS", "Evaluation", "Kept", "read_statistics", "write_statistics"]

EVALUATION = "evaluation.json"
STATISTICS = "evaluation.npz"

_BYTES_MAX = 256 << 20
_COLUMNS_MAX = 1 << 16


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers sample by sample, so that every later judgement is a paired one.

    Attributes
    ----------
    dataset_sha256
        The samples, in order.
    labels
        None when the dataset has none.
    float_predictions, artifact_predictions
        Class index by the float network and by the artifact, both on the host; empty where the first output names none.
    metric, method_sha256
        Where predictions are not enough to judge by: the metric, and the digest of all that decides a score (`metrics.scoring.Scorer`).
    """

    schema: Literal["edgekit.evaluation/1"] = "edgekit.evaluation/1"
    dataset_sha256: str
    labels: tuple[int, ...] | None
    float_predictions: tuple[int, ...]
    artifact_predictions: tuple[int, ...]
    metric: str | msgspec.UnsetType = msgspec.UNSET
    method_sha256: Sha256 | msgspec.UnsetType = msgspec.UNSET


@dataclass(frozen=True)
class Kept:
    """What later judgements need.

    Attributes
    ----------
    before, after
        The metric's statistics of the float network and of the artifact, both on the host.
    vectors
        The float network's outputs [samples, length], where they are the truth; else None.
    """

    before: Statistics
    after: Statistics
    vectors: Array | None = None


def write_statistics(path: Path, kept: Kept) -> bytes:
    """Return the file of the bundle, by way of a scratch file.

    Raises
    ------
    InputError
        It would be too large to travel.
    """
    arrays = {"float": kept.before.values, "float_rows": kept.before.rows, "artifact": kept.after.values, "artifact_rows": kept.after.rows}
    if kept.vectors is not None:
        arrays["vectors"] = kept.vectors
    if (size := sum(array.nbytes for array in arrays.values())) > _BYTES_MAX:
        raise InputError(
            f"what the metric keeps of the evaluation set takes {size >> 20} MiB, and up to {_BYTES_MAX >> 20} MiB travel in a bundle",
            fix="evaluate on fewer samples: samples = N under [evaluation]; or score_min under [postprocess] drops unlikely boxes",
        )
    samples.write(path, [arrays])
    return path.read_bytes()


def read_statistics(path: Path, where: str) -> Kept:
    """Read what `write_statistics` wrote; the file is not trusted.

    Raises
    ------
    InputError
        It is none, or its arrays do not belong together.
    """
    try:
        (arrays,) = samples.read(path)
        before, after = (Statistics(arrays[role], arrays[f"{role}_rows"]) for role in ("float", "artifact"))
        for one in (before, after):
            table, rows = one.values, one.rows
            kinds = (table.dtype.str, rows.dtype.str, table.ndim, rows.ndim)
            if kinds != ("<f8", "<i8", 2, 1) or not 1 <= table.shape[1] <= _COLUMNS_MAX:
                raise ValueError("an array is of another kind")
            if (rows < 0).any() or (rows > len(table)).any() or int(rows.sum()) != len(table) or len(rows) != len(before):
                raise ValueError("the rows are not those of the samples")
            if not np.isfinite(table).all():
                raise ValueError("a value is not finite")
        vectors = arrays.get("vectors")
        if vectors is not None and (vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != len(before)):
            raise ValueError("the vectors are not those of the samples")
    except (AgentError, KeyError, ValueError) as error:
        raise InputError(f"{where}: not what a metric keeps: {error}", fix="edgekit build, then deploy again") from error
    return Kept(before, after, vectors)

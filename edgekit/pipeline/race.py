"""``--precision auto``: engines of several precisions raced on the board, and the verdict which of them is shipped.

The board predicts the evaluation set with each engine and times them interleaved (`edgekit.ondevice.tensorrt.race`); here its answer is
judged. Called by `edgekit.pipeline.engine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from edgekit.devices.session import AgentSession
from edgekit.engine import EnginePrecision
from edgekit.measurement import Measurement
from edgekit.pipeline import Progress, silent

__all__ = ["RaceResult", "judge", "race"]


class RaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Who is shipped, and why.

    Attributes
    ----------
    winner
        The engine that is shipped.
    decided_by
        ``"latency"``; ``"accuracy"`` where times are not believed, or too close to tell; ``"budget"`` where the others lose too much.
    notes
        Sentences for people: who won by how much, who lost and why, what could not be told.
    measurements
        Of each engine: latency, accuracy; of each pair: the ratio with its interval.
    samples
        Raw series, ``"race_int8_ns"`` and the like, in the order measured.
    """

    winner: EnginePrecision
    decided_by: Literal["latency", "accuracy", "budget"]
    notes: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    samples: dict[str, tuple[int, ...]]


def race(
    session: AgentSession,
    engines: Mapping[EnginePrecision, str],
    *,
    samples: str,
    preprocess: Mapping[str, Any],
    labels: Sequence[int] | None,
    float_predictions: Sequence[int],
    accuracy_drop_max: float | None,
    cores: int,
    simulated: bool,
    threads: int = 1,
    min_time_s: float = 3.0,
    min_count: int = 700,
    progress: Progress = silent,
) -> RaceResult:
    """Race engines that the board has built, and judge.

    Parameters
    ----------
    engines
        Precision -> digest of the engine on the board.
    samples
        Digest of the evaluation set, already pushed as a blob.
    preprocess
        The declared preprocessing, its layout that of the artifact.
    labels, float_predictions
        Of the evaluation set, in order; predictions are empty where the output names no class.
    accuracy_drop_max
        The budget; None where there is none.
    cores, simulated
        Of the board; see `edgekit.latency.latency_measurements`.

    Raises
    ------
    DeviceError
        An engine does not run, or the answer is malformed.
    """
    raise NotImplementedError


def judge() -> RaceResult:
    """Judge."""
    raise NotImplementedError

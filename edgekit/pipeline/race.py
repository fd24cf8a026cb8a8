"""``--precision auto``: engines of several precisions raced on the board, and the verdict which of them is shipped.

The board answers the evaluation set with each engine and times them in turns (`edgekit.ondevice.tensorrt.race`); here its answer is
judged. Called by `edgekit.pipeline.engine`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from edgekit.accuracy import accuracy_measurements
from edgekit.devices.session import AgentSession
from edgekit.engine import EnginePrecision
from edgekit.errors import DeviceError
from edgekit.latency import latency_measurements
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.parse import Sha256
from edgekit.pipeline import Progress, silent
from edgekit.ratio import LatencyRatio, latency_ratio

__all__ = ["RaceResult", "judge", "race"]

# Who is shipped where times say nothing, among those that keep the budget: INT8 with the rest in float16 is what TensorRT is made for.
_UNMEASURED: tuple[EnginePrecision, ...] = ("mixed", "int8", "fp16")
# Beside the timed runs: loading, warming up each engine at its cap of 60 s, and the answers to the evaluation set.
_RACE_EXTRA_S = 3600.0
DecidedBy = Literal["latency", "accuracy", "budget", "default"]
_LATENCIES = ("invoke_p50", "invoke_p99", "gpu_memory")
_Predictions = Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]], msgspec.Meta(min_length=1, max_length=1_000_000)]


class RaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Who is shipped, and why.

    Attributes
    ----------
    winner, decided_by
        The engine that is shipped, and why.
        ``"latency"``: the fastest, beyond chance, of those that keep the budget. ``"accuracy"``: others are as fast, and it loses least.
        ``"budget"``: no other keeps the budget, or none does and it loses least. ``"default"``: the times may not be believed, or
        there is no other.
    notes
        Sentences for people: who won by how much, who lost and why, what could not be told.
    measurements
        Of each engine: its accuracy against float; of each, and each pair's ratio, the latency, where it may be believed.
    samples, timed
        Raw series, ``"race_int8_ns"`` and the like, in the order measured; and whether they may be believed.
    verdicts
        On the winner's accuracy, by its answers on the board.
    """

    winner: EnginePrecision
    decided_by: DecidedBy
    notes: tuple[str, ...]
    measurements: tuple[Measurement, ...]
    samples: dict[str, tuple[int, ...]]
    timed: bool
    verdicts: tuple[Verdict, ...] = ()


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    predictions: _Predictions
    latency: dict[str, Any]  # an answer of `probe.latency`; `latency_measurements` checks it


class _Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    block_runs: Annotated[int, msgspec.Meta(ge=1, le=100_000)]
    engines: dict[Sha256, _Entry]


@dataclass(frozen=True)
class _Contender:
    """What was found of an engine."""

    precision: EnginePrecision
    accuracy: Findings
    latency: Findings

    @property
    def loss(self) -> float:
        """What it loses of top-1, or how often it disagrees with float where labels are unknown."""
        values = {one.name: one.value or 0.0 for one in self.accuracy.measurements}
        return -values["top1_delta"] if "top1_delta" in values else values.get("disagreement", 0.0)

    @property
    def verdict(self) -> Verdict | None:
        return next(iter(self.accuracy.verdicts), None)

    @property
    def invoke_ns(self) -> tuple[int, ...]:
        return self.latency.samples["invoke_ns"]


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
    min_time_s, min_count
        Each engine is timed until both are reached.

    Raises
    ------
    DeviceError
        An engine does not run, or the answer is malformed.
    """
    answer = session.job(
        "engine.race",
        timeout_s=_RACE_EXTRA_S + 2 * min_time_s * len(engines),
        progress=progress,
        engines=list(engines.values()),
        samples=samples,
        preprocess=dict(preprocess),
        threads=threads,
        min_time_s=min_time_s,
        min_count=min_count,
    )
    return judge(
        answer,
        engines,
        labels=labels,
        float_predictions=float_predictions,
        accuracy_drop_max=accuracy_drop_max,
        address=str(session.device.address),
        cores=cores,
        simulated=simulated,
    )


def judge(
    answer: Mapping[str, Any],
    engines: Mapping[EnginePrecision, str],
    *,
    labels: Sequence[int] | None,
    float_predictions: Sequence[int],
    accuracy_drop_max: float | None,
    address: str,
    cores: int,
    simulated: bool,
) -> RaceResult:
    """Say which engine of a race is shipped.

    Those in are the engines that keep the accuracy budget, or all where there is none or nothing to judge it by. If none keeps it, the
    one that loses least of those whom the samples do not convict is shipped. Of those in, the fastest wins. Who is as fast as it,
    within the 95 % interval of their ratio, wins instead by losing less accuracy. Times that may not be believed decide nothing.

    Parameters
    ----------
    answer
        Of the job ``engine.race``, as decoded from JSON. See `race` for the others.

    Raises
    ------
    DeviceError
        The answer is not what this agent's should be.
    """
    found = _parse(answer, engines, len(float_predictions), address)
    field = [
        _Contender(
            precision=name,
            accuracy=_accuracy(labels, float_predictions, found.engines[digest].predictions, accuracy_drop_max),
            latency=latency_measurements(found.engines[digest].latency, address=address, cores=cores, simulated=simulated),
        )
        for name, digest in engines.items()
    ]
    kept, notes = _kept(field, bool(float_predictions), labels is not None)
    if len(field) == 1:
        notes.append(f"only {kept[0].precision} was measured: whether another precision is faster there is not known")
        return _result(kept[0], "default", notes, field, found.block_runs)
    if len(kept) == 1 or (doubt := _doubt(field, found.block_runs)) is not None:
        winner = min(kept, key=lambda one: _UNMEASURED.index(one.precision))
        if len(kept) > 1:
            notes.append(f"which engine is fastest cannot be told: {doubt}; {winner.precision} is shipped, unmeasured")
        return _result(winner, "budget" if len(kept) == 1 else "default", notes, field, found.block_runs)
    paces = {one.precision: latency_ratio(one.invoke_ns, kept[0].invoke_ns, found.block_runs).value for one in kept}
    fastest = min(kept, key=lambda one: paces[one.precision])
    equals = [one for one in kept if one is fastest or latency_ratio(one.invoke_ns, fastest.invoke_ns, found.block_runs).low <= 1]
    winner = min(equals, key=lambda one: (one.loss, paces[one.precision]))
    if len(equals) > 1:
        names = " and ".join(one.precision for one in equals)
        notes.append(f"{names} are equally fast within chance: {winner.precision} loses least accuracy and is shipped")
    return _result(winner, "accuracy" if len(equals) > 1 else "latency", notes, field, found.block_runs)


def _parse(answer: Mapping[str, Any], engines: Mapping[EnginePrecision, str], count: int, address: str) -> _Answer:
    try:
        found = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{address}: the answer to engine.race is malformed: {error}") from error
    counts = {len(entry.predictions) for entry in found.engines.values()}
    if set(found.engines) != set(engines.values()) or (count and counts != {count}):
        raise DeviceError(f"{address}: the answer to engine.race is of {len(found.engines)} engines and {sorted(counts)} samples")
    return found


def _accuracy(
    labels: Sequence[int] | None, float_predictions: Sequence[int], predictions: Sequence[int], drop_max: float | None
) -> Findings:
    if not float_predictions:
        return Findings(())
    return accuracy_measurements(labels, float_predictions, predictions, accuracy_drop_max=drop_max)


def _kept(field: list[_Contender], classifies: bool, labelled: bool) -> tuple[list[_Contender], list[str]]:
    """Return who is in, and what there is to say of the others."""
    if not classifies:
        return field, ["the metric is no top-1, or the output names no class: accuracy took no part in the race"]
    if not labelled:
        seen = ", ".join(f"{one.precision} {one.loss:.2%}" for one in field)
        return field, [f"the samples have no labels: only speed was raced; disagreement with float: {seen}"]
    word = {"fail": "does not keep", "inconclusive": "is not shown to keep"}
    notes = [
        f"{one.precision} {word[one.verdict.outcome]} the accuracy budget: {one.verdict.text}"
        for one in field
        if one.verdict is not None and one.verdict.outcome in word
    ]
    passed = [one for one in field if one.verdict is None or one.verdict.outcome == "pass"]
    if passed:
        return passed, notes
    least = min((one for one in field if one.verdict and one.verdict.outcome != "fail"), key=lambda one: one.loss, default=None)
    least = least or min(field, key=lambda one: one.loss)
    return [least], [*notes, f"no engine is shown to keep the accuracy budget: {least.precision} loses least and is shipped"]


def _doubt(field: list[_Contender], block_runs: int) -> str | None:
    """Return why the times of a race decide nothing, or None."""
    for one in field:
        broken = next((verdict.text for verdict in one.latency.verdicts if verdict.outcome == "invalid"), None)
        if broken is not None:
            return broken
    try:
        for one in field:
            latency_ratio(one.invoke_ns, field[0].invoke_ns, block_runs)
    except ValueError as error:
        return str(error)
    return None


def _result(winner: _Contender, decided_by: DecidedBy, notes: list[str], field: list[_Contender], block: int) -> RaceResult:
    """Put the verdict together; times that may not be believed are in the samples alone."""
    measurements, told = [], list(notes)
    believed = _doubt(field, block) is None
    for one in field:
        kinds = [*one.accuracy.measurements, *(m for m in one.latency.measurements if believed and m.name in _LATENCIES)]
        measurements += [msgspec.structs.replace(m, name=f"race_{one.precision}_{m.name}") for m in kinds]
    for one in (one for one in field if believed and one is not winner):
        ratio = latency_ratio(one.invoke_ns, winner.invoke_ns, block)
        details = {"low": ratio.low, "high": ratio.high, "confidence": ratio.confidence}
        measurements.append(Measurement(f"race_{one.precision}_to_{winner.precision}", ratio.value, "1", ratio.rounds, details=details))
        told.append(_sentence(one.precision, winner.precision, ratio))
    return RaceResult(
        winner=winner.precision,
        decided_by=decided_by,
        notes=tuple(told),
        measurements=tuple(measurements),
        samples={f"race_{one.precision}_ns": one.invoke_ns for one in field},
        timed=believed,
        verdicts=winner.accuracy.verdicts,
    )


def _sentence(one: EnginePrecision, winner: EnginePrecision, ratio: LatencyRatio) -> str:
    if ratio.low <= 1 <= ratio.high:
        return f"{one} is as fast as {winner} within chance (ratio {ratio.value:.2f}, 95 %: {ratio.low:.2f} to {ratio.high:.2f})"
    if ratio.low > 1:
        return f"{one} is {ratio.value:.2f}x slower than {winner} (95 %: {ratio.low:.2f} to {ratio.high:.2f}): {winner} is shipped"
    fast, low, high = 1 / ratio.value, 1 / ratio.high, 1 / ratio.low
    return f"{one} is {fast:.2f}x faster than {winner} (95 %: {low:.2f} to {high:.2f}), and {winner} is shipped all the same"

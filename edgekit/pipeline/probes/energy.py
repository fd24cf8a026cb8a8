"""The probe ``energy``: what an inference costs by the board's own sensors. Nothing is estimated where there are none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import msgspec

from edgekit import validity
from edgekit.mean import Mean, mean
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe, Unsupported, unsupported
from edgekit.pipeline.undertest import UnderTest
from edgekit.throttle import BoardState
from edgekit.validity import Runtime, States, Warmup, Watch, Word

__all__ = ["PROBE", "Spent", "judge"]

# Beside the phases: loading, warming up, settling.
_EXTRA_S = 600.0
_IDLE_MOVED_MAX = 0.2
"""Of what the load adds: beyond it, it is not clear what to subtract. Our own choice."""


class EnergyOptions(Options, frozen=True):
    """Measure the energy of one inference of the current release on DEVICE, by the power sensors on the board.

    Power is read on a core that is not timed: with the model loaded and idle, while it infers without a pause, and idle again. Exits with 8
    where the board has no sensors.
    """

    idle_s: Annotated[float, msgspec.Meta(ge=0.5, le=600, description="Seconds to idle, before and after.")] = 5.0
    load_s: Annotated[float, msgspec.Meta(ge=0.5, le=3600, description="Seconds to infer.")] = 10.0
    period_s: Annotated[float, msgspec.Meta(ge=0.02, le=1, description="Seconds between two readings.")] = 0.1


class Spent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer: how many inferences in how long; the power is in the states."""

    unsupported: None
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
    seconds: Annotated[float, msgspec.Meta(ge=1e-6, le=86_400)]
    warmup: Warmup
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    states: States
    watch: Watch
    runtime: Runtime
    delegate: Word | None


def judge(answer: Spent, *, cores: int, simulated: bool) -> Findings:
    """Return the energy of an inference by each rail: (mean load - mean idle) x time / inferences, with its 99 % interval.

    The interval is that of the means (`edgekit.mean`), the idle one being the middle of before and
    after. Rails are parts of the board or the whole of it, by their names; none is added to
    another, as a rail may feed others.
    """
    broken = validity.broken(answer.states, cores=cores, simulated=simulated, measured=frozenset({"load"}))
    broken |= answer.warmup.broken()
    rails = {rail: _rail(answer.states, rail) for rail in sorted({rail for state in answer.states for rail in state.power_w})}
    known = {rail: means for rail, means in rails.items() if means}
    for rail, (before, load, after) in known.items():
        added = load.value - (before.value + after.value) / 2
        if added > load.half_width and abs(after.value - before.value) > _IDLE_MOVED_MAX * added:
            broken["idle_moved"] = f"{rail} idled at {before.value:.3f} W before and {after.value:.3f} W after"
    rule = next(iter(broken), None)
    found: list[Measurement] = []
    unclear = []
    each_s = answer.seconds / answer.count
    for rail, (before, load, after) in known.items():
        idle, idle_half = (before.value + after.value) / 2, math.hypot(before.half_width, after.half_width) / 2
        energy, half = 1e3 * (load.value - idle) * each_s, 1e3 * math.hypot(load.half_width, idle_half) * each_s
        bounds = {"low_mj": energy - half, "high_mj": energy + half} if math.isfinite(half) else {}
        found.append(Measurement(f"energy {rail}", energy, "mJ", load.n, rule is None, rule, bounds))
        figures = {"idle_before": before.value, "idle_after": after.value}
        found.append(Measurement(f"power {rail}", load.value, "W", load.n, rule is None, rule, figures))
        if not energy - half > 0:
            unclear.append(rail)
    found.append(Measurement("inferences", answer.count / answer.seconds, "1/s", answer.count, rule is None, rule))
    return Findings(
        measurements=(*found, *validity.figures(answer.states)),
        verdicts=_verdicts(broken, len(known), unclear),
        samples={f"power {rail}_mw": tuple(round(1e3 * s.power_w[rail]) for s in answer.states if rail in s.power_w) for rail in known},
        environment={
            **answer.runtime.words(answer.delegate),
            "threads": str(answer.threads),
            **validity.words(answer.states, answer.watch),
            "subtracted": "the mean of idling before and after, with the model loaded",
        },
        states=answer.states,
    )


def _rail(states: Sequence[BoardState], rail: str) -> tuple[Mean, Mean, Mean] | None:
    """Return the mean power before, under load and after; None where one was not read."""
    series = [
        [state.power_w[rail] for state in states if state.phase == phase and rail in state.power_w]
        for phase in ("idle-before", "load", "idle-after")
    ]
    before, load, after = series
    return (mean(before), mean(load), mean(after)) if before and load and after else None


def _verdicts(broken: dict[str, str], rails: int, unclear: list[str]) -> tuple[Verdict, ...]:
    if broken:
        return (Verdict("energy", "invalid", "; ".join(broken.values()), broken),)
    if not rails:
        return (Verdict("energy", "invalid", "unsupported: no power sensor answered in every phase", {"unsupported": "no readings"}),)
    if len(unclear) == rails:
        return (Verdict("energy", "inconclusive", "no rail tells the load from idling: measure longer", {"rails": rails}),)
    return ()


def _measure(under: UnderTest, options: EnergyOptions, progress: Progress) -> Findings:
    answer = under.job(
        "probe.energy",
        timeout_s=2 * options.idle_s + options.load_s + _EXTRA_S,
        progress=progress,
        idle_s=options.idle_s,
        load_s=options.load_s,
        period_s=options.period_s,
    )
    if answer.get("unsupported") is not None:
        return unsupported("energy", under.read(answer, Unsupported, "probe.energy"))
    return judge(under.read(answer, Spent, "probe.energy"), cores=under.facts.cores, simulated=under.simulated)


PROBE = Probe("energy", EnergyOptions, _measure)

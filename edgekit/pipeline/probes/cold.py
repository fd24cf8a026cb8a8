"""The probe ``cold``: how long a fresh process takes to the first answer. Each is one job of the agent, which is a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import numpy as np

from edgekit import validity
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.statistics import percentile_bound
from edgekit.validity import Runtime, States, Watch, Word

__all__ = ["PROBE", "Start", "judge"]

_NS_PER_MS = 1e6
_TIMEOUT_S = 600.0
_STAGES = ("import", "load", "first_invoke", "second_invoke")

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400 * 10**9)]


class ColdOptions(Options, frozen=True):
    """Measure how long the current release on DEVICE takes from a fresh process to its first answer.

    Each start imports the runtime, loads the model and runs it twice. Files are in the page cache from the second start on; the first
    one is told apart.
    """

    processes: Annotated[int, msgspec.Meta(ge=2, le=1000, description="Fresh processes; 11 bound a median.")] = 20


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer: one start."""

    times_ns: dict[str, _Nanoseconds]
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    runtime: Runtime
    delegate: Word | None
    states: States
    watch: Watch

    def __post_init__(self) -> None:
        if set(self.times_ns) != set(_STAGES):
            raise ValueError(f"a start has the times {', '.join(_STAGES)}")


def judge(starts: Sequence[Start], *, cores: int, simulated: bool) -> Findings:
    """Return each stage's median over all starts but the first, with its bounds, and whether they may be believed.

    Parameters
    ----------
    starts
        In their order, two at least.
    """
    states = tuple(state for start in starts for state in start.states)
    broken = validity.broken(states, cores=cores, simulated=simulated, measured=frozenset({"cold"}))
    rule = next(iter(broken), None)
    series = {stage: [start.times_ns[stage] for start in starts] for stage in _STAGES}
    series["cold_start"] = [sum(start.times_ns[stage] for stage in _STAGES[:3]) for start in starts]
    found = []
    for name, (first, *later) in series.items():
        bound = percentile_bound(np.sort(np.array(later, np.int64)), 0.5)
        details = {f"{end}_ms": ns and ns / _NS_PER_MS for end, ns in (("lower", bound.lower_ns), ("upper", bound.upper_ns))}
        ends = {"first_ms": first / _NS_PER_MS, "max_ms": max(later) / _NS_PER_MS, "needs": bound.needs}
        figures = {**details, **ends}
        found.append(Measurement(f"{name}_p50", bound.estimate_ns / _NS_PER_MS, "ms", len(later), rule is None, rule, figures))
    one = starts[0]
    return Findings(
        measurements=(*found, *validity.figures(states)),
        verdicts=(Verdict("cold", "invalid", "; ".join(broken.values()), broken),) if broken else (),
        samples={f"{name}_ns": tuple(values) for name, values in series.items()},
        environment={**one.runtime.words(one.delegate), "threads": str(one.threads), **validity.words(states, one.watch)},
        states=states,
    )


def _measure(under: UnderTest, options: ColdOptions, progress: Progress) -> Findings:
    starts = []
    for place in range(options.processes):
        progress("start", place, options.processes)
        answer = under.job("probe.cold", timeout_s=_TIMEOUT_S, progress=progress)
        starts.append(under.read(answer, Start, "probe.cold"))
    return judge(starts, cores=under.facts.cores, simulated=under.simulated)


PROBE = Probe("cold", ColdOptions, _measure)

"""The probe ``ops``: how long each operator takes, by the runtime's own profiler."""

from __future__ import annotations

from collections import defaultdict
from statistics import median
from typing import Annotated

import msgspec

from edgekit.measurement import Figures, Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe, Unsupported, unsupported
from edgekit.pipeline.undertest import UnderTest
from edgekit.validity import Runtime, Word

__all__ = ["PROBE", "Profile", "judge"]

_TIMEOUT_S = 3600.0
_NS_PER_MS = 1e6
_NODES_SHOWN = 20

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400 * 10**9)]


class OpsOptions(Options, frozen=True):
    """Tell how long each operator of the current release on DEVICE takes, where its runtime does.

    Measured under the runtime's profiler, which takes time of its own: shares count, sums do not.
    Exits with 8 where the runtime tells nothing.
    """

    runs: Annotated[int, msgspec.Meta(ge=5, le=1000, description="Runs to profile.")] = 50


class Node(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One node of the graph that ran, and its time in each run."""

    name: Word
    op: Word
    times_ns: Annotated[list[_Nanoseconds], msgspec.Meta(min_length=1, max_length=1000)]


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer."""

    unsupported: None
    runs: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    nodes: Annotated[list[Node], msgspec.Meta(min_length=1, max_length=100_000)]
    runtime: Runtime


def judge(answer: Profile, *, simulated: bool) -> Findings:
    """Return each operator type's share of the time, and the slowest nodes; medians over runs."""
    rule = "simulated" if simulated else None
    by_op: dict[str, list[float]] = defaultdict(list)
    nodes = sorted(((median(node.times_ns), node) for node in answer.nodes), key=lambda pair: -pair[0])
    for time_ns, node in nodes:
        by_op[node.op].append(time_ns)
    total = sum(time_ns for time_ns, _ in nodes) or 1.0
    found = [Measurement("profiled", total / _NS_PER_MS, "ms", answer.runs, rule is None, rule, {"nodes": len(nodes)})]
    for op, times in sorted(by_op.items(), key=lambda item: -sum(item[1])):
        details = {"ms": sum(times) / _NS_PER_MS, "nodes": len(times)}
        found.append(Measurement(f"op {op}", sum(times) / total, "1", answer.runs, rule is None, rule, details))
    for time_ns, node in nodes[:_NODES_SHOWN]:
        about: Figures = {"op": node.op, "share": time_ns / total, "max_ms": max(node.times_ns) / _NS_PER_MS}
        found.append(Measurement(f"node {node.name}", time_ns / _NS_PER_MS, "ms", len(node.times_ns), rule is None, rule, about))
    return Findings(
        measurements=tuple(found),
        verdicts=(Verdict("ops", "invalid", "it was not measured on the board", {"simulated": True}),) if simulated else (),
        environment={**answer.runtime.words(None), "threads": str(answer.threads), "profiler": "on, and in the times"},
    )


def _measure(under: UnderTest, options: OpsOptions, progress: Progress) -> Findings:
    answer = under.job("probe.ops", timeout_s=_TIMEOUT_S, progress=progress, runs=options.runs)
    if answer.get("unsupported") is not None:
        return unsupported("ops", under.read(answer, Unsupported, "probe.ops"))
    return judge(under.read(answer, Profile, "probe.ops"), simulated=under.simulated)


PROBE = Probe("ops", OpsOptions, _measure)

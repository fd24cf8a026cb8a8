"""The probe ``throughput``: how many inferences a second a board keeps up, and how long each takes under that load."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgekit import validity
from edgekit.errors import DeviceError
from edgekit.mean import mean
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.statistics import drift, effective_count, percentile_bound
from edgekit.validity import DRIFT_MAX, Runtime, States, Warmup, Watch

__all__ = ["PROBE", "Load", "judge"]

_NS_PER_S, _NS_PER_MS = 1e9, 1e6
# Beside min_time_s: loading and warming up.
_EXTRA_S = 600.0
_PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400 * 10**9)]


class ThroughputOptions(Options, frozen=True):
    """Measure how many inferences a second the current release on DEVICE keeps up.

    Streams run beside each other in one process, each with its own copy of the model and --threads
    threads. Inputs are set once: preprocessing is not in the figures. Exits with 8 when they are
    not valid, and says why.
    """

    streams: Annotated[int, msgspec.Meta(ge=1, le=64, description="Runners beside each other.")] = 1
    min_time_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600, description="Seconds to measure.")] = 10.0


class Load(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer: inferences that ended in each of equal spans, and the times of each stream's."""

    streams: Annotated[int, msgspec.Meta(ge=1, le=64)]
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    batch: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    warmup: Warmup
    span_ns: Annotated[list[Annotated[int, msgspec.Meta(ge=1, le=86_400 * 10**9)]], msgspec.Meta(min_length=2, max_length=10_000)]
    span_count: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]], msgspec.Meta(min_length=2, max_length=10_000)]
    invoke_ns: Annotated[list[Annotated[list[_Nanoseconds], msgspec.Meta(max_length=1_000_000)]], msgspec.Meta(max_length=64)]
    peak_rss_bytes: Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]
    runtime: Runtime
    delegate: validity.Word | None
    states: States
    watch: Watch


def judge(load: Load, *, address: str, cores: int, simulated: bool) -> Findings:
    """Return rates and latencies, and whether they may be believed.

    The rate's interval is Student's over the spans (batch means), at 99 %. A percentile under load is over all streams;
    its bounds count their runs as worth what one stream's are, as streams that share cores wait for each other.

    Raises
    ------
    DeviceError
        The answer contradicts itself.
    """
    if len(load.span_ns) != len(load.span_count) or len(load.invoke_ns) != load.streams:
        raise DeviceError(f"{address}: the answer to probe.throughput contradicts itself", fix=f"edgekit deploy {address}")
    broken = validity.broken(load.states, cores=cores, simulated=simulated, measured=frozenset({"throughput"}))
    rates = [count * _NS_PER_S / span for count, span in zip(load.span_count, load.span_ns, strict=True)]
    total, (change, low, high) = sum(load.span_count), drift(rates)
    broken |= load.warmup.broken()
    if abs(change) > DRIFT_MAX and (low > 0 or high < 0):
        broken["drifting"] = f"the rate drifted by {change:+.1%} during the run"
    rule = next(iter(broken), None)
    rate = mean(rates)
    bounds = {"low_per_s": rate.value - rate.half_width, "high_per_s": rate.value + rate.half_width} if rate.half_width < 1e300 else {}
    value = total * _NS_PER_S / sum(load.span_ns)
    found = [Measurement("throughput", value, "1/s", total, rule is None, rule, {**bounds, "spans": len(rates), "drift": change})]
    if load.batch > 1:
        found.append(Measurement("throughput_samples", value * load.batch, "1/s", total, rule is None, rule, {"batch": load.batch}))
    worth = sum(effective_count(series) for series in load.invoke_ns if series) / load.streams
    merged = sorted(value for series in load.invoke_ns for value in series)
    for name, p in _PERCENTILES.items() if merged else ():
        bound = percentile_bound(merged, p, n_eff=worth)
        details = {f"{end}_ms": ns and ns / _NS_PER_MS for end, ns in (("lower", bound.lower_ns), ("upper", bound.upper_ns))}
        figures = {**details, "needs": bound.needs}
        found.append(Measurement(f"loaded_{name}", bound.estimate_ns / _NS_PER_MS, "ms", len(merged), rule is None, rule, figures))
    if broken:
        verdict = [Verdict("throughput", "invalid", "; ".join(broken.values()), broken)]
    elif not total:
        verdict = [Verdict("throughput", "inconclusive", "no inference ended while it was measured: raise --min-time")]
    else:
        verdict = []
    found.append(Measurement("peak_rss", load.peak_rss_bytes / (1 << 20), "MiB", 1))
    return Findings(
        measurements=(*found, *validity.figures(load.states)),
        verdicts=tuple(verdict),
        samples={f"stream{place}_ns": tuple(series) for place, series in enumerate(load.invoke_ns) if series},
        environment={
            **load.runtime.words(load.delegate),
            "threads": str(load.threads),
            "streams": str(load.streams),
            **validity.words(load.states, load.watch),
        },
        states=load.states,
    )


def _measure(under: UnderTest, options: ThroughputOptions, progress: Progress) -> Findings:
    answer = under.job(
        "probe.throughput",
        timeout_s=options.min_time_s + _EXTRA_S,
        progress=progress,
        streams=options.streams,
        min_time_s=options.min_time_s,
    )
    load = under.read(answer, Load, "probe.throughput")
    return judge(load, address=under.address, cores=under.facts.cores, simulated=under.simulated)


PROBE = Probe("throughput", ThroughputOptions, _measure)

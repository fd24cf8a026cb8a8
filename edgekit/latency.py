"""From the agent's answer to ``probe.latency`` to measurements, and whether they may be believed.

The pipeline calls ``latency_measurements`` with what the board sent. The answer is not trusted: it
is parsed strictly and within bounds before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from edgekit import validity
from edgekit.errors import DeviceError
from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.statistics import LatencySummary, summary
from edgekit.validity import DRIFT_MAX, Runtime, States, Warmup, Watch, Word

__all__ = ["latency_measurements"]

_NS_PER_MS = 1e6

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400 * 10**9)]
_Series = Annotated[list[_Nanoseconds], msgspec.Meta(min_length=1, max_length=2_000_000)]
_SeriesOrNone = Annotated[list[_Nanoseconds], msgspec.Meta(max_length=2_000_000)]
_OF_A_STAGE = ("_p50", "_p99")
"""What is told of a stage; its series is in the samples."""
_MEASURED = frozenset({"invoke", "end-to-end", "trtexec"})
_Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class _Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole answer.

    ``invoke_ns`` is the runtime alone, on a GPU with the copies to and from it; ``parts_ns`` are
    the device's own times of the copies in, the computing and the copies out. ``end_to_end_ns`` is
    from raw sample to output, and empty where no sample was run; ``stages_ns`` is what it holds
    beside the invoke, ``fed`` says what was run. ``capped`` says that a series ended at the most
    the agent keeps, before its minimum time or count.
    """

    import_ns: _Nanoseconds | None
    load_ns: _Nanoseconds | None
    first_invoke_ns: _Nanoseconds | None
    warmup: Warmup
    invoke_ns: _Series
    parts_ns: dict[Literal["h2d", "compute", "d2h"], _Series]
    end_to_end_ns: _SeriesOrNone
    stages_ns: dict[Literal["preprocess", "set", "get"], _Series]
    capped: bool
    peak_rss_bytes: _Bytes
    gpu_memory_bytes: _Bytes | None
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    runtime: Runtime
    delegate: Word | None
    fed: Word
    states: States
    watch: Watch


def _drifting(series: Mapping[str, LatencySummary]) -> dict[str, str]:
    """Return the rule ``drifting``: the run changed by more than 3 % from start to end (Theil-Sen), and not by chance (99 %)."""
    for name in ("invoke", "end_to_end"):
        one = series.get(name)
        if one and abs(one.drift) > DRIFT_MAX and (one.drift_low > 0 or one.drift_high < 0):
            return {"drifting": f"{name} drifted by {one.drift:+.1%} during the run"}
    return {}


def latency_measurements(
    data: Mapping[str, Any], *, address: str, cores: int, simulated: bool, p99_budget_ms: float | None = None
) -> Findings:
    """Turn a latency run into measurements, with a verdict when it is invalid or there is a budget.

    Parameters
    ----------
    data
        The agent's answer, as decoded from JSON.
    address
        The device, for the error.
    cores
        Cores of the board, by its facts.
    p99_budget_ms
        The most the 99th percentile of ``invoke`` may be; preprocessing is not counted. Passed
        when the percentile's upper bound is within it, failed when its lower bound is over it,
        both at 99 %.

    Raises
    ------
    DeviceError
        The answer is not what this agent's should be.
    """
    try:
        run = msgspec.convert(data, _Run)
    except msgspec.ValidationError as error:
        raise DeviceError(f"{address}: the answer to probe.latency is malformed: {error}", fix=f"edgekit deploy {address}") from error
    raw: dict[str, list[int]] = {
        "invoke": run.invoke_ns,
        **{str(part): values for part, values in run.parts_ns.items()},
        "end_to_end": run.end_to_end_ns,
        **{str(stage): values for stage, values in run.stages_ns.items()},
    }
    series = {name: summary(values) for name, values in raw.items() if values}
    broken = validity.broken(run.states, cores=cores, simulated=simulated, measured=_MEASURED)
    broken |= run.warmup.broken() | _drifting(series)
    rule = next(iter(broken), None)
    once = {"import": run.import_ns, "load": run.load_ns, "first_invoke": run.first_invoke_ns}
    times = [Measurement(name, value / _NS_PER_MS, "ms", 1, not broken, rule) for name, value in once.items() if value is not None]
    for name, one in series.items():
        figures = _series_measurements(name, one, rule)
        times += [figure for figure in figures if name not in run.stages_ns or figure.name.endswith(_OF_A_STAGE)]
    verdicts = []
    if broken:
        verdicts.append(Verdict("latency", "invalid", "; ".join(broken.values()), broken))
    elif p99_budget_ms is not None:
        verdicts.append(_p99_verdict(series["invoke"], p99_budget_ms))
    state = [Measurement("peak_rss", run.peak_rss_bytes / (1 << 20), "MiB", 1)]
    if run.gpu_memory_bytes is not None:
        state.append(Measurement("gpu_memory", run.gpu_memory_bytes / (1 << 20), "MiB", 1))
    state += validity.figures(run.states)
    return Findings(
        measurements=(*times, *state),
        verdicts=tuple(verdicts),
        samples={f"{name}_ns": tuple(values) for name, values in raw.items() if values},
        environment=_environment(run),
        states=run.states,
    )


def _series_measurements(name: str, one: LatencySummary, rule: str | None) -> list[Measurement]:
    """Return the figures of one series; a percentile carries its bounds."""

    def ms(value: float | None) -> float | None:
        return None if value is None else value / _NS_PER_MS

    def measured(suffix: str, value: float | None, unit: str, **details: float | None) -> Measurement:
        return Measurement(f"{name}_{suffix}", value, unit, one.n, rule is None, rule, details)

    ratios = {"cov": one.cov, "lag1": one.lag1, "n_eff": one.n_eff}
    drift = {"drift": one.drift, "drift_low": one.drift_low, "drift_high": one.drift_high}
    return [
        measured("min", ms(one.min_ns), "ms"),
        *(
            measured(key, ms(bound.estimate_ns), "ms", lower_ms=ms(bound.lower_ns), upper_ms=ms(bound.upper_ns), needs=bound.needs)
            for key, bound in one.percentiles.items()
        ),
        measured("max", ms(one.max_ns), "ms"),
        measured("mean", ms(one.mean_ns), "ms", **ratios, **drift),
    ]


def _p99_verdict(invoke: LatencySummary, budget_ms: float) -> Verdict:
    """Judge the 99th percentile of the bare invocation against a budget."""
    bound = invoke.percentiles["p99"]
    figures = {
        "p99_ms": bound.estimate_ns / _NS_PER_MS,
        "lower_ms": None if bound.lower_ns is None else bound.lower_ns / _NS_PER_MS,
        "upper_ms": None if bound.upper_ns is None else bound.upper_ns / _NS_PER_MS,
        "budget_ms": budget_ms,
        "n": invoke.n,
        "needs": bound.needs,
    }
    upper, lower = figures["upper_ms"], figures["lower_ms"]
    if upper is not None and upper <= budget_ms:
        return Verdict("latency_p99", "pass", f"p99 of invoke is at most {upper:.3f} ms, budget {budget_ms:g} ms", figures)
    if lower is not None and lower > budget_ms:
        return Verdict("latency_p99", "fail", f"p99 of invoke is at least {lower:.3f} ms, budget {budget_ms:g} ms", figures)
    why = (
        f"{bound.needs} more samples are needed for a bound" if upper is None else f"its 99 % bounds lie on both sides of {budget_ms:g} ms"
    )
    return Verdict("latency_p99", "inconclusive", f"p99 of invoke is near {figures['p99_ms']:.3f} ms, but {why}", figures)


def _environment(run: _Run) -> dict[str, str]:
    """Return what the figures were measured with, in words."""
    words = {
        **run.runtime.words(run.delegate),
        "fed": "" if run.fed == "samples" else run.fed,
        "threads": str(run.threads),
        **validity.words(run.states, run.watch),
        "capped": "a series ended at the most samples kept" if run.capped else "",
    }
    return {key: word for key, word in words.items() if word}

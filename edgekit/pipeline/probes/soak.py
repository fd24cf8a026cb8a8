"""The probe ``soak``: minutes to days of inference, window by window. What came counts, however it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from edgekit import validity
from edgekit.errors import DeadlineError, DeviceError, LinkError
from edgekit.measurement import Findings, Measurement, Outcome, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.statistics import drift
from edgekit.throttle import BoardState
from edgekit.validity import Runtime, Warmup, Watch, Word

__all__ = ["INTERRUPTED", "PROBE", "Begun", "Ended", "Window", "judge"]

INTERRUPTED = "interrupted"
"""Why a soak ended that its user has stopped: ``ended`` in the report's environment."""

_NS_PER_MS = 1e6
# Beside the soak itself: loading and warming up.
_EXTRA_S = 600.0
_WINDOWS_MIN = 7
"""Fewer give a drift no interval, see `edgekit.statistics.drift`."""

_ABSOLUTE_C = 273.15
"""Added to temperatures: a drift is a share of the median, which on a cold board may be 0 degrees or less."""

_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=86_400 * 10**9)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e8)]
_Length = Annotated[float, msgspec.Meta(ge=1e-6, le=1e8)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]


class SoakOptions(Options, frozen=True):
    """Run the current release on DEVICE for a long time, and see whether it becomes slower, or the board hotter.

    Fails when the windows' medians drifted by more than --drift-max from the first to the last. A lost link, or Ctrl-C, ends it early: the
    report then holds what came, and says so. A release that does not go on has failed.
    """

    minutes: Annotated[float, msgspec.Meta(ge=0.01, le=20_160, description="Minutes to run.")] = 10.0
    window_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600, description="Seconds that one line of figures stands for.")] = 10.0
    drift_max: Annotated[float, msgspec.Meta(gt=0, le=10, description="Slow-down to fail at, as a fraction.")] = 0.03


class Begun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first part of the agent's answer."""

    warmup: Warmup
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    runtime: Runtime
    delegate: Word | None
    state: BoardState
    watch: Watch


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part for each window: how many inferences there were, and quantiles of their times."""

    start_s: _Seconds
    seconds: _Length
    count: Annotated[int, msgspec.Meta(ge=1, le=1 << 40)]
    invoke_ns: dict[str, _Nanoseconds]
    rss_pages: _Count
    state: BoardState | None

    def __post_init__(self) -> None:
        if set(self.invoke_ns) != {"min", "p50", "p90", "p99", "max"}:
            raise ValueError("a window's times are min, p50, p90, p99 and max")


class Ended(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The end of the answer, when it came."""

    windows: _Count
    state: BoardState


def judge(
    begun: Begun,
    windows: Sequence[Window],
    ended: Ended | None,
    *,
    options: SoakOptions,
    cores: int,
    simulated: bool,
    early: str | None = None,
    died: bool = False,
) -> Findings:
    """Return what the windows say.

    Drifts are Theil-Sen slopes with Sen's 99 % interval (`edgekit.statistics.drift`): of the windows' medians, and of the temperature and
    the clock at each window's end.

    Parameters
    ----------
    early
        Why it ended before its time, or None.
    died
        It ended early because the release did not go on: a failure, where a lost link proves nothing.
    """
    states = (begun.state, *(window.state for window in windows if window.state), *((ended.state,) if ended else ()))
    broken = validity.broken(states, cores=cores, simulated=simulated, measured=frozenset({"soak"}))
    broken |= begun.warmup.broken()
    rule = next(iter(broken), None)
    medians = [window.invoke_ns["p50"] for window in windows]
    count, minutes = sum(window.count for window in windows), sum(window.seconds for window in windows) / 60
    enough, (change, low, high) = len(windows) >= _WINDOWS_MIN, drift(medians)

    def ms(name: str, value: float, **details: float | None) -> Measurement:
        return Measurement(name, value / _NS_PER_MS, "ms", count, rule is None, rule, details)

    ends: dict[str, float | None] = {"first_ms": medians[0] / _NS_PER_MS, "last_ms": medians[-1] / _NS_PER_MS}
    found = [
        ms("window_p50", float(np.median(medians)), windows=len(windows), **ends),
        ms("window_p99_max", max(window.invoke_ns["p99"] for window in windows)),
        ms("max", max(window.invoke_ns["max"] for window in windows)),
        Measurement(
            "drift", change if enough else None, "1", len(windows), rule is None, rule, {"low": low, "high": high} if enough else {}
        ),
        Measurement("minutes", minutes, "min", len(windows)),
        Measurement("rate", count / (60 * minutes), "1/s", count, rule is None, rule),
        Measurement("memory_growth", windows[-1].rss_pages / max(1, windows[0].rss_pages) - 1, "1", len(windows)),
    ]
    for name, unit, values, above in (("temperature", "degC", _temperatures(states), _ABSOLUTE_C), ("clock", "MHz", _clocks(states), 0.0)):
        if len(values) >= _WINDOWS_MIN:
            lifted = np.array(values) + above
            moved, *bounds = (part * float(np.median(lifted)) for part in drift(lifted))
            found.append(Measurement(f"{name}_change", moved, unit, len(values), details=dict(zip(("from", "to"), bounds, strict=True))))
    return Findings(
        measurements=(*found, *validity.figures(states)),
        verdicts=(_verdict(broken, (change, low, high), len(windows), minutes, options, early, died),),
        samples={
            **{f"window_{name}_ns": tuple(window.invoke_ns[name] for window in windows) for name in ("p50", "p99", "max")},
            "window_start_ms": tuple(int(window.start_s * 1000) for window in windows),
            "window_count": tuple(window.count for window in windows),
        },
        environment={
            **begun.runtime.words(begun.delegate),
            "threads": str(begun.threads),
            **validity.words(states, begun.watch),
            **({"ended": early} if early else {}),
        },
        states=states,
    )


def _verdict(
    broken: dict[str, str],
    changes: tuple[float, float, float],
    windows: int,
    minutes: float,
    options: SoakOptions,
    early: str | None,
    died: bool,
) -> Verdict:
    change, low, high = changes
    figures = {"drift": change, "low": low, "high": high, "drift_max": options.drift_max, "minutes": minutes, "windows": windows}
    so_far = f"after {minutes:.1f} of {options.minutes:g} min: {early}" if early else ""
    outcome: Outcome
    if died:
        return Verdict("soak", "fail", f"ended {so_far}", figures)
    if broken:
        why = "; ".join([*broken.values(), *([f"ended {so_far}"] if early else [])])
        return Verdict("soak", "invalid", why, {**broken, **figures})
    if windows >= _WINDOWS_MIN and low > options.drift_max:
        outcome, text = "fail", f"became slower by {change:+.1%} (at least {low:+.1%}) in {minutes:.1f} min"
    elif early:
        outcome, text = "inconclusive", f"ended {so_far}"
    elif windows < _WINDOWS_MIN:
        outcome, text = "inconclusive", f"{windows} windows are too few for a drift; {_WINDOWS_MIN} are needed"
    elif high > options.drift_max:
        outcome, text = "inconclusive", f"drifted by {change:+.1%}, which may be as much as {high:+.1%}: run longer"
    else:
        outcome, text = "pass", f"drifted by {change:+.1%} (at most {high:+.1%}) in {minutes:.1f} min"
    return Verdict("soak", outcome, text, figures)


def _temperatures(states: Sequence[BoardState]) -> list[float]:
    return [max(state.temperature_c.values()) for state in states if state.temperature_c and state.phase == "soak"]


def _clocks(states: Sequence[BoardState]) -> list[float]:
    return [state.timed.mhz for state in states if state.timed and state.timed.mhz and state.phase == "soak"]


def _measure(under: UnderTest, options: SoakOptions, progress: Progress) -> Findings:
    parts: list[Any] = []
    seconds, early, died, answer = 60 * options.minutes, None, False, None
    window_s = max(options.window_s, seconds / 9000)
    try:
        answer = under.job(
            "probe.soak", timeout_s=seconds + _EXTRA_S, progress=progress, on_part=parts.append, seconds=seconds, window_s=window_s
        )
    except (DeviceError, DeadlineError) as error:
        if len(parts) < 2:
            raise
        early, died = error.message.splitlines()[0], not isinstance(error, (LinkError, DeadlineError))
    except KeyboardInterrupt:
        if len(parts) < 2:
            raise
        early = INTERRUPTED
    ended = under.read(answer, Ended, "probe.soak") if early is None else None
    begun = under.read(parts[0] if parts else None, Begun, "probe.soak")
    windows = under.read(parts[1:], list[Window], "probe.soak")
    if not windows:
        raise DeviceError(f"{under.address}: probe.soak told of no window", fix=f"edgekit deploy {under.address}")
    return judge(begun, windows, ended, options=options, cores=under.facts.cores, simulated=under.simulated, early=early, died=died)


PROBE = Probe("soak", SoakOptions, _measure)

"""``Distribution`` and ``Timeline``: what is to be drawn, and how many samples become few without a lie.

``plot`` draws them. Their words are our own or made plain ASCII: a drawn letter needs a font that has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from edgekit.report import Report
from edgekit.throttle import BoardState

__all__ = [
    "Distribution",
    "Envelope",
    "Floats",
    "Percentile",
    "Series",
    "Timeline",
    "ascii_words",
    "curve",
    "described",
    "envelope",
    "series_of",
    "timeline",
]

_NS_PER_MS = 1e6
_RUN_MAX_S = 30 * 86_400.0

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Percentile:
    """A percentile with its bounds in milliseconds; ``p`` is a fraction."""

    name: str
    p: float
    estimate_ms: float
    lower_ms: float | None
    upper_ms: float | None


@dataclass(frozen=True)
class Distribution:
    """How a series of latencies spreads.

    Attributes
    ----------
    mark
        Why the figures may not be believed; drawn into the picture, which may be cut out of the page.
    """

    title: str
    samples_ms: Floats
    percentiles: tuple[Percentile, ...]
    budget_ms: float | None
    mark: str


@dataclass(frozen=True)
class Series:
    """A latency series in the order of measuring, over seconds.

    Attributes
    ----------
    high_ms
        Where each sample stands for a window of many: the 99th percentile in it.
    """

    name: str
    seconds: Floats
    samples_ms: Floats
    high_ms: Floats | None = None


@dataclass(frozen=True)
class Timeline:
    """Latency over time, and what the board said of itself meanwhile; all arrays of a kind are of one length.

    Attributes
    ----------
    seconds
        When the board was read; empty where it was not.
    temperature_c, cpu_mhz, gpu_mhz
        Of the hottest sensor; of the slowest and the fastest core, shape [n, 2]; NaN where the board could not say.
    slowed
        Where the board said that it was being slowed down.
    """

    title: str
    series: tuple[Series, ...]
    seconds: Floats
    temperature_c: Floats
    cpu_mhz: Floats
    gpu_mhz: Floats
    slowed: NDArray[np.bool_]
    budget_ms: float | None
    mark: str


@dataclass(frozen=True)
class Envelope:
    """A series in few buckets of equally many samples: no extreme is lost.

    Attributes
    ----------
    seconds
        The middle of each bucket.
    """

    seconds: Floats
    low: Floats
    median: Floats
    high: Floats


def ascii_words(text: str, length: int = 60) -> str:
    """Return words as they can be drawn: printable ASCII, and not too many."""
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in text)
    return plain if len(plain) <= length else f"{plain[: length - 3]}..."


def envelope(seconds: Floats, values: Floats, buckets: int) -> Envelope:
    """Return least, median and greatest of each bucket; under two samples a bucket, the samples themselves."""
    if len(values) <= 2 * buckets:
        return Envelope(seconds, values, values, values)
    edges = np.linspace(0, len(values), buckets + 1).astype(int)
    parts = [slice(start, end) for start, end in pairwise(edges)]
    return Envelope(
        np.array([(seconds[part][0] + seconds[part][-1]) / 2 for part in parts]),
        np.array([values[part].min() for part in parts]),
        np.array([np.median(values[part]) for part in parts]),
        np.array([values[part].max() for part in parts]),
    )


def curve(values: Floats, points: int) -> tuple[Floats, Floats]:
    """Return order statistics and how rare they are: sample i of n in ascending order, counted from 0, and log10(n / (n - i)).

    The points lie evenly on that scale, so the tail keeps every sample it has.
    """
    ordered, n = np.sort(values), len(values)
    rarity = np.linspace(0, np.log10(n), points)
    index = np.unique(np.concatenate((n - n / 10**rarity, np.arange(max(0, n - points // 4), n))).astype(int).clip(0, n - 1))
    return ordered[index], np.log10(n / (n - index))


def series_of(report: Report) -> dict[str, Floats]:
    """Return a report's series of times in milliseconds, by name."""
    found = {key.removesuffix("_ns"): values for key, values in report.samples.items() if key.endswith("_ns") and values}
    return {name: np.asarray(values, np.float64) / _NS_PER_MS for name, values in found.items()}


def timeline(report: Report, names: Sequence[str], title: str, budget_ms: float | None, mark: str) -> Timeline | None:
    """Place series of a report and its readings of the board on one axis; None where there are no samples.

    When each single inference began is not kept: its place is the sum of those before it. A series begins with the first reading of its
    phase; one that has none comes behind the one before, so that the last ends with the last reading.
    """
    states = _placed(report.states)
    first = states[0][0] if states else 0.0
    phases = {state.phase: moment - first for moment, state in reversed(states)}
    series = _windows(report, phases.get("soak", 0.0))
    if series is None:
        known = series_of(report)
        runs = {name: known[name] / 1e3 for name in names if name in known}
        begin = max(0.0, (states[-1][0] - first if states else 0.0) - sum(float(values.sum()) for values in runs.values()))
        series = []
        for name, seconds in runs.items():
            begin = max(phases.get(name.replace("_", "-"), begin), begin if series else 0.0)
            series.append(Series(ascii_words(name.replace("_", " "), 24), begin + np.cumsum(seconds), seconds * 1e3))
            begin = float(series[-1].seconds[-1])
    if not series:
        return None
    boards = [state for _, state in states]
    return Timeline(
        title=title,
        series=tuple(series),
        seconds=np.array([moment - first for moment, _ in states]),
        temperature_c=np.array([max(board.temperature_c.values(), default=np.nan) for board in boards]),
        cpu_mhz=np.array([[min(board.cpu_mhz, default=np.nan), max(board.cpu_mhz, default=np.nan)] for board in boards]).reshape(-1, 2),
        gpu_mhz=np.array([board.gpu.mhz if board.gpu else np.nan for board in boards]),
        slowed=np.array([bool(int(board.throttled or "0", 16) & 0xF) or bool(board.alarms) for board in boards], bool),
        budget_ms=budget_ms,
        mark=mark,
    )


_WINDOW = ("window_start_ms", "window_p50_ns", "window_p99_ns", "window_max_ns")


def _windows(report: Report, begin: float) -> list[Series] | None:
    """Return what a soak keeps of each window; None of a report that keeps every inference."""
    kept = [report.samples.get(key, ()) for key in _WINDOW]
    if not kept[0] or len({len(one) for one in kept}) > 1:
        return None
    start, median, p99, longest = (np.asarray(one, np.float64) for one in kept)
    seconds = begin + start / 1e3
    return [Series("median, to p99", seconds, median / _NS_PER_MS, p99 / _NS_PER_MS), Series("longest", seconds, longest / _NS_PER_MS)]


def _placed(states: Sequence[BoardState]) -> list[tuple[float, BoardState]]:
    """Return the readings with their Unix seconds; one whose clock was set meanwhile, or that tells none, has no place."""
    timed = [(float(state.time), state) for state in states if not isinstance(state.time, str)]
    return [(moment, state) for moment, state in timed if 0 <= moment - timed[0][0] <= _RUN_MAX_S]


def described(chart: Distribution | Timeline) -> str:
    """Say in a sentence what a chart shows, for those who cannot see it."""
    mark = f" Invalid: {chart.mark}." if chart.mark else ""
    if isinstance(chart, Timeline):
        spans = [f"{one.name} from {one.samples_ms.min():.4g} to {one.samples_ms.max():.4g} ms" for one in chart.series]
        if np.isfinite(chart.temperature_c).any():
            spans.append(
                f"the hottest sensor from {np.nanmin(chart.temperature_c):.1f} to {np.nanmax(chart.temperature_c):.1f} degrees Celsius"
            )
        if np.isfinite(chart.cpu_mhz).any():
            spans.append(f"CPU clocks from {np.nanmin(chart.cpu_mhz):.0f} to {np.nanmax(chart.cpu_mhz):.0f} MHz")
        return f"Over time: {', '.join(spans)}.{mark}"
    told = [
        f"{one.name} {one.estimate_ms:.4g}" + ("" if one.upper_ms is None else f", at most {one.upper_ms:.4g}") for one in chart.percentiles
    ]
    return f"{chart.title}: from {chart.samples_ms.min():.4g} to {chart.samples_ms.max():.4g} ms; {'; '.join(told)}.{mark}"

"""The history's newest figures in the forms of others: github-action-benchmark and Bencher. Called by ``edgekit history --export``.

Neither form knows of a figure that is not valid, so none is handed over; who calls is told what was left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from edgekit.errors import InputError
from edgekit.pipeline.history import Point

__all__ = ["FORMS", "Exported", "export", "left_out"]

Exported = list[dict[str, Any]] | dict[str, Any]

_SMALLER = {"ms", "s", "B", "MB", "MiB", "mJ", "J", "mW", "W"}
_SMALLER_NAMES = ("disagreement", "changed", "different", "wer", "cer")
_BIGGER = {"dB", "1/s", "Hz"}
_BIGGER_NAMES = ("top1", "top5", "map", "miou", "f1", "auc", "cosine", "agreement")
_PLAIN_MAX = 8
_MEASURE_MAX = 64
"""Letters of a measure's name (bencher.dev, "Bencher Metric Format")."""


def export(points: Sequence[Point], form: str, *, simulated: bool) -> Exported:
    """Return the figures of the newest run of each application and device.

    Parameters
    ----------
    form
        One of `FORMS`.
    simulated
        Hand over, marked in their names, those from devices that stand in for a board, too.

    Raises
    ------
    InputError
        There is nothing to hand over.
    """
    wanted = [point for point in _newest(points) if point.rule is None and point.value is not None and (simulated or not point.simulated)]
    found = FORMS[form](wanted)
    if not found:
        raise InputError(f"nothing to export: {left_out(points, simulated=simulated) or 'no figure of this kind'}", fix="edgekit history")
    return found


def left_out(points: Sequence[Point], *, simulated: bool) -> str:
    """Say which figures of the newest runs are not handed over, and why; empty where all are."""
    newest = _newest(points)
    broken = [point for point in newest if point.rule is not None]
    rules = ", ".join(sorted({str(point.rule) for point in broken}))
    valid = [point for point in newest if point.rule is None]
    stand_ins = 0 if simulated else sum(point.simulated for point in valid)
    plain = [point.metric for point in valid if not (_smaller(point) or _bigger(point)) and (simulated or not point.simulated)]
    parts = [
        f"{len(broken)} figures are not valid ({rules})" if broken else "",
        f"{stand_ins} come from a device that stands in for a board (--simulated)" if stand_ins else "",
        f"{len(plain)} are neither better when less nor when more ({', '.join(sorted(set(plain))[:_PLAIN_MAX])})" if plain else "",
    ]
    return "; ".join(filter(None, parts))


def _newest(points: Sequence[Point]) -> list[Point]:
    last = {(point.app, point.device): point.run for point in points}
    return [point for point in points if last[point.app, point.device] == point.run]


def _smaller(point: Point) -> bool:
    return point.unit in _SMALLER or _figure(point).startswith(_SMALLER_NAMES)


def _bigger(point: Point) -> bool:
    return not _smaller(point) and (point.unit in _BIGGER or _figure(point).startswith(_BIGGER_NAMES))


def _figure(point: Point) -> str:
    return point.metric.partition(".")[2]


def _benchmark(better: Callable[[Point], bool]) -> Callable[[Sequence[Point]], Exported]:
    """Return the writer of ``customSmallerIsBetter`` or ``customBiggerIsBetter`` (github-action-benchmark, README, "Custom benchmarks")."""

    def form(points: Sequence[Point]) -> Exported:
        return [
            {
                "name": f"{point.app}/{_device(point)}/{point.metric}",
                "unit": point.unit,
                "value": point.value,
                **({"range": f"{point.low:.6g} .. {point.high:.6g}"} if point.low is not None and point.high is not None else {}),
                "extra": f"n = {point.n}\nrelease = {(point.release or '')[:12]}\nrun = {point.run}",
            }
            for point in points
            if better(point)
        ]

    return form


def _bencher(points: Sequence[Point]) -> Exported:
    """Return Bencher's metric format (bencher.dev, "Bencher Metric Format"); a measure's unit is part of its name."""
    found: dict[str, Any] = {}
    for point in points:
        if not (_smaller(point) or _bigger(point)):
            continue
        unit = "" if point.unit == "1" else f"-{point.unit}"
        measure = re.sub(r"[^a-z0-9]+", "-", f"{point.metric}{unit}".lower()).strip("-")[:_MEASURE_MAX]
        bounds = {"lower_value": point.low, "upper_value": point.high}
        figures = {"value": point.value, **{name: value for name, value in bounds.items() if value is not None}}
        found.setdefault(f"{point.app} on {_device(point)}", {})[measure] = figures
    return found


def _device(point: Point) -> str:
    return f"{point.device} (simulated)" if point.simulated else point.device


FORMS: dict[str, Callable[[Sequence[Point]], Exported]] = {
    "github-action-benchmark": _benchmark(_smaller),
    "github-action-benchmark-bigger": _benchmark(_bigger),
    "bencher": _bencher,
}
"""github-action-benchmark wants figures where less is better and those where more is in files of their own."""

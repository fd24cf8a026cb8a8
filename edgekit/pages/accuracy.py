"""What a page says of accuracy: the float network, INT8 on the host and INT8 on devices, side by side."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from edgekit.measurement import Measurement
from edgekit.pages.number import bounds, confidence, count, interval, of_measurement, signed
from edgekit.pages.outline import Block, Row, Table, table
from edgekit.pages.saved import SavedReport
from edgekit.report import Report

__all__ = ["blocks", "shown"]

_ROLE = re.compile(r"(?P<metric>.+)_(?P<role>float|artifact|delta)")
_SLICE = re.compile(r"(?P<metric>.+?)_(?P<role>artifact|delta)\[.*", re.DOTALL)
_DIFFERS = ("disagreement", "changed")
"""Share of samples whose answer is not the float network's: of classes, of any other metric."""


def _metrics(report: Report) -> dict[str, dict[str, Measurement]]:
    """Return the metrics that compare float with an artifact: name -> role -> measurement."""
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in report.measurements:
        if name := _ROLE.fullmatch(measurement.name):
            found.setdefault(name["metric"], {})[name["role"]] = measurement
    return {metric: roles for metric, roles in found.items() if {"float", "artifact"} <= set(roles) and roles["float"].unit == "1"}


def shown(report: Report) -> set[str]:
    """Return the names of the measurements that stand here."""
    metrics = _metrics(report)
    names = {measurement.name for roles in metrics.values() for measurement in roles.values()}
    names |= {measurement.name for of in _slices(report).values() for roles in of.values() for measurement in roles.values()}
    return names | set(_DIFFERS) if metrics else names


def _slices(report: Report) -> dict[str, dict[str, dict[str, Measurement]]]:
    """Return what is known of slices: metric -> slice -> role -> measurement."""
    found: dict[str, dict[str, dict[str, Measurement]]] = {}
    for measurement in report.measurements:
        chosen = measurement.details.get("slice")
        if isinstance(chosen, str) and (name := _SLICE.fullmatch(measurement.name)):
            found.setdefault(name["metric"], {}).setdefault(chosen, {})[name["role"]] = measurement
    return found


def blocks(reports: Sequence[SavedReport]) -> tuple[Block, ...]:
    """Return a block for each metric, with all reports that know it."""
    metrics = list(dict.fromkeys(metric for one in reports for metric in _metrics(one.report)))
    found = []
    for metric in metrics:
        tables = [_table(metric, reports)]
        tables += [_slice_table(one, slices) for one in reports if (slices := _slices(one.report).get(metric))]
        found.append(Block("", _metric_words(metric), tables=tuple(tables)))
    return tuple(found)


def _table(metric: str, reports: Sequence[SavedReport]) -> Table:
    known = [(one, _metrics(one.report)[metric]) for one in sorted(reports, key=_is_device) if metric in _metrics(one.report)]
    every = [measurement for _, roles in known for measurement in roles.values()]
    rows, said = [], set()
    for one, roles in known:
        before, after, delta = roles["float"], roles["artifact"], roles.get("delta")
        if (before.value, before.n) not in said:
            said.add((before.value, before.n))
            none = ("–", "–", "–")
            rows.append(
                Row(("float, on the host", of_measurement(before), bounds(before) or "–", *none, count(before.n)), before.rule or "")
            )
        change = "–" if delta is None else _change(delta)
        likely = "–" if delta is None else interval(delta.details, sign=True)
        cells = (_where(one), of_measurement(after), bounds(after) or "–", change, likely, _differs(one.report), count(after.n))
        rows.append(Row(cells, after.rule or ""))
    share = confidence(every, "Interval")
    return table("", ("", _metric_words(metric), share, "Change, points", f"{share} of it", "Differs from float", "n"), rows)


def _slice_table(one: SavedReport, slices: Mapping[str, Mapping[str, Measurement]]) -> Table:
    """Return a row for each slice; one of too few samples says so."""
    rows = []
    for chosen, roles in slices.items():
        after, delta = roles.get("artifact"), roles.get("delta")
        if after is None:
            continue
        change = ("–", "–") if delta is None else (_change(delta), interval(delta.details, sign=True))
        few = "too few samples" if after.details.get("too_small") else ""
        rows.append(Row((chosen, of_measurement(after), bounds(after) or "–", *change, count(after.n), few), after.rule or ""))
    share = confidence([measurement for roles in slices.values() for measurement in roles.values()], "Interval")
    columns = ("Slice", "Value", share, "Change, points", f"{share} of it", "n", "Note")
    return table(f"By slice, {_where(one)}", columns, rows, words=("Note",))


def _is_device(one: SavedReport) -> bool:
    return one.report.device is not None


def _where(one: SavedReport) -> str:
    device = one.report.device
    place = f"on {device.name}" if device else "on the host"
    return f"INT8, {place}{' (simulated)' if one.report.simulated else ''}"


def _change(delta: Measurement) -> str:
    return "–" if delta.value is None else signed(delta.value)


def _differs(report: Report) -> str:
    found = next((m for m in report.measurements if m.name in _DIFFERS), None)
    return "–" if found is None else of_measurement(found)


_METRICS = {
    "top1": "Top-1",
    "top5": "Top-5",
    "map": "mAP",
    "miou": "mIoU",
    "f1": "F1",
    "wer": "Word errors",
    "cer": "Character errors",
    "auc": "AUC",
}


def _metric_words(metric: str) -> str:
    return _METRICS.get(metric, metric.replace("_", " "))

"""What a page says of latency: each series with its percentiles and their bounds, and its course over time."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.measurement import Measurement
from edgekit.pages.chart import Distribution, Percentile, ascii_words, series_of, timeline
from edgekit.pages.number import count, decimals, figure_of, fixed
from edgekit.pages.outline import Block, Row, Table, table
from edgekit.pages.saved import SavedReport
from edgekit.report import Report

__all__ = ["courses", "distributions", "shown"]

_STATISTIC = re.compile(r"(?P<series>.+)_(?P<statistic>min|max|mean|p\d{1,2}(?:[._]\d{1,4})?)")
_PARTS = frozenset({"preprocess", "set", "get", "h2d", "compute", "d2h"})
"""What `edgekit.latency` measures inside the others: they share a table and have no chart."""


def _series(report: Report) -> dict[str, dict[str, Measurement]]:
    """Return the series that have percentiles: name -> statistic -> measurement, in the report's order."""
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in report.measurements:
        if (name := _STATISTIC.fullmatch(measurement.name)) and measurement.unit == "ms":
            found.setdefault(name["series"], {})[name["statistic"]] = measurement
    return {name: statistics for name, statistics in found.items() if "p50" in statistics and len(statistics) > 1}


def shown(report: Report) -> set[str]:
    """Return the names of the measurements that stand here."""
    return {measurement.name for statistics in _series(report).values() for measurement in statistics.values()}


def distributions(one: SavedReport) -> list[Block]:
    """Return a block for each series: its distribution, where the raw samples are there, and its percentiles; then one for all parts."""
    samples, budget, series = series_of(one.report), _budget_ms(one.report), _series(one.report)
    blocks = []
    for name in (name for name in series if name not in _PARTS):
        statistics, charts = series[name], []
        rule = _rule(statistics)
        if name in samples:
            title = ascii_words(f"{_words(name)}, {len(samples[name])} runs")
            limit = budget if name == "invoke" else None
            charts.append(Distribution(title, samples[name], _percentiles(statistics), limit, ascii_words(rule, 30)))
        blocks.append(Block(one.name, _words(name), rule, tuple(charts), (_table(statistics),)))
    if parts := {name: statistics for name, statistics in series.items() if name in _PARTS}:
        rule = next(filter(None, map(_rule, parts.values())), "")
        blocks.append(Block(one.name, "parts of them", rule, (), (_parts_table(parts),)))
    return blocks


def _parts_table(parts: Mapping[str, Mapping[str, Measurement]]) -> Table:
    """Return the parts as rows, with the percentiles they all have."""
    keys = [key for key in next(iter(parts.values())) if key != "mean" and all(key in statistics for statistics in parts.values())]
    places = min(decimals(statistics["p50"].value or 0.0) for statistics in parts.values())
    rows = [Row((_words(name), *(fixed(of[key].value, places) for key in keys)), _rule(of)) for name, of in parts.items()]
    return table("", ("Milliseconds", *map(_label, keys)), rows)


_BAND = "The line is the median of neighbouring runs, the band spans from the shortest to the longest: no run is left out."


def courses(one: SavedReport) -> list[Block]:
    """Return the course of the first series over time, with what the board said of itself."""
    samples, series = series_of(one.report), _series(one.report)
    known = [name for name in series if name in samples and name not in _PARTS]
    rule = next((m.rule for m in one.report.measurements if m.rule and m.unit == "ms"), "")
    title = ascii_words(f"{one.report.bundle.name} over time")
    chart = timeline(one.report, known[:2], title, _budget_ms(one.report), ascii_words(rule, 30))
    if chart is None:
        return []
    if chart.series[0].high_ms is not None:
        notes = ["Of each window the line is the median, the band reaches to the 99th percentile, and a dot is the longest run."]
    elif len(one.report.states) < 2:
        notes = [_BAND, "The board was not read meanwhile. A run's place is the sum of those before it."]
    else:
        notes = [_BAND, "A series begins with the board's first reading in its phase; a run's place is the sum of those before it."]
    return [Block(one.name, "", rule, (chart,), (), (" ".join(notes),))]


def _rule(statistics: Mapping[str, Measurement]) -> str:
    """Return the rule that a series broke; empty where it broke none."""
    return next((measurement.rule for measurement in statistics.values() if measurement.rule), "")


def _budget_ms(report: Report) -> float | None:
    """Return the budget that a verdict on latency rests on."""
    found = [figure_of(verdict.figures, "budget_ms") for verdict in report.verdicts if verdict.name.startswith("latency")]
    return next((value for value in found if value is not None and value > 0), None)


def _percentiles(statistics: Mapping[str, Measurement]) -> tuple[Percentile, ...]:
    found = []
    for key, measurement in statistics.items():
        p = _fraction(key)
        if p is not None and measurement.value is not None:
            lower, upper = (figure_of(measurement.details, end) for end in ("lower_ms", "upper_ms"))
            found.append(Percentile(_label(key), p, measurement.value, lower, upper))
    return tuple(found)


def _fraction(statistic: str) -> float | None:
    """Return what share of the samples a percentile names: ``p99.9`` and ``p99_9`` are 0.999."""
    if not statistic.startswith("p"):
        return None
    p = round(float(statistic[1:].replace("_", ".")) / 100, 8)
    return p if 0 < p < 1 else None


def _label(statistic: str) -> str:
    return statistic.replace("_", ".")


def _table(statistics: Mapping[str, Measurement]) -> Table:
    """Return percentiles as rows, all figures with as many decimals as the median needs."""
    values = [m.value for m in statistics.values() if m.value]
    places = decimals(sorted(values)[(len(values) - 1) // 2]) if values else 3
    n = max(m.n for m in statistics.values())
    rows = [(_label(key), *_cells(m, places)) for key, m in statistics.items()]
    marks = [m.rule or "" for m in statistics.values()]
    note = f"{count(n)} samples{_spread(statistics.get('mean'))}"
    columns = ("Milliseconds", "Estimate", "At least", "At most", "Needs")
    return table("", columns, [Row(row, mark) for row, mark in zip(rows, marks, strict=True)], words=("Needs",), note=note)


def _cells(measurement: Measurement, places: int) -> tuple[str, str, str, str]:
    lower, upper = (figure_of(measurement.details, key) for key in ("lower_ms", "upper_ms"))
    needs = measurement.details.get("needs")
    more = f"{count(needs)} more" if isinstance(needs, int) and needs > 0 else ""
    if lower is None and upper is None and "upper_ms" not in measurement.details:
        return fixed(measurement.value, places), "", "", more
    return fixed(measurement.value, places), fixed(lower, places), fixed(upper, places), more


def _spread(mean: Measurement | None) -> str:
    """Say how the series varies, correlates and drifts, as far as its mean tells."""
    if mean is None:
        return ""
    told = []
    for key, words in (("n_eff", "worth {:,.0f} independent ones"), ("cov", "coefficient of variation {:.1%}"), ("drift", "drift {:+.1%}")):
        if (value := figure_of(mean.details, key)) is not None:
            told.append(words.format(value).replace(",", " ").replace("-", "\N{MINUS SIGN}").replace("%", " %"))
    return "".join(f", {words}" for words in told) + ". Each bound holds with 99 % confidence, whatever the distribution."


def _words(name: str) -> str:
    return name.replace("_", " ")

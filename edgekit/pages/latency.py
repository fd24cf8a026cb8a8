"""What a page says of latency: each series with its percentiles and their bounds, and its course over time."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgekit.measurement import Measurement
from edgekit.pages.chart import Distribution, Percentile, ascii_words, series_of, timeline
from edgekit.pages.number import count, decimals, fixed
from edgekit.pages.outline import Block, Row, Table, table
from edgekit.pages.saved import SavedReport
from edgekit.report import Report

__all__ = ["courses", "distributions", "shown"]

_STATISTIC = re.compile(r"(?P<series>.+)_(?P<statistic>min|max|mean|p\d{1,2}(?:[._]\d{1,4})?)")
_DRAWN_MAX = 3
"""Series that get a chart of their own; more would bury the rest of the page, and the tables have all."""


def _series(report: Report) -> dict[str, dict[str, Measurement]]:
    """Return the series that have percentiles: name -> statistic -> measurement, in the report's order."""
    found: dict[str, dict[str, Measurement]] = {}
    for measurement in report.measurements:
        if (name := _STATISTIC.fullmatch(measurement.name)) and measurement.unit == "ms":
            found.setdefault(name["series"], {})[name["statistic"]] = measurement
    return {name: statistics for name, statistics in found.items() if any(key.startswith("p") for key in statistics)}


def shown(report: Report) -> set[str]:
    """Return the names of the measurements that stand here."""
    return {measurement.name for statistics in _series(report).values() for measurement in statistics.values()}


def distributions(one: SavedReport) -> list[Block]:
    """Return a block for each series: its distribution, where the raw samples are there, and its percentiles."""
    samples, budget = series_of(one.report), _budget_ms(one.report)
    blocks = []
    for number, (name, statistics) in enumerate(_series(one.report).items()):
        rule = _rule(statistics)
        charts = []
        if name in samples and number < _DRAWN_MAX:
            title = ascii_words(f"{_words(name)}, {len(samples[name])} runs")
            limit = budget if name == "invoke" else None
            charts.append(Distribution(title, samples[name], _percentiles(statistics), limit, ascii_words(rule, 30)))
        blocks.append(Block(one.name, _words(name), rule, tuple(charts), (_table(statistics),)))
    return blocks


def courses(one: SavedReport) -> list[Block]:
    """Return the course of the first series over time, with what the board said of itself."""
    samples, series = series_of(one.report), _series(one.report)
    known = [name for name in series if name in samples] or list(samples)
    rule = next(filter(None, map(_rule, series.values())), "")
    chart = timeline(
        one.report, known[:2], ascii_words(f"{one.report.bundle.name} over time"), _budget_ms(one.report), ascii_words(rule, 30)
    )
    if chart is None:
        return []
    notes = ["The moment of each inference is not recorded: the series are laid end to end, and end with the last reading of the board."]
    if len(one.report.states) < 2:
        notes = ["The board was not read meanwhile; time is the sum of the inferences before."]
    return [Block(one.name, "", rule, (chart,), (), tuple(notes))]


def _rule(statistics: Mapping[str, Measurement]) -> str:
    """Return the rule that a series broke; empty where it broke none."""
    return next((measurement.rule for measurement in statistics.values() if measurement.rule), "")


def _budget_ms(report: Report) -> float | None:
    """Return the budget that a verdict on latency rests on."""
    found = [v.figures.get("budget_ms") for v in report.verdicts if v.name.startswith("latency")]
    return next((float(value) for value in found if isinstance(value, (int, float)) and value > 0), None)


def _percentiles(statistics: Mapping[str, Measurement]) -> tuple[Percentile, ...]:
    found = []
    for key, measurement in statistics.items():
        p = _fraction(key)
        if p is not None and measurement.value is not None:
            lower, upper = (_milliseconds(measurement, end) for end in ("lower_ms", "upper_ms"))
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


def _milliseconds(measurement: Measurement, key: str) -> float | None:
    value = measurement.details.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


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
    lower, upper = (_milliseconds(measurement, key) for key in ("lower_ms", "upper_ms"))
    needs = measurement.details.get("needs")
    more = f"{count(needs)} more samples" if isinstance(needs, int) and needs > 0 else ""
    if lower is None and upper is None and "upper_ms" not in measurement.details:
        return fixed(measurement.value, places), "", "", more
    return fixed(measurement.value, places), fixed(lower, places), fixed(upper, places), more


def _spread(mean: Measurement | None) -> str:
    """Say how the series varies, correlates and drifts, as far as its mean tells."""
    if mean is None:
        return ""
    told = []
    for key, words in (("n_eff", "worth {:,.0f} independent ones"), ("cov", "coefficient of variation {:.1%}"), ("drift", "drift {:+.1%}")):
        value = mean.details.get(key)
        if isinstance(value, (int, float)):
            told.append(words.format(value).replace(",", " ").replace("-", "\N{MINUS SIGN}").replace("%", " %"))
    return "".join(f", {words}" for words in told) + ". Each bound holds with 99 % confidence, whatever the distribution."


def _words(name: str) -> str:
    return name.replace("_", " ")

"""What a page says of operators: each type's share of the time, and the slowest nodes, as the probe ``ops`` measured them."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.measurement import Measurement
from edgekit.pages.number import amount, count, figure_of, of_measurement
from edgekit.pages.outline import Block, Row, table
from edgekit.pages.saved import SavedReport
from edgekit.report import Report

__all__ = ["blocks", "shown"]

_TYPE, _NODE = "op ", "node "


def _named(report: Report, prefix: str, unit: str) -> list[Measurement]:
    return [one for one in report.measurements if one.name.startswith(prefix) and one.unit == unit]


def shown(report: Report) -> set[str]:
    """Return the names of the measurements that stand here."""
    return {one.name for one in (*_named(report, _TYPE, "1"), *_named(report, _NODE, "ms"))}


def blocks(one: SavedReport) -> list[Block]:
    """Return the types of operators, and the nodes that take longest."""
    types, nodes = _named(one.report, _TYPE, "1"), _named(one.report, _NODE, "ms")
    tables = []
    if types:
        tables.append(table("By type", ("Operator", "Share", "Time", "Nodes"), _types(types)))
    if nodes:
        tables.append(table("Slowest nodes", ("Node", "Share", "Time", "Operator"), _nodes(nodes), words=("Operator",)))
    rules = {measurement.rule for measurement in (*types, *nodes)}
    rule = rules.pop() if len(rules) == 1 else None
    return [Block(one.name, mark=rule or "", tables=tuple(tables))] if tables else []


def _types(measurements: Sequence[Measurement]) -> list[Row]:
    rows = []
    for one in measurements:
        nodes = figure_of(one.details, "nodes")
        cells = (one.name.removeprefix(_TYPE), of_measurement(one), amount(figure_of(one.details, "ms"), "ms"), count(int(nodes or 0)))
        rows.append(Row(cells, one.rule or "", {1: _share(one.value)}))
    return rows


def _nodes(measurements: Sequence[Measurement]) -> list[Row]:
    rows = []
    for one in measurements:
        share = figure_of(one.details, "share")
        cells = (one.name.removeprefix(_NODE), amount(share, "1"), of_measurement(one), str(one.details.get("op", "–")))
        rows.append(Row(cells, one.rule or "", {1: _share(share)}))
    return rows


def _share(value: float | None) -> float:
    return max(0.0, min(1.0, value or 0.0))

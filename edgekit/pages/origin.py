"""What a page says of where a loss comes from: quantization, the board's kernels or its preprocessing, as ``edgekit compare`` found."""

from __future__ import annotations

from edgekit.attribution import Attribution, Changed, Step
from edgekit.pages.number import amount, count, fixed, signed
from edgekit.pages.outline import Block, Row, Table, table
from edgekit.pages.saved import SavedComparison

__all__ = ["block"]

_PLACES = {"float-host": "float, on the host", "int8-host": "INT8, on the host", "int8-device": "INT8, on the board"}


def block(one: SavedComparison) -> Block:
    """Return the three side by side, what each step between them changed, and the samples that changed."""
    found, told = one.comparison, one.comparison.attribution
    tables = [_scores(told)] if told.scores else []
    tables.append(_steps(told))
    if told.changed:
        columns = ("Sample", "Label", "Float", "INT8, host", "INT8, board", "Changed by")
        rows = [_changed(sample) for sample in told.changed]
        tables.append(table("Samples that changed", columns, rows, words=("Changed by",), shown=10))
    fed = f"The board fed the network other bytes than the host on {count(told.fed_otherwise)} of {count(told.n)} samples."
    alike = f"The board fed the network the same bytes as the host on all {count(told.n)} samples."
    runtimes = f"INT8 ran on {found.host_runtime} on the host, on {found.device_runtime} on {found.device}."
    simulated = ["The device stands in for the board: its answers count."] if found.simulated else []
    notes = (fed if told.fed_otherwise else alike, runtimes, *simulated, *found.notes)
    return Block(one.name, f"Where a loss comes from, {found.device}", tables=tuple(tables), notes=notes)


def _scores(told: Attribution) -> Table:
    rows = [
        Row((_PLACES[one.name], amount(one.top1, "1"), f"{fixed(100 * one.low, 2)} to {fixed(100 * one.high, 2)} %", count(one.right)))
        for one in told.scores
    ]
    return table("", ("", "Top-1", "95 % interval", f"Right of {count(told.n)}"), rows)


def _steps(told: Attribution) -> Table:
    columns = ("Step", "Samples changed", "Lost", "Won", "Change of top-1, points", "95 % interval")
    return table("What each step changed", columns, [_step(step) for step in told.steps])


def _step(step: Step) -> Row:
    if step.delta is None or step.low is None or step.high is None:
        return Row((step.name, count(step.changed), "–", "–", "–", "–"))
    span = f"{signed(step.low)} to {signed(step.high)}"
    return Row((step.name, count(step.changed), count(step.losses or 0), count(step.gains or 0), signed(step.delta), span))


def _changed(one: Changed) -> Row:
    label = "–" if one.label is None else str(one.label)
    return Row((str(one.number), label, str(one.float_host), str(one.int8_host), str(one.int8_device), ", ".join(one.causes)))

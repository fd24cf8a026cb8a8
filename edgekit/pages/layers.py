"""What a page says of layers: how much each loses in INT8, what is wrong and what treats it; what a build keeps in float."""

from __future__ import annotations

from collections import Counter

from edgekit.explanation import Explanation, Layer, Loss
from edgekit.pages.number import fixed, signed
from edgekit.pages.outline import Block, Row, table
from edgekit.pages.saved import SavedExplanation, SavedReport
from edgekit.trial import Trial, worthwhile

__all__ = ["block", "kept"]

_FULL_DB = 60.0
"""Beyond, nothing can be told apart from float; a bar ends there."""


def block(one: SavedExplanation) -> Block:
    """Return the layers of an explanation, the worst first, and its findings."""
    found = one.explanation
    tables = []
    if found.findings:
        tables.append(table("Findings", ("Rule", "Layer", "What", "Fix"), _findings(found), words=("Layer", "What", "Fix")))
    columns = ("Layer", "Alone, dB", "In the whole, dB", "Saturated", "Gain in float, dB", "Operator", "Precision")
    rows = [_row(layer) for layer in found.layers]
    tables.append(table("Error of each layer", columns, rows, words=("Operator", "Precision"), shown=12))
    outputs = [f"{name}: {_decibels(loss)} dB, cosine {_cosine(loss)}." for name, loss in found.outputs.items()]
    checked = found.preprocessing
    if checked is not None:
        better = f"better with {checked.better.settings}" if checked.better else f"none of {checked.tried} other ways is clearly better"
        outputs.append(
            f"Preprocessing: the float network is right on {checked.declared.right} of {checked.declared.n} as declared; {better}."
        )
    return Block(one.name, f"{one.network} for {one.target}, {found.samples} samples", tables=tuple(tables), notes=tuple(outputs))


def _findings(found: Explanation) -> list[Row]:
    return [Row((finding.rule, finding.layer or "–", finding.text, finding.fix)) for finding in found.findings]


def _row(layer: Layer) -> Row:
    gain = "–" if layer.gain_db is None else f"{layer.gain_db:+.1f}"
    saturated = f"{100 * layer.saturation:.3f} %"
    cells = (layer.name, _decibels(layer.alone), _decibels(layer.whole), saturated, gain, layer.op, layer.precision)
    return Row(cells, shares={1: _share(layer.alone), 2: _share(layer.whole)})


def _share(loss: Loss) -> float:
    return 1.0 if loss.sqnr_db is None else max(0.0, min(1.0, loss.sqnr_db / _FULL_DB))


def _decibels(loss: Loss) -> str:
    return fixed(loss.sqnr_db, 1)


def _cosine(loss: Loss) -> str:
    return fixed(loss.cosine, 4)


def kept(one: SavedReport) -> list[Block]:
    """Return why nodes stay in float, and which trials of the budget's search are worth choosing from."""
    report, tables = one.report, []
    if report.float_nodes:
        rows = [Row((why, str(count), _names(report.float_nodes, why))) for why, count in Counter(report.float_nodes.values()).items()]
        tables.append(table("Nodes out of INT8", ("Why", "Nodes", "Which"), rows, words=("Which",)))
    if len(report.trials) > 1:
        columns = (
            "Kept in float",
            "Multiplications in float",
            "Artifact, kB",
            "Change, points",
            "At least",
            "Differs from float",
            "Budget",
        )
        trials = [_trial(trial) for trial in worthwhile(report.trials)]
        tables.append(table("Trials worth choosing from", columns, trials, words=("Budget",)))
    return [Block(one.name, tables=tuple(tables))] if tables else []


def _names(nodes: dict[str, str], why: str, most: int = 5) -> str:
    names = [name for name, reason in nodes.items() if reason == why]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _trial(trial: Trial) -> Row:
    return Row(
        (
            f"{len(trial.kept)} layer{'s' if len(trial.kept) > 1 else ''}" if trial.kept else "none",
            f"{100 * trial.float_macs:.1f} %",
            fixed(trial.artifact_bytes / 1000, 0),
            signed(trial.delta),
            signed(trial.delta_low),
            f"{100 * trial.disagreement:.2f} %",
            trial.outcome,
        )
    )

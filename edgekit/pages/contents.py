"""``contents``: saved files in the order of a page. Verdicts, latency, its course, accuracy, layers, what else there is, provenance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from edgekit.measurement import Measurement, Outcome
from edgekit.pages import accuracy, latency, layers, operators, origin
from edgekit.pages.number import bounds, count, of_measurement
from edgekit.pages.outline import Block, Contents, Judged, Row, Section, Table, table
from edgekit.pages.saved import Saved, SavedComparison, SavedExplanation, SavedReport
from edgekit.report import Report

__all__ = ["contents"]

_LATENCY = (
    "Above, how often each duration came; below, how rare longer ones are: at p99, one run in a hundred takes longer. "
    "A dot is a percentile of these runs, its bar the 99 % bounds of the true one; a hollow dot has too few runs for an upper bound."
)
_ACCURACY = "All on the same samples. A change below zero is a loss against the float network; of a rate of errors, one above zero."
_LAYERS = (
    "Signal over error in decibels: at 20 the error is a tenth of the signal, at 40 a hundredth. Alone means that only this layer is "
    "INT8; in the whole, that every one before it is too."
)
_ALONE: dict[Outcome, str] = {
    "pass": "The gate passed.",
    "fail": "The gate failed.",
    "invalid": "The measurement is invalid: not to be acted on.",
    "inconclusive": "The gate is undecided: not to be acted on.",
}
_GRAVEST: tuple[Outcome, ...] = ("fail", "invalid", "inconclusive", "pass")


def contents(saved: Sequence[Saved]) -> Contents:
    """Put what was saved in order.

    Parameters
    ----------
    saved
        At least one.
    """
    saved = _told_apart(saved)
    reports = [one for one in saved if isinstance(one, SavedReport)]
    explanations = [one for one in saved if isinstance(one, SavedExplanation)]
    comparisons = [one for one in saved if isinstance(one, SavedComparison)]
    verdicts = tuple(Judged(v.outcome, v.name, v.text, one.name) for one in reports for v in one.report.verdicts)
    outcome = next((worse for worse in _GRAVEST if any(verdict.outcome == worse for verdict in verdicts)), None)
    sections = (
        Section("latency", "Latency", _LATENCY, tuple(block for one in reports for block in latency.distributions(one))),
        Section("course", "Over time", "", tuple(block for one in reports for block in latency.courses(one))),
        Section("accuracy", "Accuracy", _ACCURACY, (*accuracy.blocks(reports), *map(origin.block, comparisons))),
        Section("layers", "Layers", _LAYERS, tuple(layers.block(one) for one in explanations)),
        Section("operators", "Operators", "", tuple(block for one in reports for block in operators.blocks(one))),
        Section("search", "What stays in float", "", tuple(block for one in reports for block in layers.kept(one))),
        Section("figures", "Other figures", "", tuple(block for one in reports for block in _others(one))),
        Section("provenance", "Provenance", "", _provenance(saved)),
    )
    return Contents(
        title=_subject(saved[0])[0],
        about=_about(saved),
        outcome=outcome,
        lead=_lead(verdicts, reports),
        simulated=tuple(dict.fromkeys(_stand_in(one.report) for one in reports if one.report.simulated)),
        verdicts=tuple(sorted(verdicts, key=lambda verdict: _GRAVEST.index(verdict.outcome))),
        sections=tuple(section for section in sections if section.blocks),
    )


def _told_apart(saved: Sequence[Saved]) -> list[Saved]:
    """Number files of one name, which lie in different folders."""
    seen: Counter[str] = Counter()
    found = []
    for one in saved:
        seen[one.name] += 1
        found.append(replace(one, name=f"{one.name} ({seen[one.name]})") if seen[one.name] > 1 else one)
    return found


def _subject(one: Saved) -> tuple[str, str, str | None, str | None]:
    """Return name, target, release and device of what a file speaks of."""
    if isinstance(one, SavedExplanation):
        return one.network, one.target, None, None
    if isinstance(one, SavedComparison):
        bundle, device = one.comparison.bundle, one.comparison.device
        return bundle.name, bundle.target, bundle.digest, device
    bundle = one.report.bundle
    return bundle.name, bundle.target, bundle.digest, one.report.device.name if one.report.device else None


def _about(saved: Sequence[Saved]) -> tuple[str, ...]:
    """Return for which target, which release, on which devices, when: the first line a reader needs."""
    subjects = [_subject(one) for one in saved]
    found = [f"for {target}" for _, target, _, _ in subjects]
    found += [f"release {digest[:12]}" for _, _, digest, _ in subjects if digest]
    found += [f"on {device}" for _, _, _, device in subjects if device]
    times = [one.report.environment.get("time") for one in saved if isinstance(one, SavedReport)]
    found += [_when(time) for time in times if time][-1:]
    return tuple(dict.fromkeys(found))


def _when(time: str) -> str:
    """Write the day and the minute of a report's time; one that is written otherwise stays as it is."""
    day, mark, clock = time.partition("T")
    return f"{day}, {clock[:5]} UTC" if mark and clock[8:] in ("+00:00", "Z") else time


def _stand_in(report: Report) -> str:
    board = report.environment.get("board", "This device")
    return f"{board} stands in for {report.bundle.target}. Its answers count; its times say nothing about the board."


def _lead(verdicts: Sequence[Judged], reports: Sequence[SavedReport]) -> str:
    """Say in a sentence what became of the gates."""
    if not verdicts:
        doubtful = any(not measurement.valid for one in reports for measurement in one.report.measurements)
        return "No gate was set, and some figures are invalid." if doubtful else "No gate was set: figures without a verdict."
    if len(verdicts) == 1:
        return _ALONE[verdicts[0].outcome]
    counts = Counter(verdict.outcome for verdict in verdicts)
    if counts["pass"] == len(verdicts):
        return f"All {len(verdicts)} gates passed."
    told = [f"{counts['fail']} failed"] if counts["fail"] else []
    told += [f"{n} {'is' if n == 1 else 'are'} {word}" for word in ("invalid", "inconclusive") if (n := counts[word])]
    return f"Of {len(verdicts)} verdicts {', '.join(told)}{'.' if counts['fail'] else ': not to be acted on.'}"


def _others(one: SavedReport) -> list[Block]:
    """Return the measurements that no other section shows."""
    shown = latency.shown(one.report) | accuracy.shown(one.report) | operators.shown(one.report)
    rest = [measurement for measurement in one.report.measurements if measurement.name not in shown]
    if not rest:
        return []
    rows = [Row((_words(m.name), of_measurement(m), bounds(m) or _details(m) or "–", count(m.n)), m.rule or "") for m in rest]
    made = table("", ("Measurement", "Value", "Bounds and details", "n"), rows, words=("Bounds and details",))
    return [Block(one.name, mark=made.mark, tables=(made,))]


def _details(measurement: Measurement) -> str:
    """Write a measurement's details, a few of them; its raw report has all."""
    told = [(key, value) for key, value in measurement.details.items() if isinstance(value, (int, float)) and not isinstance(value, bool)]
    return ", ".join(f"{_words(key)} {value:.4g}".replace("-", "\N{MINUS SIGN}") for key, value in told[:3])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _provenance(saved: Sequence[Saved]) -> tuple[Block, ...]:
    """Return what all files share, once, and what is each one's own."""
    every = [_facts(one) for one in saved]
    shared = [pair for pair in every[0] if all(pair in pairs for pairs in every)] if len(saved) > 1 else []
    blocks = [Block("", "all files", tables=(_pairs(shared),))] if shared else []
    for one, pairs in zip(saved, every, strict=True):
        own = [pair for pair in pairs if pair not in shared]
        notes = one.explanation.notes if isinstance(one, SavedExplanation) else ()
        blocks.append(Block(one.name, tables=(_pairs(own),) if own else (), notes=notes))
    return tuple(blocks)


def _facts(one: Saved) -> list[tuple[str, str]]:
    name, target, digest, device = _subject(one)
    pairs = [("name", name), ("target", target)]
    if isinstance(one, SavedReport):
        return [*pairs, *_report_facts(one.report)]
    pairs += [("bundle digest", digest)] if digest else []
    pairs += [("device", device)] if device else []
    n = one.explanation.samples if isinstance(one, SavedExplanation) else one.comparison.attribution.n
    return [*pairs, ("samples compared", count(n))]


def _report_facts(report: Report) -> list[tuple[str, str]]:
    device = report.device
    rows = [("bundle digest", report.bundle.digest or "in the bundle itself")]
    if device:
        rows += [("device", device.name), ("address", device.address), ("facts digest", device.facts)]
    else:
        rows += [("measured on", "the host")]
    rows += [("simulated", "yes" if report.simulated else "no")]
    rows += [(_words(key), value) for key, value in sorted(report.environment.items())]
    series = ", ".join(f"{name}: {count(len(values))}" for name, values in report.samples.items())
    rows += [("raw series", series)] if series else []
    return [*rows, ("readings of the board", count(len(report.states)))] if report.states else rows


def _pairs(rows: Sequence[tuple[str, str]]) -> Table:
    return Table("", (), tuple(Row(pair) for pair in rows), frozenset({1}), shown=1000)

"""A `Run` as JUnit XML, in the form that Jenkins, GitLab and the reporters of GitHub Actions read.

There is no standard; what is written here is what both schemas in wide use allow: ``junit-10.xsd`` of Jenkins' xUnit plugin (Surefire's
form) and Ant's (windyroad/JUnit-Schema). So figures are properties of the suite: neither knows any of a test case.

A gate that failed is a ``failure``; an error of board, link, build or configuration is an ``error``; what is inconclusive, invalid or
was not run is ``skipped``, with the reason. Called by ``edgekit ci``.
"""

from __future__ import annotations

from xml.etree import ElementTree as ET

from edgekit.measurement import Measurement, Verdict
from edgekit.printable import printable
from edgekit.runs.run import Run, Step, broken_rules, outcome

__all__ = ["figure_words", "junit_xml"]

_TAGS = {"pass": None, "fail": "failure", "inconclusive": "skipped", "invalid": "skipped"}


def junit_xml(run: Run) -> bytes:
    """Return a run as a JUnit document: one suite, a case for each step and for each gate."""
    cases = [case for step in run.steps for case in _cases(run, step)]
    found = [child.tag for case in cases for child in case]
    counts = {"tests": str(len(cases)), **{key: str(found.count(tag)) for key, tag in (("failures", "failure"), ("errors", "error"))}}
    root = ET.Element("testsuites")  # Ant's schema gives it no attributes
    suite = ET.SubElement(
        root,
        "testsuite",
        {
            "name": _suite(run),
            "package": "edgekit",
            "id": "0",
            # Ant's schema knows no time zone here; it is UTC.
            "timestamp": run.time[:19],
            "hostname": _text(run.device or "localhost"),
            "time": f"{run.seconds:.3f}",
            **counts,
            "skipped": str(found.count("skipped")),
        },
    )
    properties = ET.SubElement(suite, "properties")
    for name, value in _properties(run):
        ET.SubElement(properties, "property", {"name": _text(name), "value": _text(value)})
    suite.extend(cases)
    ET.SubElement(suite, "system-out").text = _text("\n".join(run.notes))
    ET.SubElement(suite, "system-err").text = ""
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def figure_words(measurement: Measurement) -> str:
    """Return a figure for people, with its unit, and the rule it broke, if it did."""
    value = "no finite figure" if measurement.value is None else f"{measurement.value:.6g}"
    unit = "" if measurement.unit == "1" else f" {measurement.unit}"
    return f"{value}{unit}" + ("" if measurement.valid else f" (invalid: {measurement.rule})")


def _suite(run: Run) -> str:
    return _text(" ".join(filter(None, ("edgekit", run.app, run.target and f"for {run.target}", run.device and f"on {run.device}"))))


def _properties(run: Run) -> list[tuple[str, str]]:
    known = [(name, getattr(run, name)) for name in ("app", "target", "device", "address", "release", "revision")]
    figures = [(f"{step.name}.{one.name}", figure_words(one)) for step in run.steps for one in step.measurements]
    simulated = [("simulated", "true")] if any(step.simulated for step in run.steps) else []
    return [*((name, value) for name, value in known if value), *simulated, *figures]


def _cases(run: Run, step: Step) -> list[ET.Element]:
    """Return the step's own case, then its gates'."""
    own = _case(run, step.name, step.seconds)
    how = outcome(step)
    if how == "error":
        _add(own, "error", str(step.error), str(step.message), _story(step))
    elif how == "not run":
        _add(own, "skipped", "not-run", f"not run: {step.message}")
    elif how == "inconclusive":
        _add(own, "skipped", "invalid", f"not valid: {broken_rules(step)}")
    return [own, *(_gate(run, step, verdict) for verdict in step.verdicts)]


def _gate(run: Run, step: Step, verdict: Verdict) -> ET.Element:
    case = _case(run, f"{step.name}: {verdict.name}", 0.0)
    tag = _TAGS[verdict.outcome]
    if tag:
        figures = "\n".join(f"{name} = {value}" for name, value in verdict.figures.items())
        message = verdict.text if tag == "failure" else f"{verdict.outcome}: {verdict.text}"
        _add(case, tag, verdict.outcome, message, f"{message}\n{figures}")
    return case


def _case(run: Run, name: str, seconds: float) -> ET.Element:
    classname = ".".join(filter(None, ("edgekit", run.app, run.target)))
    return ET.Element("testcase", {"classname": _text(classname), "name": _text(name), "time": f"{seconds:.3f}"})


def _add(case: ET.Element, tag: str, kind: str, message: str, text: str = "") -> None:
    ET.SubElement(case, tag, {"type": _text(kind), "message": _text(message)}).text = _text(text)


def _story(step: Step) -> str:
    """Return an error with its fix, and what was tried before."""
    tried = [f"attempt {number}: {retry.error}: {retry.message}" for number, retry in enumerate(step.retries, 1)]
    return "\n".join([*tried, str(step.message), *([f"fix: {step.fix}"] if step.fix else [])])


def _text(words: str) -> str:
    """Return words without the characters that XML cannot hold (XML 1.0, 2.2), none of which is printable."""
    return "\n".join(printable(line) for line in words.split("\n"))

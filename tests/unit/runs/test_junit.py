"""Runs as JUnit documents: which outcome becomes which element, and that both schemas' common ground holds whatever a device says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.measurement import Measurement, Verdict
from edgekit.runs.junit import junit_xml
from edgekit.runs.run import Retry, Run, Step
from tests.integration.junit import read_junit

FIGURE = Measurement("invoke_p99", 1.25, "ms", 700)
BROKEN = Measurement("invoke_p50", 1.0, "ms", 700, valid=False, rule="throttled")
STEPS: dict[str, tuple[Step, dict[str, str]]] = {
    "well": (Step(name="deploy", seconds=1234.5), {"deploy": "pass"}),
    "gate passed": (
        Step(name="latency", probe=True, verdicts=(Verdict("latency_p99", "pass", "it is"),), measurements=(FIGURE,)),
        {"latency": "pass", "latency: latency_p99": "pass"},
    ),
    "gate failed": (
        Step(name="latency", probe=True, code=1, verdicts=(Verdict("latency_p99", "fail", "too slow", {"p99_ms": 3.0}),)),
        {"latency": "pass", "latency: latency_p99": "failure"},
    ),
    "too few samples": (
        Step(name="accuracy", probe=True, code=8, verdicts=(Verdict("accuracy", "inconclusive", "900 more"),)),
        {"accuracy": "pass", "accuracy: accuracy": "skipped"},
    ),
    "invalid": (
        Step(name="latency", probe=True, code=8, verdicts=(Verdict("latency", "invalid", "throttled"),), measurements=(BROKEN,)),
        {"latency": "pass", "latency: latency": "skipped"},
    ),
    "invalid beside a gate that passed": (
        Step(name="latency", probe=True, code=8, verdicts=(Verdict("peak_rss", "pass", "it is"),), measurements=(FIGURE, BROKEN)),
        {"latency": "skipped", "latency: peak_rss": "pass"},
    ),
    "invalid without a gate": (Step(name="memory", probe=True, code=8, measurements=(BROKEN,)), {"memory": "skipped"}),
    "unreachable": (
        Step(name="lease", code=5, error="DeviceError", message="no route", fix="plug it in", retries=(Retry("LinkError", "broke", 1.0),)),
        {"lease": "error"},
    ),
    "not run": (Step(name="latency", probe=True, code=None, message="lease did not end well"), {"latency": "skipped"}),
}


def run_of(*steps: Step, **fields: Any) -> Run:
    known = {"app": "meter", "target": "rpi4", "device": "rack-1", "address": "pi@10.0.0.7", "release": "a" * 64, "revision": "abc"}
    return Run(**{**known, "time": "2026-11-24T18:25:51+00:00", "seconds": 3.25, "steps": steps, **fields})


@pytest.mark.parametrize("case", STEPS)
def test_what_becomes_of_a_step(case: str) -> None:
    step, expected = STEPS[case]
    cases = read_junit(junit_xml(run_of(step)))
    assert cases == expected


def test_reasons_and_figures_are_in_it() -> None:
    run = run_of(STEPS["gate failed"][0], STEPS["too few samples"][0], STEPS["unreachable"][0], STEPS["invalid"][0], notes=("a note",))
    run = msgspec.structs.replace(run, steps=(*run.steps[:3], msgspec.structs.replace(run.steps[3], name="soak")))
    document = junit_xml(run)
    cases = read_junit(document)
    assert cases.messages["latency: latency_p99"] == "too slow"
    assert cases.messages["accuracy: accuracy"] == "inconclusive: 900 more"
    assert cases.messages["lease"] == "no route"
    assert cases.properties["soak.invoke_p50"] == "1 ms (invalid: throttled)"
    assert cases.properties["revision"] == "abc"
    for words in (b"p99_ms = 3.0", b"fix: plug it in", b"attempt 1: LinkError: broke", b"a note"):
        assert words in document


@settings(max_examples=25, deadline=None)
@given(st.text(), st.text())
def test_no_text_breaks_the_document(message: str, name: str) -> None:
    failed = Step(name="lease", code=5, error="DeviceError", message=message, fix=name)
    gate = Step(name="latency", verdicts=(Verdict("p99", "fail", message, {"a": name}),))
    cases = read_junit(junit_xml(run_of(failed, gate, device=name or None, notes=(message, name))))
    assert cases == {"lease": "error", "latency": "pass", "latency: p99": "failure"}


def test_a_run_that_knows_nothing_is_a_document_too() -> None:
    nobody = run_of(STEPS["unreachable"][0], app=None, target=None, device=None, address=None, release=None, revision=None)
    assert read_junit(junit_xml(nobody)) == {"lease": "error"}

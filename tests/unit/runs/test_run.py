"""What a run's steps come to: one exit code, the worst first; and the same in GitHub's words and in Markdown."""

from __future__ import annotations

import pytest

from edgekit import errors
from edgekit.measurement import Verdict
from edgekit.runs.annotation import workflow_commands
from edgekit.runs.run import PRECEDENCE, Step, exit_code, outcome
from edgekit.runs.summary import summary
from tests.unit.runs.test_junit import BROKEN, FIGURE, run_of

PASSED = Step(name="accuracy", probe=True, verdicts=(Verdict("accuracy", "pass", "it holds"),))


def coded(code: int) -> Step:
    return Step(name=f"step {code}", code=code, error="DeviceError" if code not in (1, 8) else None, message="why")


CASES: dict[str, tuple[tuple[int, ...], int]] = {
    "all is well": ((), 0),
    "a board that needs a person outweighs everything": ((1, 5, 130, 7), 7),
    "who stops a run wants no verdict": ((1, 130), 130),
    "terminated": ((8, 143), 143),
    "a bug leaves no verdict to trust": ((1, 70), 70),
    "a failed gate is not undone by a board that goes away later": ((1, 5), 1),
    "nor by time that is up": ((1, 124), 1),
    "nor by another gate that lacks samples": ((8, 1), 1),
    "no board was free": ((9,), 9),
    "unreachable": ((5,), 5),
    "what is missing does not become inconclusive": ((8, 5), 5),
    "out of time": ((124, 8), 124),
    "too few samples": ((8,), 8),
    "the project is wrong": ((3, 5), 3),
    "refused": ((6,), 6),
}


@pytest.mark.parametrize("case", CASES)
def test_the_worst_counts(case: str) -> None:
    codes, expected = CASES[case]
    assert exit_code(run_of(PASSED, *map(coded, codes))) == expected


def test_every_code_has_its_place() -> None:
    kinds = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, errors.EdgekitError)]
    codes = {kind.exit_code for kind in kinds}
    assert set(PRECEDENCE) == codes | {0, 1, 8, 130, 143}
    assert len(set(PRECEDENCE)) == len(PRECEDENCE)


def test_a_run_that_judged_nothing_is_not_green() -> None:
    assert exit_code(run_of(Step(name="lease"), Step(name="latency", probe=True, measurements=(FIGURE,)))) == 8
    host = Step(name="build", verdicts=(Verdict("accuracy", "pass", "it holds on the host"),))
    assert exit_code(run_of(host, Step(name="latency", probe=True, measurements=(FIGURE,)))) == 8, "nor one that judged the host alone"
    assert exit_code(run_of()) == 8
    assert exit_code(run_of(Step(name="lease", code=None, message="not run"))) == 8


def test_a_code_nobody_knows_is_a_bug() -> None:
    assert exit_code(run_of(PASSED, coded(99))) == 70


def test_how_a_step_came_out() -> None:
    steps = (PASSED, coded(5), Step(name="x", code=None), Step(name="memory", code=8, measurements=(BROKEN,)))
    assert [outcome(step) for step in steps] == ["pass", "error", "not run", "inconclusive"]


HOSTILE = "100%, done\r\n::error::mine | @somebody <b> `x` #1"


def loud() -> tuple[Step, ...]:
    gate = Step(name="latency", verdicts=(Verdict("p99", "fail", HOSTILE), Verdict("drift", "inconclusive", "700 more")), code=1)
    return PASSED, gate, Step(name="deploy", code=6, error="DeployError", message="no room", fix="free some")


def test_annotations_are_escaped_and_sorted() -> None:
    lines = workflow_commands(run_of(*loud(), notes=("a: note",)))
    assert lines == (
        "::error title=edgekit ci%3A latency%3A p99 fail::100%25, done%0D%0A::error::mine | @somebody <b> `x` #1",
        "::error title=edgekit ci%3A deploy::no room%0Afix: free some",
        "::warning title=edgekit ci%3A latency%3A drift inconclusive::700 more",
        "::notice title=edgekit ci::a: note",
    )
    assert workflow_commands(run_of(PASSED)) == ()


def test_figures_that_are_not_valid_are_told_where_no_gate_tells_of_them() -> None:
    run = run_of(PASSED, Step(name="latency", probe=True, code=8, verdicts=PASSED.verdicts, measurements=(FIGURE, BROKEN)))
    assert exit_code(run) == 8
    assert workflow_commands(run) == ("::warning title=edgekit ci%3A latency invalid::not valid: throttled",)
    assert "| ⚠️ inconclusive | latency | 0.0 s; not valid: throttled |" in summary(run)


def test_a_summary_leads_with_the_verdict_and_calls_nobody() -> None:
    text = summary(run_of(*loud(), Step(name="soak", measurements=(BROKEN,), simulated=True), device=HOSTILE, notes=(HOSTILE,)))
    assert "**a gate failed** (exit code 1, 3 s)" in text
    assert "| ❌ fail | latency: p99 |" in text
    assert "Simulated" in text
    assert "invalid: throttled" in text
    assert "@somebody" not in text
    assert "<b>" not in text
    assert "\n::error" not in text
    assert all(line.count("|") - line.count("\\|") in (0, 4) for line in text.splitlines()), "no cell breaks a row"
    assert summary(run_of(PASSED)).splitlines()[2] == "**every gate passed** (exit code 0, 3 s)"

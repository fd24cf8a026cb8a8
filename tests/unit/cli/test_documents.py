"""The JSON documents: their names, on success and on failure, and the word for each kind of error."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from edgekit import errors
from edgekit.cli.boundary import KINDS
from edgekit.report import BundleName, Measurement, Report, Verdict, encode_report
from tests.unit.bundles import write_small_bundle
from tests.unit.cli.commands import contexts, run

COMMANDS = [ctx.command_path.split()[1:] for ctx in contexts() if any(param.name == "json" for param in ctx.command.params)]


def document(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, Any]:
    text, code = run(monkeypatch, *words)
    found: dict[str, Any] = json.loads(text)
    assert found["ok"] is (code == 0)
    assert "error" not in found or found["error"]["exit_code"] == code
    return found


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("asked", ["by flag", "by environment"])
def test_a_failure_bears_the_name_of_its_command(words: list[str], asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if asked == "by environment":
        monkeypatch.setenv("_".join(["EDGEKIT", *words, "JSON"]).upper(), "1")
    flag = ["--json"] if asked == "by flag" else []
    found = document(monkeypatch, *words, *flag, "--no-such-option")
    assert found["schema"] == ("edgekit.reports/1" if words == ["report"] else f"edgekit.{'-'.join(words)}/1")
    assert found["error"]["kind"] == "usage"
    assert found["error"]["fix"] == f"edgekit {' '.join(words)} --help"


@pytest.mark.parametrize(
    ("words", "schema"),
    [
        (("biuld", "--json"), "edgekit/1"),
        (("--json", "foo"), "edgekit/1"),
        (("device", "fcats", "--json"), "edgekit.device/1"),
        (("build", "--json", "--target", "rpi9"), "edgekit.build/1"),
    ],
)
def test_a_word_that_is_no_command_names_no_document(words: tuple[str, ...], schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert document(monkeypatch, *words)["schema"] == schema


def test_words_after_a_double_dash_ask_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "report", "--", "--json") == ("", 3)


def test_the_environment_asks_for_json_on_success_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS_LIST_JSON", "1")
    assert document(monkeypatch, "targets", "list")["schema"] == "edgekit.targets-list/1"


@pytest.mark.parametrize(("outcome", "code"), [("pass", 0), ("fail", 1), ("inconclusive", 8)])
def test_success_bears_the_same_name(outcome: Any, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report(
        bundle=BundleName("meter", "rpi4", None),
        device=None,
        simulated=False,
        measurements=(Measurement("top1", 0.9, "1", 100),),
        verdicts=(Verdict("accuracy", outcome, "why"),),
        samples={},
        environment={},
    )
    (tmp_path / "r.json").write_bytes(encode_report(report))
    bundle = write_small_bundle(tmp_path)
    monkeypatch.chdir(tmp_path)
    for words, schema, held in [
        (("targets", "list"), "targets-list", "targets"),
        (("targets", "show", "rpi4"), "targets-show", "target"),
        (("inspect", str(bundle)), "inspect", "manifest"),
    ]:
        found = document(monkeypatch, *words, "--json")
        assert (found["schema"], held in found) == (f"edgekit.{schema}/1", True)
    text, ended = run(monkeypatch, "report", "r.json", "--json")
    shown = json.loads(text)
    assert (shown["schema"], shown["ok"], ended) == ("edgekit.reports/1", code == 0, code)
    assert [(one["path"], one["report"]["schema"]) for one in shown["reports"]] == [("r.json", "edgekit.report/1")]


def test_a_path_need_not_be_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert document(monkeypatch, "inspect", "\udcff.edge", "--json")["error"]["message"] == "\udcff.edge: no such bundle"


def test_each_error_has_its_word() -> None:
    named = {getattr(errors, name) for name in errors.__all__}
    assert set(KINDS) == named
    words = ["usage", "input", "build", "device", "auth", "host-key", "link", "deploy", "inconsistent", "busy", "deadline", "bug"]
    assert sorted(set(KINDS.values())) == sorted(words)
    assert all(KINDS[kind] == word for kind, word in [(errors.HostKeyError, "host-key"), (errors.LinkError, "link")])


def test_a_dataset_that_ends_the_program_or_prints_breaks_no_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A project's own code may do anything; an exit of 0 from it is no verdict, and stdout holds one document."""
    demo = Path(__file__).resolve().parents[3] / "calibration" / "demo"
    text = (demo / "edgekit.toml").read_text().replace('path = "', f'path = "{demo}/')
    (tmp_path / "edgekit.toml").write_text(text.replace("calibration.npz", "ends_the_program:read"))
    (tmp_path / "ends_the_program.py").write_text("import sys\n\n\ndef read():\n    print('hello')\n    sys.exit(0)\n    yield\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = document(monkeypatch, "build", "--target", "rpi4", "--json")
    assert found["error"]["exit_code"] != 0


def test_sigterm_has_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgekit.cli import boundary

    def stop(argument: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, boundary._terminate)
    try:
        monkeypatch.setattr("edgekit.cli.targets.target_names", lambda: stop(None))
        found = document(monkeypatch, "targets", "list", "--json")
    finally:
        signal.signal(signal.SIGTERM, before)
    assert found["error"] == {"kind": "interrupted", "message": "terminated", "fix": None, "exit_code": 143}
    assert "edgekit.cli.targets" in sys.modules

"""Two stored reports held against each other: through the command, as a user does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.measurement import Measurement
from edgekit.report import BundleName, DeviceName, Report, encode_report
from tests.unit.cli.commands import run

FACTS = "f" * 64


def report(seed: int, slow: float = 1.0, **changes: Any) -> Report:
    times = (5e6 * slow * np.exp(0.02 * np.random.default_rng(seed).normal(size=2000))).astype(int)
    made = Report(
        bundle=BundleName("meter", "rpi4", f"{seed:064x}"),
        device=DeviceName("gate", "pi@gate", FACTS),
        simulated=False,
        measurements=(
            Measurement("invoke_p50", float(np.median(times)) / 1e6, "ms", 2000),
            Measurement("top1_artifact", 0.9 + seed / 100, "1", 500),
            Measurement(f"only_{seed}", 1.0, "B", 1),
        ),
        verdicts=(),
        samples={"invoke_ns": tuple(times.tolist())},
        environment={"runtime": "ai-edge-litert 2.3.0", "threads": "4", "governor": "performance"},
    )
    return msgspec.structs.replace(made, **changes)


def compared(folder: Path, monkeypatch: pytest.MonkeyPatch, new: Report, old: Report, *words: str) -> tuple[dict[str, Any], int]:
    (folder / "new.json").write_bytes(encode_report(new))
    (folder / "old.json").write_bytes(encode_report(old))
    out, code = run(monkeypatch, "report", str(folder / "new.json"), "--against", str(folder / "old.json"), "--json", *words)
    document: dict[str, Any] = json.loads(out)
    return document, code


@pytest.mark.parametrize(
    ("slow", "outcome", "code", "words"),
    [
        (1.0, "pass", 0, "is tolerated"),
        (0.8, "pass", 0, "changed by -"),
        (1.1, "inconclusive", 8, "it is slower, but one run against one run proves nothing: edgekit probe regression"),
        (1.02, "inconclusive", 8, "that is too uncertain"),
    ],
)
def test_a_slower_run_is_never_red_by_itself(
    slow: float, outcome: str, code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, ended = compared(tmp_path, monkeypatch, report(2, slow), report(1))
    assert ended == code
    (verdict,) = found["verdicts"]
    assert (verdict["outcome"], verdict["figures"]["across"]) == (outcome, False)
    assert words in verdict["text"]
    assert verdict["figures"]["low"] < slow < verdict["figures"]["high"]
    assert [one["name"] for one in found["changes"]] == ["invoke_p50", "top1_artifact"]
    assert found["changes"][0]["ratio"] == pytest.approx(slow, rel=0.01)
    assert found["changes"][1]["ratio"] is None


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("device", {"device": DeviceName("gate", "pi@gate", "e" * 64)}),
        ("target", {"bundle": BundleName("meter", "rpi5", "1" * 64)}),
        ("threads", {"environment": {"runtime": "ai-edge-litert 2.3.0", "threads": "1", "governor": "performance"}}),
        ("governor", {"environment": {"runtime": "ai-edge-litert 2.3.0", "threads": "4", "governor": "ondemand"}}),
        ("runtime", {"environment": {"threads": "4", "governor": "performance"}}),
        ("power_mode", {"environment": {**report(1).environment, "power_mode": "15W"}}),
        ("simulated", {"simulated": True}),
    ],
)
def test_what_was_not_measured_alike_needs_a_flag_and_is_marked(
    key: str, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused, code = compared(tmp_path, monkeypatch, report(2), report(1, **changes))
    assert (refused["ok"], code) == (False, 2)
    assert f"not measured alike: {key} " in refused["error"]["message"]
    assert "--across" in refused["error"]["fix"]
    found, code = compared(tmp_path, monkeypatch, report(2), report(1, **changes), "--across")
    assert (code, [one["key"] for one in found["differences"]]) == (0, [key])
    (verdict,) = found["verdicts"]
    assert verdict["text"].startswith(f"across environments ({key}): ")
    assert verdict["figures"]["across"] is True
    text, _ = run(monkeypatch, "report", str(tmp_path / "new.json"), "--against", str(tmp_path / "old.json"), "--across")
    assert "ACROSS ENVIRONMENTS" in text


def test_a_run_that_was_not_valid_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    throttled = (Measurement("invoke_p50", 5.0, "ms", 2000, False, "throttled"),)
    found, code = compared(tmp_path, monkeypatch, report(2, measurements=throttled), report(1))
    assert (code, found["verdicts"][0]["outcome"]) == (8, "invalid")
    few, code = compared(tmp_path, monkeypatch, report(2, samples={"invoke_ns": (5, 6, 7)}), report(1))
    assert (code, few["verdicts"][0]["outcome"]) == (8, "inconclusive")
    without, code = compared(tmp_path, monkeypatch, report(2, samples={}), report(1))
    assert (code, without["verdicts"][0]["outcome"]) == (8, "inconclusive")
    assert "not judged" in without["verdicts"][0]["text"]


def test_what_cannot_be_compared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing, code = compared(tmp_path, monkeypatch, report(2), report(1, measurements=()))
    assert (code, "no measurement in common" in nothing["error"]["message"]) == (3, True)
    for wrong in ((0,) * 20, (-5,) * 20, (90_000 * 10**9,) * 20):
        impossible, code = compared(tmp_path, monkeypatch, report(2, samples={"invoke_ns": wrong}), report(1))
        assert (code, "no time of an inference" in impossible["error"]["message"]) == (3, True)
    path = str(tmp_path / "new.json")
    assert run(monkeypatch, "report", path, path, "--against", path)[1] == 2
    assert run(monkeypatch, "report", path, "--across")[1] == 2
    assert run(monkeypatch, "report", path, "--against", path, "--markdown")[1] == 2

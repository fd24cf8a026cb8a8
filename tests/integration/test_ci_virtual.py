"""`edgekit ci` on a board that this machine emulates: accuracy gates as on the real one, and no time counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.command import edgekit
from tests.integration.test_line import copy_demo
from tests.integration.trial import ci
from tests.integration.virtual import bring_up

pytestmark = [pytest.mark.arm64, pytest.mark.slow]

CI = """
latency_p99_ms = 1000.0

[ci]
devices = ["virtual-rpi4"]

[probe.latency]
min_time_s = 0.5
min_count = 30
"""


def test_accuracy_gates_and_latency_is_invalid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy_demo(tmp_path / "project", CI)
    toml = folder / "edgekit.toml"
    fewer = toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nsamples = 150')
    toml.write_text(fewer.replace("accuracy_drop_max = 0.01", "accuracy_drop_max = 0.03"))
    try:
        bring_up("rpi4", monkeypatch, folder)
        setup = edgekit("device", "setup", "virtual-rpi4", "--json", cwd=folder, timeout_s=400)
        if "cannot be fetched" in setup.err or "did not arrive" in setup.err:
            pytest.skip(f"no wheels here: {setup.err}")
        trial = ci(cwd=folder, timeout_s=500)
        (app,) = edgekit("status", "virtual-rpi4", "--json", cwd=folder).document["apps"]
    finally:
        edgekit("virtual", "down", "--all", cwd=folder)
    assert trial.said.code == 8, trial
    gates = {name: how for name, how in trial.cases.items() if ":" in name}
    assert gates == {"build: accuracy": "pass", "accuracy: accuracy": "pass", "latency: latency": "skipped"}
    assert "not measured on the board" in trial.cases.messages["latency: latency"]
    assert trial.cases.properties["simulated"] == "true"
    assert trial.cases.properties["accuracy.top1_artifact"] == trial.cases.properties["build.top1_artifact"]
    assert (app["current"], app["releases"]) == (None, [])
    (bare,) = json.loads(edgekit("history", "--export", "bencher", cwd=folder).out).values()
    assert {measure.partition("-")[0] for measure in bare} == {"build"}, "what the host has measured"
    marked = json.loads(edgekit("history", "--export", "bencher", "--simulated", cwd=folder).out)
    (simulated,) = [measures for name, measures in marked.items() if name == "meter-digits on virtual-rpi4 (simulated)"]
    assert {measure.partition("-")[0] for measure in simulated} == {"accuracy", "latency"}
    assert not [measure for measure in simulated if measure.endswith("-ms")], "no time of an emulator is anybody's"

"""Every probe on a board behind a real sshd, and a soak whose link is lost or that is broken off."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgekit.pipeline import Progress, silent
from edgekit.pipeline.lease import holder
from edgekit.pipeline.probe import probe
from edgekit.pipeline.probes import PROBES
from edgekit.project import load_project
from edgekit.report import Report, decode_report, worst
from tests.integration.command import edgekit
from tests.integration.conftest import Lab, Relay, Sshd
from tests.integration.deployment import Place, place

pytestmark = pytest.mark.sshd

QUICK: dict[str, dict[str, Any]] = {
    "throughput": {"min_time_s": 0.3, "streams": 2},
    "soak": {"minutes": 0.02, "window_s": 0.1},
    "cold": {"processes": 2},
    "memory": {"processes": 1},
    "energy": {"idle_s": 0.5, "load_s": 0.5},
    "ops": {"runs": 5},
    "consistency": {"rounds": 3},
}
SHOWS = {
    "throughput": {"throughput", "loaded_p99"},
    "soak": {"window_p50", "drift", "minutes"},
    "cold": {"import_p50", "cold_start_p50"},
    "memory": {"peak_rss", "runtime_rss"},
    "energy": set(),
    "ops": set(),
    "consistency": {"different", "golden_steps"},
}


@pytest.fixture
def relay(lab: Lab, sshd: Sshd) -> Relay:
    return lab.relay(sshd)


@pytest.fixture
def there(lab: Lab, relay: Relay, tmp_path: Path) -> Place:
    """A board behind a relay, with a release on it."""
    there = place(lab.device(relay.port, python=sys.executable), tmp_path / "project")
    there.project()
    said = edgekit("deploy", "board", "--bundle", there.bundle(1), cwd=there.folder)
    assert said.code == 0, said
    return there


def run(there: Place, name: str, options: dict[str, Any], progress: Progress = silent) -> Report:
    project = load_project(there.folder / "edgekit.toml")
    return probe(there.device, name, project=project, folder=there.folder, options=options, progress=progress)


def test_a_probe_is_a_command_and_its_report_is_kept(there: Place) -> None:
    """A busy machine makes the figures invalid (8); the report then names the rule."""
    listed = [entry["name"] for entry in edgekit("probe", "--list", "--json", cwd=there.folder).document["probes"]]
    assert listed == list(PROBES)
    words = ("--min-time", "0.2", "--min-count", "50", "--report", "r.json", "--json")
    said = edgekit("probe", "latency", *words, cwd=there.folder)
    assert said.code in (0, 8), said
    report = decode_report((there.folder / "r.json").read_bytes(), "r.json")
    assert (said.code == 8) == any(verdict.outcome == "invalid" for verdict in report.verdicts), said
    assert {"invoke_p50", "preprocess_p50", "import", "first_invoke"} <= {measurement.name for measurement in report.measurements}
    assert len(report.states) >= 5
    edgekit("probe", "latency", "--cuda-graph", cwd=there.folder).refused(2, "is no TensorRT engine", "leave --cuda-graph out")


def test_each_probe_brings_its_figures(there: Place) -> None:
    """There are no power sensors here, and the runtime tells no operators' times: then the verdict says so."""
    for name, options in QUICK.items():
        report = run(there, name, options)
        assert SHOWS[name] <= {measurement.name for measurement in report.measurements}
        if not SHOWS[name]:
            assert report.verdicts[0].text.startswith("unsupported: ")
            assert worst(report) == 8


def soak(there: Place, strike: Callable[[], object]) -> Report:
    """Begin a soak of ten minutes, and do something after some windows."""
    struck: list[int] = []

    def progress(stage: str, done: int, _total: int) -> None:
        if stage == "soak" and done > 800 and not struck:
            struck.append(done)
            strike()

    return run(there, "soak", {"minutes": 10, "window_s": 0.1}, progress)


@pytest.mark.parametrize("how", ["lost", "interrupted"])
def test_a_soak_that_is_cut_short_keeps_what_came(there: Place, relay: Relay, how: str) -> None:
    strikes: dict[str, Callable[[], object]] = {"lost": relay.cut, "interrupted": lambda: os.kill(os.getpid(), signal.SIGINT)}
    report = soak(there, strikes[how])
    (verdict,) = report.verdicts
    assert verdict.outcome in ("inconclusive", "invalid")
    assert "of 10 min: " in verdict.text
    assert ("interrupted" in verdict.text) == (how == "interrupted")
    assert 1 <= len(report.samples["window_p50_ns"]) < 1000
    assert len(report.states) >= 2
    held = holder(there.device).lease
    assert held is None or held.left_s <= 120, "the board is given back, or gives itself back"

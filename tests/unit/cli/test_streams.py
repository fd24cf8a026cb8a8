"""A process of its own whose stdout or stderr is gone, full, closed or a terminal: the exit code stays what it was."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.report import BundleName, Report, Verdict, encode_report
from tests.unit.bundles import write_small_bundle

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def failed(tmp_path: Path) -> str:
    """A report whose gate failed, with more text than a pipe holds."""
    verdicts = (Verdict("accuracy", "fail", "too low"), *(Verdict("more", "pass", "x" * 100),) * 2000)
    report = Report(
        bundle=BundleName("meter", "rpi4", None),
        device=None,
        simulated=False,
        measurements=(),
        verdicts=verdicts,
        samples={},
        environment={},
    )
    path = tmp_path / "r.json"
    path.write_bytes(encode_report(report))
    return str(path)


def shell(script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash in which ``edgekit`` is ours; its exit code is edgekit's."""
    line = f'edgekit() {{ "{sys.executable}" -m edgekit "$@"; }}; {script}; exit "${{PIPESTATUS[0]}}"'
    return subprocess.run(
        ["bash", "-c", line, "bash", *words], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("words", ["targets list --json", "targets list", "--help", "--version", "completion bash"])
def test_a_reader_that_has_gone_changes_no_success(words: str) -> None:
    done = shell(f"(sleep 0.1; edgekit {words}) | true; exit ${{PIPESTATUS[0]}}")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flag", ["", "--json"])
def test_a_reader_that_stops_early_changes_no_verdict(failed: str, flag: str) -> None:
    done = shell(f'edgekit report "$1" {flag} | head -c 10', failed)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout) == 10


def test_inspect_into_head(tmp_path: Path) -> None:
    done = shell('edgekit inspect "$1" | head -2', str(write_small_bundle(tmp_path)))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("meter\ndigest")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", ["targets list", "targets list --json", "--help"])
def test_a_full_disk_is_one_clear_error(words: str) -> None:
    done = shell(f"edgekit {words} > /dev/full")
    assert done.returncode == 3
    assert done.stderr.splitlines() == [
        "error: standard output cannot be written: No space left on device",
        "fix: send it where there is room",
    ]


def test_a_full_disk_hides_no_verdict(failed: str) -> None:
    assert shell('edgekit report "$1" > /dev/full', failed).returncode == 1


def test_a_closed_stdout_is_one_clear_error_before_anything_is_done(tmp_path: Path) -> None:
    done = shell('cp -r calibration/demo "$1/p" && cd "$1/p" && edgekit build --target rpi4 >&-', str(tmp_path), PYTHONPATH=str(ROOT))
    assert done.returncode == 3, done
    assert done.stderr.splitlines()[0] == "error: standard output is closed"
    assert not (tmp_path / "p" / "build").exists()


@pytest.mark.parametrize("closing", ["2>&-", "2>/dev/full", "<&-", "<&- 2>&-"])
def test_without_stderr_the_data_is_whole(closing: str) -> None:
    done = shell(f"edgekit targets show rpi4 --json {closing}")
    assert done.returncode == 0
    assert done.stdout.startswith('{"schema": "edgekit.targets-show/1", "ok": true')
    assert shell(f"edgekit targets show rpi44 {closing}").returncode == 2


def test_what_stdout_cannot_spell_is_escaped(tmp_path: Path) -> None:
    done = shell('edgekit inspect "$1"', str(write_small_bundle(tmp_path)), PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done
    assert "\\u2500" in done.stdout


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_errors_on_a_terminal_honour_no_color(no_color: str, coloured: bool) -> None:
    ours, theirs = os.openpty()
    try:
        environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color}
        done = subprocess.run([sys.executable, "-m", "edgekit", "biuld"], cwd=ROOT, env=environment, stderr=theirs, timeout=60)
        said = os.read(ours, 10_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert "no command is called 'biuld'" in said
    assert ("31m" in said) is coloured

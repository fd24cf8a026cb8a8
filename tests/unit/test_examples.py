"""The examples for CI services: they parse, no shell finds fault with them, and every word of edgekit's in them exists."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgekit.project import load_project
from edgekit.target import target_names
from tests.unit.cli.commands import contexts

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted((ROOT / "examples").rglob("*.sh"))
FILES = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file())
COMMANDS = {" ".join(ctx.command_path.split()[1:]): ctx for ctx in contexts()}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def read_yaml(name: str) -> dict[Any, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML, of the dev dependencies, reads the examples")
    found: dict[Any, Any] = yaml.safe_load((ROOT / "examples" / name).read_text())
    return found


def calls(path: Path) -> Iterator[list[str]]:
    """Yield the words of each call of edgekit's in a file, with a board or a target for each variable."""
    text = re.sub(r"\n\s+(?=--)", " ", path.read_text())
    for line in text.splitlines():
        found = re.search(r"(?:^|[ /])edgekit ((?:ci|history)\b.*)", line.partition("# ")[0])
        if found:
            words = re.sub(r'\$\{\{.*?\}\}|"\$[A-Za-z]+"', "rpi4", re.split(r" > | &$", found[1])[0])
            yield shlex.split(words.replace('"$@"', ""))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_every_word_of_edgekits_exists(path: Path) -> None:
    found = list(calls(path))
    assert found
    for name, *words in found:
        COMMANDS[name].command.make_context(name, words)


@pytest.mark.parametrize("path", SCRIPTS, ids=relative)
def test_no_shell_finds_fault(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", str(path)], check=True)
    shellcheck = shutil.which("shellcheck", path=str(Path(sys.executable).parent))
    assert shellcheck, "it is in requirements/dev.txt"
    subprocess.run([shellcheck, "--shell=sh", "--severity=warning", str(path)], check=True)


def test_the_workflow() -> None:
    workflow = read_yaml("github/workflow.yml")
    job = workflow["jobs"]["board"]
    assert workflow["permissions"] == {"contents": "read"}
    assert "head.repo.full_name == github.repository" in job["if"], "no pull request from a fork runs in the lab"
    assert set(job["strategy"]["matrix"]["target"]) <= set(target_names())
    (step,) = [step for step in job["steps"] if "edgekit ci" in step.get("run", "")]
    assert step["run"].startswith("exec "), "the runner signals the first process of a step alone"
    assert job["timeout-minutes"] * 60 > 3600 + load_project(None).ci.restore_timeout_s, "edgekit gives up first, and puts the board back"
    assert all("secrets." not in str(step) for step in job["steps"])
    assert [step["if"] for step in job["steps"] if "upload-artifact" in step.get("uses", "")] == ["always()"]


def test_the_pipeline() -> None:
    job = read_yaml("gitlab/.gitlab-ci.yml")["board"]
    assert job["artifacts"]["reports"]["junit"] in job["script"][-1]
    assert job["artifacts"]["when"] == "always"
    assert job["allow_failure"]["exit_codes"] == [8]
    assert not {1, 7, 8} & set(job["retry"]["exit_codes"]), "no verdict is asked for again"
    assert set(job["parallel"]["matrix"][0]["TARGET"]) <= set(target_names())


# Stand-ins for the tools of labs that cannot be here: they say what their documentation shows, and write down what they were asked.
_LABGRID = """case "$*" in *reserve*) echo "export LG_TOKEN=ABC";; *show) echo "Place 'rack-3':";; esac"""
_TOOLS = {"labgrid-client": _LABGRID, "jmp": 'case "$*" in create*) echo lease-7;; esac', "edgekit": "exit ${EDGEKIT_CODE:-0}"}
_ASKED = {
    "labgrid": (
        ["board=rpi4"],
        [
            "labgrid-client reserve --wait --shell board=rpi4",
            "labgrid-client -p + acquire",
            "labgrid-client -p + show",
            "edgekit ci rack-3 --lease-wait 1m --junit j.xml",
            "labgrid-client -p + release",
            "labgrid-client cancel-reservation ABC",
        ],
    ),
    "jumpstarter": (
        ["board=rpi4", "rack-3"],
        [
            "jmp create lease --selector board=rpi4 --duration 90m --output name",
            "jmp shell --lease lease-7 -- j power on",
            "edgekit ci rack-3 --lease-wait 5m --timeout 1h --junit j.xml",
            "jmp delete leases lease-7",
        ],
    ),
}


@pytest.mark.parametrize("code", [0, 8])
@pytest.mark.parametrize("lab", _ASKED)
def test_a_hook_hands_the_board_over_and_gives_it_back(lab: str, code: int, tmp_path: Path) -> None:
    words, asked = _ASKED[lab]
    log = tmp_path / "log"
    for name, does in _TOOLS.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{does}\n')
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "EDGEKIT_CODE": str(code)}
    script = ROOT / "examples" / lab / "ci.sh"
    done = subprocess.run([str(script), *words, "--junit", "j.xml"], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done
    assert log.read_text().splitlines() == asked


@pytest.mark.parametrize("lab", _ASKED)
def test_a_hook_that_is_told_to_stop_tells_edgekit_and_gives_the_board_back_after_it(lab: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    stops = f'trap "sleep 0.5; echo put back >> {log}; exit 143" TERM\necho begun >> {log}\nsleep 60 & wait'
    for name, does in {**_TOOLS, "edgekit": stops}.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{does}\n')
        (tmp_path / name).chmod(0o755)
    words, asked = _ASKED[lab]
    script = [str(ROOT / "examples" / lab / "ci.sh"), *words]
    with subprocess.Popen(script, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, start_new_session=True) as hook:
        try:
            while "begun" not in (log.read_text() if log.exists() else ""):
                assert hook.poll() is None
                time.sleep(0.02)
            hook.terminate()
            assert hook.wait(30) == 143
        finally:
            os.killpg(hook.pid, signal.SIGKILL)
    said = log.read_text().splitlines()
    assert said[said.index("begun") + 1] == "put back"
    assert said[-1] == asked[-1]

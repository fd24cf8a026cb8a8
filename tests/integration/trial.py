"""`edgekit ci` seen from outside: projects, bundles whose gates come out as wanted, and the run as a process that is told to stop."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekit.bundle import list_files, open_bundle, write_bundle
from edgekit.device import Device
from edgekit.evaluation import EVALUATION, Evaluation
from edgekit.target import Budget
from tests.integration.command import Said, edgekit
from tests.integration.junit import Cases, read_junit
from tests.integration.test_line import copy_demo

__all__ = ["Trial", "board_section", "ci", "judged", "killed", "project", "stopped"]

CI = '\n[ci]\nprobes = ["accuracy"]\nlease_wait_s = 0\nretries = 1\n'


@dataclass(frozen=True)
class Trial:
    """What a run said, and its JUnit document."""

    said: Said
    cases: Cases

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        return {step["name"]: step for step in self.said.document["run"]["steps"]}


def board_section(name: str, device: Device, target: str = "local") -> str:
    return f'[devices.{name}]\naddress = "{device.address}"\nroot = "{device.root}"\npython = "{sys.executable}"\ntarget = "{target}"\n'


def project(folder: Path, *boards: Device, section: str = CI) -> Path:
    """Write the demo's project with boards ``b1``, ``b2``, ... and a ``[ci]``."""
    sections = "".join(board_section(f"b{number}", board) for number, board in enumerate(boards, 1))
    return copy_demo(folder, f"{section}\n{sections}")


def ci(*words: str, cwd: Path, timeout_s: float = 300) -> Trial:
    """Run ``edgekit ci WORDS`` to its end."""
    junit = cwd / "junit.xml"
    said = edgekit("ci", *words, "--junit", str(junit), "--json", cwd=cwd, timeout_s=timeout_s)
    assert junit.is_file(), said
    return Trial(said, read_junit(junit.read_bytes()))


def judged(source: Path, folder: Path, outcome: str) -> Path:
    """Return a copy of the demo's bundle whose accuracy gate fails (float is said to be always right), or lacks samples for its budget."""
    with open_bundle(source) as bundle:
        files = {entry.path: (bundle.folder / entry.path).read_bytes() for entry in bundle.manifest.files}
        record = msgspec.json.decode(files[EVALUATION], type=Evaluation)
        if outcome == "fail":
            record = msgspec.structs.replace(record, float_predictions=record.labels)
            files[EVALUATION] = msgspec.json.encode(record)
        manifest = msgspec.structs.replace(bundle.manifest, budget=Budget(accuracy_drop_max=0.001), files=list_files(files))
        return write_bundle(manifest, files, folder)


def killed(*words: str, cwd: Path, when: Callable[[], bool]) -> None:
    """Run ``edgekit ci WORDS`` and kill it once something is so."""
    with subprocess.Popen([sys.executable, "-m", "edgekit", "ci", *words], cwd=cwd, stdout=subprocess.DEVNULL) as host:
        _wait_for(host, when)
        host.kill()


def _wait_for(host: subprocess.Popen[Any], when: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not when():
        assert host.poll() is None, "it ended before"
        assert time.monotonic() < end_s, "it never came to that"
        time.sleep(0.02)


def stopped(*words: str, cwd: Path, when: Callable[[], bool], by: signal.Signals = signal.SIGINT, again: bool = False) -> Trial:
    """Run ``edgekit ci WORDS``, tell it to stop once something is so, and once more if ``again``."""
    junit = cwd / "junit.xml"
    words = ("ci", *words, "--junit", str(junit), "--json")
    command = [sys.executable, "-m", "edgekit", *words]
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        _wait_for(host, when)
        host.send_signal(by)
        if again:
            time.sleep(0.5)
            host.send_signal(signal.SIGTERM)
        out, err = host.communicate(timeout=120)
        said = Said(host.returncode, out, err)
    assert json.loads(out)["schema"] == "edgekit.ci/1", said
    return Trial(said, read_junit(junit.read_bytes()))

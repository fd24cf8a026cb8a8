"""`edgekit.runtime` in programs of the user's: processes of their own, with no edgekit but the file that a deployment brought."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, Callable, Iterator

import pytest

from edgekit.ondevice import client, disk, releases, wire

from .conftest import Agent
from .served import RUNTIME, deploy, environment, install, python

np = pytest.importorskip("numpy")

# Says one line for each line it is told: the answer to an image of fours, or what went wrong.
PROGRAM = """
import json, logging, sys
import numpy as np
from edgekit.runtime import AgentError, load
logging.basicConfig(format="%(message)s")
model = load("meter", root=sys.argv[1])
before = set(sys.modules)
for line in sys.stdin:
    scores = model.predict(np.full((2, 2, 3), 4, np.uint8))
    print(json.dumps([model.release, scores.tolist(), scores.dtype.name]), flush=True)
assert not [name for name in set(sys.modules) - before if name.startswith("edgekit")]
"""


class Program:
    """`PROGRAM`, running."""

    def __init__(self, agent: Agent) -> None:
        command, pipe = [agent.command[0], "-W", "error", "-c", PROGRAM, str(agent.root)], subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment(agent), cwd="/", stdin=pipe, stdout=pipe, stderr=pipe, text=True)

    def __call__(self) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("now\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def program(agent: Agent) -> Iterator[Callable[[], Program]]:
    """What starts `PROGRAM`; each must end well."""
    started: list[Program] = []

    def start() -> Program:
        started.append(Program(agent))
        return started[-1]

    yield start
    for program in started:
        _, said = program.process.communicate(timeout=60)
        assert program.process.returncode == 0, said


def test_three_lines(agent: Agent) -> None:
    install(agent)
    release = deploy(agent, 3)
    code = (
        "from edgekit.runtime import load\nmodel = load('meter', root=__import__('sys').argv[1])\n"
        "print(model.predict([[[4, 4, 4]] * 2] * 2), model.release)"
    )
    done = python(agent, code, str(agent.root))
    assert (done.stdout, done.stderr) == (f"[2.5 2. ] {release}\n", "")


def test_it_follows_what_is_current(agent: Agent, program: Callable[[], Program]) -> None:
    install(agent)
    first = deploy(agent, 1)
    ask = program()
    assert ask() == [first, [2.5, 1.0], "float32"]
    folder = agent.root / "apps" / "meter" / "releases"
    assert disk.held(str(folder / first))
    second = deploy(agent, 2)
    assert ask() == [second, [2.5, 1.5], "float32"]
    assert not disk.held(str(folder / first))
    assert disk.held(str(folder / second))
    agent.ask("store.rollback", app="meter")
    assert ask()[0] == first


def test_what_does_not_open_leaves_the_old_one(agent: Agent, program: Callable[[], Program]) -> None:
    install(agent)
    first = deploy(agent, 1)
    ask = program()
    ask()
    deploy(agent, 255)  # its runtime refuses it
    assert ask()[0] == first
    third = deploy(agent, 3)  # another one current: but the program does not try again at once
    assert ask()[0] in (first, third)
    (agent.root / "apps" / "meter" / "current").unlink()
    assert ask()[0] in (first, third)


def test_a_short_file_is_not_opened(agent: Agent) -> None:
    install(agent)
    release = deploy(agent, 1)
    artifact = agent.root / "apps" / "meter" / "releases" / release / "model.tflite"
    artifact.chmod(0o644)
    artifact.write_bytes(b"\0")
    done = python(agent, "import sys; from edgekit.runtime import load; load('meter', sys.argv[1])", str(agent.root))
    assert done.returncode == 1
    assert "model.tflite has 1 of 9 bytes" in done.stderr


@pytest.mark.parametrize(("name", "kind"), [("meter", "state"), ("../meter", "usage"), ("other", "state")])
def test_what_is_not_there_is_told(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / "apps" / "meter").mkdir(parents=True)
    (tmp_path / "apps" / "meter" / "current").symlink_to("releases/" + "0" * 64)
    with pytest.raises(wire.AgentError) as refused:
        client.load(name, str(tmp_path))
    assert refused.value.kind == kind


def test_one_that_nobody_proves_is_not_opened(agent: Agent, program: Callable[[], Program]) -> None:
    """It is followed while somebody looks after it; a program that starts after a power cut, before the board is in order, gets the old."""
    install(agent)
    first, root = deploy(agent, 1), str(agent.root)
    ask = program()
    second = deploy(agent, 2, current=False)
    agent.ask("deploy.activate", app="meter", release=second, deployment="0" * 16, deadline_s=600)
    assert ask()[0] == second
    assert program()()[0] == second
    watchdog = [pid for pid in Path("/proc").glob("[0-9]*") if is_watchdog(pid, root)]
    assert len(watchdog) == 1
    os.kill(int(watchdog[0].name), signal.SIGKILL)
    while releases.watched(root, "meter"):
        pass
    assert program()()[0] == first
    assert ask()[0] == second  # it runs, and the one before is not better for being opened again
    agent.ask("deploy.settle")
    assert ask()[0] == first


def is_watchdog(process: Path, root: str) -> bool:
    """Tell whether a process has the watch of this root open."""
    try:
        return any(os.readlink(handle) == root + "/apps/meter/.watch" for handle in (process / "fd").iterdir())
    except OSError:
        return False


def test_the_runtime_in_use_stays(agent: Agent, program: Callable[[], Program]) -> None:
    """A process keeps what it has imported; another version beside it is for those that start later."""
    name = install(agent)
    first = deploy(agent, 1)
    ask = program()
    ask()
    folder = agent.root / "runtimes" / name
    assert disk.held(str(folder))
    install(agent, "litert-2.4.0", {**RUNTIME, "other.py": ""})
    assert folder.is_dir()
    assert deploy(agent, 2) != first
    assert ask()[1] == [2.5, 1.5]
    assert disk.held(str(folder))

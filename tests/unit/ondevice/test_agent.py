from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import wire

from .conftest import Agent

LOUD_RUNTIME = """
import os, sys, time
print("hello from the runtime")
os.write(1, b"hello from C\\n")
class OpResolverType:
    AUTO = 0
class Interpreter:
    def __init__(self, **_): time.sleep(30)
"""


def loud(agent: Agent, folder: Path, more: str = "") -> tuple[list[str], bytes]:
    """A runtime that writes to stdout; ``more`` is run on import. Returns the command and a job that opens it."""
    (folder / "ai_edge_litert").mkdir()
    (folder / "ai_edge_litert" / "__init__.py").write_text("")
    (folder / "ai_edge_litert" / "interpreter.py").write_text(LOUD_RUNTIME + more)
    (folder / "m.tflite").write_bytes(b"\0\0\0\0TFL3")
    (folder / "runtimes").mkdir()
    (folder / "runtimes" / "current").symlink_to(folder)
    fields = {"artifact": str(folder / "m.tflite"), "samples": "/none", "outputs": "/none", "preprocess": {}}
    return agent.command, wire.encode_job("infer", str(folder), fields)


def test_stdout_is_kept_for_the_protocol(agent: Agent, tmp_path: Path) -> None:
    command, job = loud(agent, tmp_path, "raise ImportError('broken')")
    done = subprocess.run(command, input=job, capture_output=True, timeout=60)
    (line,) = done.stdout.splitlines()
    event = wire.decode_event(line)
    assert (done.returncode, event["kind"]) == (1, "runtime-failed")
    assert "broken" in event["message"]
    assert b"hello from the runtime" in done.stderr
    assert b"hello from C" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_job_with_a_word(agent: Agent, tmp_path: Path, number: signal.Signals) -> None:
    command, job = loud(agent, tmp_path)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write(job)
        process.stdin.close()
        assert process.stderr.readline().startswith(b"hello from")
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        assert process.stdout is not None
        assert wire.decode_event(process.stdout.readline())["kind"] == "stopped"


@pytest.mark.parametrize("tether", [True, False])
def test_a_job_on_a_tether_ends_with_the_host(agent: Agent, tmp_path: Path, tether: bool) -> None:
    """As SIGHUP would end it; a job that the board starts itself is on none."""
    command, job = loud(agent, tmp_path)
    job = wire.encode_job("infer", str(tmp_path), {**json.loads(job), "tether": tether})
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        assert process.stdout is not None
        process.stdin.write(job)
        process.stdin.flush()
        assert process.stderr.readline().startswith(b"hello from")
        assert process.poll() is None
        process.stdin.close()
        if not tether:
            time.sleep(0.5)
            assert process.poll() is None
            process.kill()
        else:
            assert process.wait(20) == 128 + signal.SIGHUP
            assert wire.decode_event(process.stdout.readline())["kind"] == "stopped"


def test_a_host_that_has_gone_is_no_bug(agent: Agent) -> None:
    with subprocess.Popen(agent.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(wire.encode_job("store.status", str(agent.root), {}))
        process.stdin.close()
        assert process.wait(20) == 1
        assert process.stderr.read() == b"the host has gone\n"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b"\xff\xfe\n",
        b'{"schema":"edgekit.job/2","job":"facts","root":"/tmp"}\n',
        b'{"schema":"edgekit.job/1","job":"nothing","root":"/tmp"}\n',
        b'{"schema":"edgekit.job/1","job":"facts","root":"relative"}\n',
        b'{"schema":"edgekit.job/1","job":"facts","root":"/a\\u0000b"}\n',
        b'{"schema":"edgekit.job/1","job":["facts"],"root":"/tmp"}\n',
        b'{"schema":"edgekit.job/1","job":"facts","root":"/tmp","x":"' + b"y" * wire.MAX_JOB_BYTES + b'"}\n',
    ],
    ids=range(10),
)
def test_what_is_no_job_is_refused_in_words(each_agent: Agent, line: bytes) -> None:
    code, events = each_agent.send(line)
    assert code == 1
    assert [event["event"] for event in events] == ["error"]
    assert events[0]["kind"] == "usage"


@pytest.mark.parametrize(
    ("job", "fields"),
    [
        ("transfer.offer", {"blobs": {}}),
        ("transfer.offer", {"blobs": [{"sha256": "../../etc/passwd", "bytes": 0, "chunks": ""}]}),
        ("transfer.offer", {"blobs": [{"sha256": "0" * 64, "bytes": 1, "chunks": ""}]}),
        ("transfer.offer", {"blobs": [{"sha256": "0" * 64, "bytes": -1, "chunks": ""}]}),
        ("transfer.offer", {"blobs": [{"sha256": "0" * 64, "bytes": 0, "chunks": "!"}]}),
        ("transfer.take", {"blobs": [{"sha256": "0" * 64, "bytes": 0, "chunks": "", "start": 1}]}),
        ("transfer.take", {"blobs": [{"sha256": "0" * 64, "bytes": 0, "chunks": ""}] * 2}),
        ("store.stage", {"app": "../x", "release": "0" * 64, "files": []}),
        ("store.stage", {"app": "x", "release": "0" * 64, "files": [{"path": "../x", "sha256": "0" * 64, "bytes": 1}]}),
        ("deploy.activate", {"app": "x", "release": "latest", "deployment": "0" * 16}),
        ("deploy.activate", {"app": "x", "release": "0" * 64, "deployment": "../x"}),
        ("deploy.prove", {"app": "../x", "release": "0" * 64, "deployment": "0" * 16}),
        ("deploy.commit", {"app": "x", "release": "0" * 64, "deployment": "0" * 16, "keep": 1}),
        ("deploy.settle", {"app": "/"}),
        ("deploy.watch", {"app": "x", "deployment": "0" * 15}),
        ("store.rollback", {"app": "/etc"}),
        ("store.status", {"app": ".."}),
        ("runtime.install", {"lock": "good", "wheels": "none"}),
        ("runtime.install", {"lock": "../x", "wheels": []}),
        ("probe.accuracy", {"app": "x", "samples": "/etc/passwd"}),
        ("probe.latency", {"app": "x", "min_count": 0}),
        ("golden", {"app": 7}),
        ("infer", {"artifact": "m", "samples": "s", "outputs": "o", "preprocess": {}}),
    ],
)
def test_hostile_fields_are_refused(each_agent: Agent, job: str, fields: dict[str, Any]) -> None:
    assert each_agent.refuse(job, **fields)["kind"] == "usage"
    assert not (each_agent.root.parent / "x").exists()


def test_it_takes_no_arguments(agent: Agent) -> None:
    done = subprocess.run([*agent.command, "--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert (done.returncode, wire.decode_event(done.stdout)["kind"]) == (1, "usage")

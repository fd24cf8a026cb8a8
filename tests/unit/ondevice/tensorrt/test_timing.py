"""Times that trtexec exports, as samples/common/sampleReporting.cpp of TensorRT writes them (exportJSONTrace); rows made up after its form.

8.5 and 8.6 leave the runs of the warm-up in the file, later releases cut them off; 11 copies nothing unless asked to.
"""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice.sampler import Sampler
from edgekit.ondevice.tensorrt import timing
from edgekit.ondevice.wire import AgentError


def row(start_ms: float, h2d: float = 0.125, compute: float = 1.5, d2h: float = 0.0625) -> dict[str, float]:
    ends = [start_ms, start_ms + h2d, start_ms + h2d + compute, start_ms + h2d + compute + d2h]
    return {
        "startEnqMs": start_ms - 0.25,
        "endEnqMs": start_ms - 0.125,
        "startH2dMs": ends[0],
        "endH2dMs": ends[1],
        "startComputeMs": ends[1],
        "endComputeMs": ends[2],
        "startD2hMs": ends[2],
        "endD2hMs": ends[3],
        "h2dMs": h2d,
        "computeMs": compute,
        "d2hMs": d2h,
        "latencyMs": h2d + compute + d2h,
    }


def test_each_run_and_its_parts() -> None:
    invoke, parts = timing.series(json.dumps([row(2001), row(2003, compute=2.0)]).encode())
    assert invoke == [1_687_500, 2_187_500]
    assert parts == {"h2d": [125_000] * 2, "compute": [1_500_000, 2_000_000], "d2h": [62_500] * 2}


def test_runs_of_the_warm_up_are_not_counted() -> None:
    assert len(timing.series(json.dumps([row(10), row(1999.8), row(2000), row(2002)]).encode())[0]) == 2


def test_copies_that_were_not_made_are_no_part() -> None:
    invoke, parts = timing.series(json.dumps([row(2001, h2d=0, d2h=0)]).encode())
    assert (invoke, parts) == ([1_500_000], {"compute": [1_500_000]})


@pytest.mark.parametrize(
    "trace",
    [
        b"",
        b"[",
        b"{}",
        b"[3]",
        b"[]",
        json.dumps([row(1)]).encode(),
        json.dumps([{**row(2001), "latencyMs": -1}]).encode(),
        json.dumps([{**row(2001), "computeMs": "fast"}]).encode(),
        json.dumps([{**row(2001), "h2dMs": float("nan")}]).encode(),
        json.dumps([{key: value for key, value in row(2001).items() if key != "d2hMs"}]).encode(),
        b"[" * 100_000,
    ],
)
def test_what_is_no_trace_is_refused(trace: bytes) -> None:
    with pytest.raises(AgentError) as refused:
        timing.series(trace)
    assert refused.value.kind == "runtime-failed"


def program(folder: Path, body: str) -> None:
    """Put a trtexec on the PATH that answers --help with its banner, and else does as it is told."""
    path = folder / "trtexec"
    banner = "echo '&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec'"
    path.write_text("\n".join(["#!/bin/sh", banner, '[ "$1" = --help ] && exit 0', body, ""]))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


MISSING = AgentError("runtime-missing", "no tensorrt runtime: tensorrt cannot be found")


def test_an_answer_that_the_host_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trace").write_text(json.dumps([row(2000 + 2 * number) for number in range(40)]))
    program(
        tmp_path,
        'echo "$@" >%s/said\nfor word; do case $word in --exportTimes=*) cp %s/trace "${word#*=}";; esac; done' % ((tmp_path,) * 2),
    )
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    data = timing.probe("/board/engine.plan", 1, 3.2, 40, 2, Sampler(4096), MISSING)
    said = (tmp_path / "said").read_text().split()
    assert [word for word in said if "exportTimes" not in word] == [
        "--loadEngine=/board/engine.plan",
        "--warmUp=2000",
        "--useDLACore=1",
        "--iterations=40",
        "--duration=4",
    ]
    assert data["runtime"] == {"name": "trtexec", "version": "8.5.2"}
    assert data["fed"].startswith("random values of trtexec, not samples")
    assert (len(data["invoke_ns"]), data["end_to_end_ns"], data["load_ns"], data["capped"]) == (40, [], None, False)
    assert data["warmup"] == {"runs": 0, "seconds": 2.0, "steady": True}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "echo '[01/01/2026-00:00:00] [E] Engine deserialization failed'; exit 1",
            "status 1): [01/01/2026-00:00:00] [E] Engine deserialization",
        ),
        ("exit 0", "status 0)"),
        ("kill -9 $$", "status -9)"),
    ],
)
def test_a_trtexec_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str) -> None:
    program(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(AgentError) as refused:
        timing.probe("/board/engine.plan", None, 1, 1, 1, Sampler(4096), MISSING)
    assert said in refused.value.message


def test_a_run_whose_trace_would_fill_the_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(AgentError, match=r"not asked for 121 s, 120 are the most"):
        timing.probe("/board/engine.plan", None, 121, 1, 1, Sampler(4096), MISSING)


def test_without_a_trtexec_what_python_lacks_is_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AgentError) as refused:
        timing.probe("/board/engine.plan", None, 1, 1, 1, Sampler(4096), MISSING)
    found: Any = refused.value
    assert (found.kind, found.message) == ("runtime-missing", MISSING.message + "; nor is there a trtexec")

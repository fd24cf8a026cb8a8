"""Builders on test boards: refused, failing, killed, told to stop, cut off from their host, out of disk."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from edgekit.ondevice import wire
from edgekit.ondevice.tensorrt import key

from .boards import WAYS, Make, board, gone, journal, until
from .conftest import VERSIONS

__all__ = ["board"]  # a fixture


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_builder_is_told_of_and_another_may_try(board: Make, tmp_path: Path, way: str) -> None:
    there = board(way, KILL=str(int(signal.SIGKILL)))
    fields = there.fields()
    error = there.refuse("engine.build", **fields)
    assert "killed by signal 9: most likely memory ran out" in error["message"]
    assert "a smaller workspace" in error["fix"]
    assert not (there.root / "engines" / key.digest_of(fields["key"])).exists()
    assert not board(way).ask("engine.build", **fields)["cached"]


@pytest.mark.parametrize(("way", "version"), [("tensorrt", "10.3.0"), *(("trtexec", version) for version in VERSIONS)])
def test_a_refusal_names_the_node(board: Make, way: str, version: str) -> None:
    there = board(way, TENSORRT_VERSION=version, REFUSE="Sigmoid")
    error = there.refuse("engine.build", **there.fields())
    assert error["kind"] == "runtime-failed"
    assert error["message"].startswith(f"TensorRT {version} does not build it at node middle (Sigmoid): ")


@pytest.mark.parametrize("way", WAYS)
def test_a_builder_that_fails_says_why(board: Make, way: str) -> None:
    there = board(way, FAIL="Could not find any implementation for node {ForeignNode[first...last]}.")
    message = there.refuse("engine.build", **there.fields())["message"]
    assert "at node ForeignNode[first...last]: Could not find any implementation" in message


def test_trtexec_passes_with_an_engine_that_cannot_be_opened(board: Make) -> None:
    there = board("trtexec", UNOPENED="1")
    message = there.refuse("engine.build", **there.fields())["message"]
    assert "Serialization (magicTagRead == kMAGIC_TAG failed); Engine deserialization failed" in message


@pytest.mark.parametrize("way", WAYS)
def test_a_cut_link_stops_nothing(board: Make, tmp_path: Path, way: str) -> None:
    gate = tmp_path / "gate"
    there = board(way, GATE=str(gate))
    fields = there.fields()
    first = there.begin(fields)
    until(lambda: journal(tmp_path))
    first.send_signal(signal.SIGHUP)  # what sshd's end does to a session
    assert there.end(first)["kind"] == "stopped"
    second, third = there.begin(fields), there.begin(fields)
    gate.touch()
    results = [there.end(process)["data"] for process in (second, third)]
    assert results[0]["engine"] == results[1]["engine"] == key.digest_of(fields["key"])
    assert len(journal(tmp_path)) == 1


def test_two_hosts_at_once_have_one_builder(board: Make, tmp_path: Path) -> None:
    there = board("trtexec")
    fields = there.fields()
    results = [there.end(process)["data"] for process in [there.begin(fields) for _ in range(3)]]
    assert [result["files"] for result in results] == [results[0]["files"]] * 3
    assert len(journal(tmp_path)) == 1


def test_a_host_that_was_killed_finds_the_engine_later(board: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    there = board(GATE=str(gate))
    fields = there.fields()
    with there.begin(fields) as process:
        until(lambda: journal(tmp_path))
        process.kill()
    gate.touch()
    until((there.root / "engines" / key.digest_of(fields["key"])).is_dir)
    assert there.ask("engine.build", **fields)["cached"]


def test_steps_are_told_while_it_builds(board: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    there = board(GATE=str(gate))
    process = there.begin(there.fields())
    assert process.stdout is not None
    stages = []
    while "Building engine" not in stages:
        event = wire.decode_event(process.stdout.readline())
        stages.append(event["stage"])
    gate.touch()
    assert there.end(process)["event"] == "result"


def test_a_builder_that_is_told_to_stop_leaves_nothing_running(board: Make, tmp_path: Path) -> None:
    there = board(GATE=str(tmp_path / "never"))
    process = there.begin(there.fields())
    until(lambda: journal(tmp_path))
    builder = journal(tmp_path)[0]["pid"]
    os.kill(os.getpgid(builder), signal.SIGTERM)
    assert there.end(process)["kind"] == "stopped"
    until(lambda: gone(builder))


def test_what_a_power_cut_left_is_built_afresh(board: Make, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    there = board(GATE=str(gate))
    fields = there.fields()
    process = there.begin(fields)
    until(lambda: journal(tmp_path))
    os.killpg(os.getpgid(journal(tmp_path)[0]["pid"]), signal.SIGKILL)
    assert "gone without a word" in there.end(process)["message"]
    gate.touch()
    assert not there.ask("engine.build", **fields)["cached"]


def test_a_full_disk(board: Make, tmp_path: Path) -> None:
    there = board(ENGINE_MIB="80")
    (tmp_path / "root").mkdir()
    mounted = f'mount -t tmpfs -o size=72m,mode=700 none {tmp_path}/root && exec "$@"'
    within = ["unshare", "--mount", "sh", "-c", mounted, "sh"]
    if subprocess.run([*within, "true"], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("a file system of its own needs the rights to mount one")
    fields = there.fields()
    onnx = tmp_path / "root" / "blobs" / "sha256" / fields["onnx"]
    data = onnx.read_bytes()
    (tmp_path / "network").write_bytes(data)
    copied = f'mkdir -p {onnx.parent} && cp {tmp_path}/network {onnx} && exec "$@"'
    there.command = [*within[:-2], mounted.replace('exec "$@"', copied), "sh", *there.command]
    error = there.refuse("engine.build", **fields)
    assert (error["kind"], "No space left" in error["message"]) == ("no-space", True)

"""The process that watches the board: what it sees of sensors that change, whom it blames for the load, and that it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import sampler

from .conftest import PACKAGE

SPARE = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a core to spare needs two")
CHANGES = {
    "sys/class/thermal/thermal_zone0/temp": ("50000\n", "81000\n"),
    "sys/class/hwmon/hwmon0/curr1_input": ("1000\n", "2000\n"),
    "sys/class/thermal/cooling_device0/cur_state": ("0\n", "1\n"),
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": ("1800000\n", "1500000\n"),
}
FIXED = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/cooling_device0/type": "cpu-throttle-alert\n",
    "sys/class/hwmon/hwmon0/name": "ina3221\n",
    "sys/class/hwmon/hwmon0/in1_label": "VDD_IN\n",
    "sys/class/hwmon/hwmon0/in1_input": "5000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "performance\n",
}


def write(top: Path, moment: int) -> None:
    for name, text in {**FIXED, **{name: texts[moment] for name, texts in CHANGES.items()}}.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)


# A probe is a process of its own: it gives its cores away for good.
HEAD = "import json, os, signal, sys, time\nfrom edgekit.ondevice.sampler import Sampler\n"


def run(code: str, *words: str, **more: Any) -> Any:
    done = subprocess.run([sys.executable, "-c", HEAD + code, *words], cwd=PACKAGE.parent, stdout=subprocess.PIPE, timeout=60, **more)
    assert done.returncode == 0
    return json.loads(done.stdout)


SEEN = """
sampler = Sampler(%s, 0.05, sys.argv[1])
sampler.phase("invoke")
print(os.getpid(), flush=True)
sys.stdin.readline()
if sampler.core is None: sampler.phase("invoke")
print(json.dumps({**sampler.end(), "allowed": sorted(os.sched_getaffinity(0))}))
"""


def watched(threads: str, top: Path) -> dict[str, Any]:
    """Change the board under a probe that waits meanwhile."""
    write(top, 0)
    command = [sys.executable, "-c", HEAD + SEEN % threads, str(top)]
    process = subprocess.Popen(command, cwd=PACKAGE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.readline()
    write(top, 1)
    time.sleep(0.3)  # some periods
    said, _ = process.communicate(b"\n", timeout=60)
    assert process.returncode == 0
    answer: dict[str, Any] = json.loads(said)
    return answer


@pytest.mark.parametrize("threads", [pytest.param("1", marks=SPARE), "4096"])
def test_what_changes_while_it_is_measured_is_seen(threads: str, tmp_path: Path) -> None:
    answer = watched(threads, tmp_path)
    first, *between, last = answer["states"]
    assert (first["phase"], last["phase"], {state["phase"] for state in between}) == ("before", "after", {"invoke"})
    for state, celsius, watts, alarms, mhz in ((first, 50.0, 5.0, [], 1800.0), (last, 81.0, 10.0, ["cpu-throttle-alert"], 1500.0)):
        assert state["temperature_c"] == {"cpu-thermal": celsius}
        assert state["power_w"] == {"VDD_IN": watts}
        assert state["alarms"] == alarms
        assert state["timed"]["mhz"] == mhz
    assert any(state["alarms"] for state in between), "seen while it was measured"
    watch, mine = answer["watch"], sorted(os.sched_getaffinity(0))
    assert answer["allowed"] == watch["timed"]
    if threads == "1":
        assert sorted([watch["core"], *watch["timed"]]) == mine
        assert len(between) >= 3
    else:
        assert (watch["core"], watch["timed"]) == (None, mine)


BLAMED = """
import subprocess

def spent(process):
    fields = open("/proc/%d/stat" % process).read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

sampler = Sampler(1, 10.0)
mine = subprocess.Popen([sys.executable, "-c", sys.argv[1]]) if len(sys.argv) == 2 else None
process = mine.pid if mine else int(sys.argv[2])
sampler.phase("invoke")
sampler.take()
before, end = spent(process), time.monotonic() + 50
sampler.phase("invoke")
while spent(process) - before < 0.4 and time.monotonic() < end: time.sleep(0.02)
data = sampler.end()
if mine: mine.kill(); mine.wait()
print(json.dumps([state["timed"] for state in data["states"]]))
"""
SPIN = "import time\nend = time.monotonic() + 60\nwhile time.monotonic() < end: pass"


@SPARE
def test_the_work_of_others_is_told_from_ours() -> None:
    """A process that we began is ours; one of somebody else's on the same cores is not."""
    begun, *_, ended = run(BLAMED, SPIN)
    assert ended["total_s"] > begun["total_s"]
    assert ended["own_s"] - begun["own_s"] > 0.3, "a child counts as the work itself"
    cores = sorted(os.sched_getaffinity(0))
    with subprocess.Popen([sys.executable, "-c", SPIN]) as theirs:
        os.sched_setaffinity(theirs.pid, {core for core in cores if core != sampler._spare(cores, 1)})
        begun, *_, ended = run(BLAMED, SPIN, str(theirs.pid))
        theirs.kill()
    assert ended["own_s"] - begun["own_s"] < 0.2
    assert (ended["busy_s"] - begun["busy_s"]) - (ended["own_s"] - begun["own_s"]) > 0.3


APART = """
import threading
sampler = Sampler(1, 60.0)
ours = set()
threads = [threading.Thread(target=lambda: ours.update(os.sched_getaffinity(0))) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([sampler.core, sorted(os.sched_getaffinity(sampler._child)), sorted(ours)]))
sampler.end()
"""


@SPARE
def test_it_runs_where_no_thread_of_the_work_may() -> None:
    core, its, ours = run(APART)
    assert its == [core]
    assert core not in ours
    assert sorted([core, *ours]) == sorted(os.sched_getaffinity(0))


@SPARE
def test_it_ends_with_whoever_is_measured_even_by_a_kill() -> None:
    code = "sampler = Sampler(1, 60.0)\nprint(sampler._child, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    killed = subprocess.run([sys.executable, "-c", HEAD + code], cwd=PACKAGE.parent, stdout=subprocess.PIPE)
    assert killed.returncode == -signal.SIGKILL
    end = time.monotonic() + 20
    while _runs(int(killed.stdout)) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _runs(int(killed.stdout))


def _runs(process: int) -> bool:
    try:
        return " Z " not in Path("/proc", str(process), "stat").read_text()
    except OSError:
        return False


def test_memory_stays_flat_and_nothing_that_counts_is_lost() -> None:
    states: list[dict[str, Any]] = [{"time": n, "alarms": [], "throttled": "0x0", "timed": {"mhz": 1800.0}} for n in range(101)]
    states[41].update(alarms=["gpu-throttle-alert"], throttled="0x4", timed={"mhz": 600.0})
    kept = sampler.thinned(states)
    assert [state["time"] for state in kept] == [0, *range(2, 101, 2)]
    assert [(state["time"], state["timed"]["mhz"], state["throttled"]) for state in kept if state["alarms"]] == [(42, 600.0, "0x4")]
    assert sampler.thinned(states[:100])[-1] == states[99], "the last stays, however many there are"

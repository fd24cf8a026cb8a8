from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from edgekit.ondevice import board, facts

from .conftest import Agent

# SIMULATED: what a Raspberry Pi 4 shows, reduced to what is read.
PI4 = {
    "sys/EDGEKIT_SIMULATED": "",
    "proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd crc32\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n\nModel\t\t: Raspberry Pi 4\n",
    "proc/meminfo": "MemTotal:        3884664 kB\nMemFree:  1 kB\nMemAvailable:    3500000 kB\n",
    "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
    "etc/os-release": 'ID=debian\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    "sys/class/thermal/thermal_zone0/temp": "48200\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "51000\n",
    "sys/class/thermal/thermal_zone1/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone2/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone3/temp": "",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/devices/system/cpu/cpu10/cpufreq/scaling_cur_freq": "600000\n",
    "sys/devices/system/cpu/cpu2/cpufreq/scaling_cur_freq": "900000\n",
}


@pytest.fixture
def pi4(tmp_path: Path) -> Path:
    for name, text in PI4.items():
        path = tmp_path / "pi4" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "pi4"


def test_what_a_board_says_of_itself(pi4: Path) -> None:
    found = facts.hardware(str(pi4))
    assert found.pop("machine") in (os.uname().machine, "armv7l")
    assert found == {
        "system": "Debian GNU/Linux 12 (bookworm)",
        "board": "Raspberry Pi 4 Model B Rev 1.4",
        "cpu": "Cortex-A72",
        "cpu_features": ["asimd", "crc32", "fp"],
        "memory_total_bytes": 3884664 * 1024,
        "memory_available_bytes": 3500000 * 1024,
        "sensors": [
            {"name": "cpu-thermal", "kind": "temperature", "value": 48.2, "unit": "degC"},
            {"name": "cpu-thermal-1", "kind": "temperature", "value": 51.0, "unit": "degC"},
        ],
        "simulated": True,
    }


def test_a_board_that_says_nothing(tmp_path: Path) -> None:
    found = facts.hardware(str(tmp_path))
    assert (found["board"], found["cpu"], found["sensors"], found["simulated"]) == (None, "unknown", [], False)


def test_an_emulator_is_seen_through(tmp_path: Path) -> None:
    task = tmp_path / "proc" / "self" / "task" / str(os.getpid())
    task.mkdir(parents=True)
    (task / "cmdline").write_bytes(b"/usr/bin/qemu-aarch64-static\0python3\0")
    assert facts.hardware(str(tmp_path))["simulated"]


def test_the_state_of_a_board(pi4: Path) -> None:
    state = board.state(str(pi4))
    assert state["temperature_c"] == {"cpu-thermal": 48.2, "cpu-thermal-1": 51.0}
    assert state["cpu_mhz"] == [1500, 900, 600]
    assert state["governor"] == ["ondemand"]
    assert state["load1"] >= 0


@pytest.mark.parametrize(
    ("answer", "bits"), [("echo throttled=0x50005", "0x50005"), ("echo 'VCHI initialization failed'; exit 255", None), ("exit 1", None)]
)
def test_throttling_is_asked_of_the_firmware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, bits: str) -> None:
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\n" + answer + "\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert board.state()["throttled"] == bits


def test_the_power_chip_of_a_raspberry_pi_5_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As users show its answer; the 5 V that come in have no current, and the battery has none."""
    said = "   VDD_CORE_A current(7)=1.50000000A\n    DDR_VDD2_A current(4)=0.02000000A\n   VDD_CORE_V volt(15)=0.80000000V\n"
    said += "   DDR_VDD2_V volt(12)=1.10000000V\n     EXT5V_V volt(24)=5.14552000V\n      BATT_V volt(25)=0.00585970V\n"
    command = tmp_path / "vcgencmd"
    command.write_text("#!/bin/sh\n[ $1 = pmic_read_adc ] && cat <<'E'\n" + said + "E\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert board.power(str(tmp_path)) == {"VDD_CORE": pytest.approx(1.2), "DDR_VDD2": pytest.approx(0.022)}


def test_no_firmware_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert board.state()["throttled"] is None


def test_facts_of_this_machine(each_agent: Agent) -> None:
    found = each_agent.ask("facts")
    assert found["kernel"] == os.uname().release
    assert found["python"].split(".")[0] == "3"
    assert found["cores"] == len(os.sched_getaffinity(0))
    assert found["memory_total_bytes"] > found["memory_available_bytes"] > 0
    assert found["disk_free_bytes"] > 0
    assert found["cpu_features"]
    assert not each_agent.root.exists()


def test_the_runtime_here_imports(agent: Agent) -> None:
    pytest.importorskip("ai_edge_litert")
    found = agent.ask("facts")
    assert found["python"] == platform.python_version()
    assert found["runtimes"][0]["name"] == "ai-edge-litert"
    assert (found["runtimes"][0]["error"], found["runtimes"][0]["lock"]) == (None, None)
    assert found["numpy"] is not None

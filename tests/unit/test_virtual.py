"""Records of virtual boards: a process that is not taken for another, names, and what a broken record says."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from edgekit.devices.virtual import userland
from edgekit.devices.virtual.emulation import _registered
from edgekit.devices.virtual.kind import KINDS, furnish
from edgekit.devices.virtual.process import end
from edgekit.devices.virtual.server import server
from edgekit.errors import DeviceError, InputError, UsageError
from edgekit.inventory import find_device, find_devices
from edgekit.ondevice import facts
from edgekit.pipeline.virtual import down
from edgekit.project import DeviceSection, Project
from edgekit.target import load_target
from edgekit.virtual import TARGETS, Process, VirtualBoard, board_name, boards, find_board, home


def record(name: str = "virtual-rpi4", *, process: Process | None = None) -> VirtualBoard:
    """Write down a board whose process is this one."""
    own = process or Process.of(os.getpid())
    assert own is not None
    board = VirtualBoard(name=name, target="rpi4", port=2222, since=time.time(), process=own)
    board.folder.mkdir(parents=True)
    (board.folder / "board.json").write_bytes(msgspec.json.encode(board))
    return board


def test_a_process_is_known_by_when_it_began() -> None:
    own = Process.of(os.getpid())
    assert own is not None
    assert own.runs
    assert not msgspec.structs.replace(own, start_ticks=own.start_ticks + 1).runs, "another one with its number"
    assert not msgspec.structs.replace(own, boot_id="0").runs, "of before the machine was started"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = Process.of(child.pid)
        assert found is not None
        assert found.runs
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not found.runs, "it has ended, though nobody has collected it"


def test_a_board_that_is_up_needs_no_section() -> None:
    board = record()
    device = find_device(Project(), "virtual-rpi4")
    assert (device.name, str(device.address), device.target) == ("virtual-rpi4", "virtual-rpi4", "rpi4")
    assert device.ssh_config == str(board.ssh_config)
    near = Project(devices={"virtual-rpi": DeviceSection(address="pi@gate")})
    assert find_device(near, "virtual-rpi4").target == "rpi4", "a name that is near another is no misspelling"
    assert [found.name for found in find_devices(near, ["virtual-rpi4", "virtual-rpi"])] == ["virtual-rpi4", "virtual-rpi"]


def test_a_section_may_be_a_virtual_board() -> None:
    record()
    device = find_device(Project(devices={"ci": DeviceSection(address="virtual-rpi4", root="~/here")}), "ci")
    assert (device.name, device.target, device.root) == ("ci", "rpi4", "~/here")
    assert device.ssh_config is not None


def test_any_other_address_goes_by_the_users_own_config() -> None:
    record()
    for word in ("pi@virtual-rpi4", "virtual-rpi4:22", "virtual-door", "pi@gate"):
        assert find_device(Project(), word).ssh_config is None


def test_one_that_is_not_up_or_has_ended_says_so() -> None:
    with pytest.raises(DeviceError, match="virtual-rpi5-vm is not up") as refused:
        find_board("virtual-rpi5-vm")
    assert refused.value.fix == "edgekit virtual up rpi5 --vm"
    record(process=Process(2, 0, "another"))
    with pytest.raises(DeviceError, match="virtual-rpi4 has ended"):
        find_board("virtual-rpi4")


@pytest.mark.parametrize("text", ["", "{}", '{"name": "virtual-rpi4"}', "[" * 10_000])
def test_a_record_that_cannot_be_read(text: str) -> None:
    (home() / "virtual-rpi4").mkdir(parents=True)
    (home() / "virtual-rpi4" / "board.json").write_text(text)
    with pytest.raises(InputError, match="virtual-rpi4") as refused:
        boards()
    assert refused.value.fix == "edgekit virtual down --all"


@pytest.mark.parametrize("target", TARGETS)
def test_a_virtual_board_is_what_its_target_asks_for(target: str, tmp_path: Path) -> None:
    kind, wanted = KINDS[target], load_target(target)
    furnish(kind, tmp_path, cores=3)
    for name in ("proc", "etc"):
        (tmp_path / name).mkdir()
    (tmp_path / "cpuinfo").rename(tmp_path / "proc" / "cpuinfo")
    found = facts.hardware(str(tmp_path))
    assert any(board in found["board"] for board in wanted.boards)
    assert "(emulated)" in found["board"]
    assert found["simulated"] is True
    assert [(sensor["name"], sensor["value"]) for sensor in found["sensors"]] == [("cpu-thermal", 48.2)]
    assert {"arm64": "aarch64", "armhf": "armv7l"}[kind.arch] in wanted.machines
    assert board_name(target, vm=True) == f"virtual-{target}-vm"


@pytest.mark.parametrize(
    ("lines", "serves"),
    [
        (["enabled", "interpreter /usr/bin/qemu-aarch64-static", "flags: OCPF", "offset 0"], True),
        (["enabled", "interpreter /usr/bin/qemu-aarch64-static", "flags: ", "offset 0"], False),
        (["disabled", "interpreter /usr/bin/qemu-aarch64-static", "flags: F", "offset 0"], False),
    ],
)
def test_the_machines_own_registration_serves_if_it_works_after_chroot(lines: list[str], serves: bool, tmp_path: Path) -> None:
    assert not _registered(tmp_path, "aarch64")
    (tmp_path / "qemu-aarch64").write_text("\n".join(lines))
    assert _registered(tmp_path, "aarch64") is serves


def test_who_may_log_in_is_who_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain su to root leaves LOGNAME as it was."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "somebody-else")
    server(KINDS["rpi4"], tmp_path, port=2222, userland=tmp_path, register="")
    assert f"\nAllowUsers {pwd.getpwuid(os.geteuid()).pw_name}\n" in (tmp_path / "sshd_config").read_text()


def test_without_debians_keys_nothing_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mmdebstrap").write_text("")
    (tmp_path / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(userland, "_KEYRINGS", tmp_path)
    with pytest.raises(DeviceError) as refused:
        userland.can_unpack()
    assert refused.value.fix == "sudo apt install debian-archive-keyring"


def test_nothing_on_a_board_keeps_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its root writes into folders that nobody may write to; `down`, called by a user, is not root. Links are not followed."""
    (tmp_path / "mine").mkdir(mode=0o500)
    closed = tmp_path / "board" / "home" / "closed"
    (closed / "deep").mkdir(parents=True)
    (closed / "deep" / "file").touch()
    (tmp_path / "board" / "home" / "link").symlink_to(tmp_path / "mine")
    for path in (closed / "deep", closed):
        path.chmod(0)
    root = os.geteuid() == 0
    if root:
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.chown(path, 65534, -1, follow_symlinks=False)
    monkeypatch.chdir(tmp_path)
    try:
        if root:
            os.seteuid(65534)
        end(Path("board"))
    finally:
        if root:
            os.seteuid(0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o500


def test_down_takes_what_is_a_board(tmp_path: Path) -> None:
    home().mkdir(parents=True)
    (home() / "virtual-link").symlink_to(tmp_path)
    (home() / "virtual-file").touch()
    (home() / "virtual-rpi4").mkdir()
    assert down(None) == ["virtual-rpi4"]
    assert tmp_path.is_dir()


def test_what_there_is_no_virtual_board_of() -> None:
    from edgekit.pipeline.virtual import up

    with pytest.raises(UsageError, match="it has 32 bits"):
        up("rpi3-armv7", vm=True)
    assert set(KINDS) == set(TARGETS)

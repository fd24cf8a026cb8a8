"""Work that outlives a lost link: run again until it is done, and told apart from work that fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices.session import AgentSession
from edgekit.errors import BuildError, DeviceError, LinkError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.link import persist

QUICK_S = (0.0, 0.0, 0.0)


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(name="here", address=Address.parse("local"), root=str(tmp_path / "root"))


def losing(times: int, *, heard: bool, tries: list[int]) -> Callable[[AgentSession, Progress], str]:
    """Return work that loses its link so many times, after it was heard of or not."""

    def work(session: AgentSession, progress: Progress) -> str:
        tries.append(len(tries))
        if heard:
            progress("build", len(tries), 100)
        if len(tries) <= times:
            raise LinkError("the connection broke")
        return session.facts().machine

    return work


def test_a_lost_link_is_tried_again(device: Device) -> None:
    tries: list[int] = []
    told: list[str] = []
    answer = persist(
        device,
        losing(2, heard=False, tries=tries),
        progress=lambda stage, done, total: told.append(stage),
        fix="again",
        waits_s=QUICK_S,
    )
    assert answer
    assert len(tries) == 3
    assert told == ["connect again (the connection broke)"] * 2


def test_a_board_that_is_never_heard_of_is_given_up(device: Device) -> None:
    tries: list[int] = []
    with pytest.raises(LinkError, match="the connection broke") as caught:
        persist(device, losing(99, heard=False, tries=tries), progress=silent, fix="the same command attaches", waits_s=QUICK_S)
    assert len(tries) == 1 + len(QUICK_S)
    assert caught.value.fix == "the same command attaches"


def test_a_board_that_says_the_same_each_time_is_given_up(device: Device) -> None:
    tries: list[int] = []

    def work(session: AgentSession, progress: Progress) -> None:
        tries.append(0)
        progress("build", 5, 100)
        raise LinkError("the connection broke")

    with pytest.raises(LinkError):
        persist(device, work, progress=silent, fix="again", waits_s=QUICK_S)
    assert len(tries) == 1 + len(QUICK_S)


def test_whoever_gets_further_may_lose_the_link_as_often_as_it_likes(device: Device) -> None:
    tries: list[int] = []
    assert persist(device, losing(20, heard=True, tries=tries), progress=silent, fix="again", waits_s=QUICK_S)
    assert len(tries) == 21


@pytest.mark.parametrize("error", [DeviceError("the job failed"), BuildError("TensorRT refused")], ids=["device", "build"])
def test_work_that_fails_is_not_tried_again(device: Device, error: Exception) -> None:
    tries: list[int] = []

    def work(session: AgentSession, progress: Progress) -> None:
        tries.append(0)
        raise error

    with pytest.raises(type(error)):
        persist(device, work, progress=silent, fix="again", waits_s=QUICK_S)
    assert len(tries) == 1


def test_a_board_that_cannot_be_reached_at_all_is_an_error_at_once(tmp_path: Path) -> None:
    missing = Device(name="here", address=Address.parse("local"), python=str(tmp_path / "no-python"), root=str(tmp_path / "root"))
    with pytest.raises(DeviceError, match="no-python"):
        persist(missing, losing(0, heard=False, tries=[]), progress=silent, fix="again", waits_s=QUICK_S)


def test_a_board_that_was_there_may_take_its_time_to_come_back(tmp_path: Path) -> None:
    """As while it boots: connecting fails in another way than a link that is lost."""
    import sys

    python = tmp_path / "python"
    python.symlink_to(sys.executable)
    device = Device(name="here", address=Address.parse("local"), python=str(python), root=str(tmp_path / "root"))
    tries: list[int] = []

    def work(session: AgentSession, progress: Progress) -> str:
        tries.append(0)
        if len(tries) == 1:
            python.rename(tmp_path / "away")
            raise LinkError("the connection broke")
        return "done"

    def back(stage: str, done: int, total: int) -> None:
        if done == 2:
            (tmp_path / "away").rename(python)

    assert persist(device, work, progress=back, fix="again", waits_s=QUICK_S) == "done"

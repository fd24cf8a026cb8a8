"""A lease that could not be given back: the same user's next command goes on under it, and does not wait for its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect, keep
from edgekit.devices import lease as leases
from edgekit.devices.session import AgentSession
from edgekit.errors import DeadlineError, DeployError, DeviceError, EdgekitError, LinkError
from edgekit.pipeline.releases import rollback


def _lose(device: Device, monkeypatch: pytest.MonkeyPatch, error: EdgekitError) -> None:
    """Work under a lease whose link breaks before it is given back, and does not come again."""

    def gone(_: Device) -> None:
        raise error

    with connect(device) as connection, AgentSession(connection, device) as session, monkeypatch.context() as cut:
        with leases.leased(session, reason="deploy"):
            cut.setattr(session, "_agent", "/nonexistent")
            cut.setattr(leases, "connect", gone)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Device(name="bench", address=Address.parse("local"), root=str(tmp_path / "root"))


def _kept(device: Device) -> keep.Kept | None:
    with keep.opened(device) as kept:
        return kept.read()


@pytest.mark.parametrize(
    ("command", "error"), [("rollback", LinkError("the link is gone")), ("work", DeadlineError("python3 did not end within 30 s"))]
)
def test_a_lease_that_was_not_given_back_is_taken_up_again(
    device: Device, command: str, error: EdgekitError, monkeypatch: pytest.MonkeyPatch
) -> None:
    _lose(device, monkeypatch, error)
    assert _kept(device) is not None
    with connect(device) as connection, AgentSession(connection, device) as session:
        assert leases.show(session).lease is not None
        if command == "work":
            with leases.leased(session, reason="deploy again"):
                session.job("deploy.settle", timeout_s=60)
        else:
            with pytest.raises(DeployError, match="no earlier release"):
                rollback(device, "meter")
        assert leases.show(session).lease is None
    assert _kept(device) is None


def test_a_board_that_cannot_take_the_lease_may_still_go_back(device: Device) -> None:
    Path(device.root, "lease.json").mkdir(parents=True)  # nothing can be renamed there
    with connect(device) as connection, AgentSession(connection, device) as session:
        with pytest.raises(DeployError, match=r"lease\.json"), leases.leased(session, reason="deploy"):
            pytest.fail("no lease was taken")
        with leases.leased(session, reason="roll back", needed=False):
            assert session.lease is None
            with pytest.raises((DeployError, DeviceError), match="no earlier release"):
                session.job("store.rollback", timeout_s=60, app="meter")

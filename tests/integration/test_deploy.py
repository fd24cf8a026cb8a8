"""Health decides, over a real sshd: hooks that fail, a host that is killed, interrupted or cut off, a watchdog that is killed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from edgekit.device import Device
from tests.integration.command import Said, edgekit
from tests.integration.conftest import Lab, Sshd
from tests.integration.deployment import Place, place
from tests.integration.engine import start, until

pytestmark = pytest.mark.sshd


@pytest.fixture
def there(board: Device, tmp_path: Path) -> Place:
    return place(board, tmp_path / "project")


def deploy(there: Place, bundle: str, *words: str) -> Said:
    return edgekit("deploy", "board", "--bundle", bundle, "--json", *words, cwd=there.folder)


def status(there: Place) -> dict[str, Any]:
    (app,) = edgekit("status", "board", "--json", cwd=there.folder).document["apps"]
    found: dict[str, Any] = app
    return found


def watchers(there: Place) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            files = [str(path.readlink()) for path in (folder / "fd").iterdir()]
        except OSError:  # it has just ended
            continue
        if str(there.root / "apps" / "meter" / ".watch") in files:
            found.append(int(folder.name))
    return found


def test_what_fails_is_taken_back_and_the_release_before_is_restarted(there: Place) -> None:
    there.project(check="echo not well; exit 1")
    deploy(there, there.bundle(1)).refused(6, "check (hooks/check.sh) ended with status 1: not well", "nothing runs, as before")
    assert (status(there)["current"], status(there)["state"]) == (None, "rolled-back")

    there.project()
    good = deploy(there, there.bundle(2))
    assert good.code == 0, good
    assert status(there)["state"] == "committed"

    there.project(restart="exit 3")
    release = good.document["release"]
    deploy(there, there.bundle(3)).refused(6, "restart (hooks/restart.sh) ended with status 3", f"{release[:12]} runs again")
    app = status(there)
    assert (app["current"], app["previous"], app["state"], app["by"]) == (release, None, "rolled-back", "proof")
    assert there.hooks() == ["restart 1", "check 1", "restart 2", "check 2", "restart 3", "restart 2"]
    shown = edgekit("status", "board", cwd=there.folder).out
    assert "rolled-back by proof: restart (hooks/restart.sh) ended with status 3" in shown


def test_old_releases_are_pruned(there: Place) -> None:
    there.project()
    bundles = [there.bundle(number) for number in (1, 2, 3)]
    releases = [deploy(there, bundle, "--keep", "2").document["release"] for bundle in bundles]
    app = status(there)
    assert (app["current"], app["previous"]) == (releases[2], releases[1])
    assert app["releases"] == sorted(releases[1:])


def in_mid_proof(there: Place, number: int, good: int = 1) -> tuple[Any, str]:
    """Deploy a good release, then start to deploy one whose check takes its time; return once it is under way."""
    there.project(deadline_s=10)
    first = deploy(there, there.bundle(good))
    assert first.code == 0, first
    there.project(check="sleep 30", deadline_s=10)
    running = start("deploy", "board", "--bundle", there.bundle(number), "--json", cwd=there.folder)
    until(lambda: f"check {number}" in there.hooks(), "the check begins")
    return running, first.document["release"]


def test_the_host_is_killed_and_the_board_goes_back_at_the_deadline(there: Place) -> None:
    running, release = in_mid_proof(there, 2)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    app = status(there)
    assert app["state"] == "activated", "nobody says proven"
    assert f"goes back to {release[:12]} unless it is proven" in app["next"]
    until(lambda: status(there)["state"] == "rolled-back", "the watchdog goes back")
    assert (status(there)["current"], status(there)["by"]) == (release, "watchdog")
    assert there.hooks()[-1] == "restart 1"


def test_the_watchdog_is_killed_too_and_the_next_deployment_settles(there: Place) -> None:
    running, release = in_mid_proof(there, 2)
    for process in watchers(there):
        os.kill(process, signal.SIGKILL)
    running.process.send_signal(signal.SIGKILL)
    running.end()
    app = status(there)
    assert (app["state"], f"nobody watches it: the next deployment, rollback or start of the board goes back to {release[:12]}") == (
        "activated",
        app["next"],
    )
    there.project()
    time.sleep(0.5)
    said = deploy(there, there.bundle(3))
    assert said.code == 0, said
    assert said.document["previous"] == release, "the board went back before it went on"
    assert "restart 1" in there.hooks()[3:]


def test_ctrl_c_lets_the_board_go_back_at_once(there: Place) -> None:
    running, release = in_mid_proof(there, 2)
    running.process.send_signal(signal.SIGINT)
    said = running.end()
    said.refused(130, "the board was told", f"{release[:12]} runs there, rolled-back")
    assert (status(there)["current"], status(there)["by"]) == (release, "operator")


def test_a_link_that_is_lost_in_mid_proof_is_made_again(lab: Lab, sshd: Sshd, tmp_path: Path) -> None:
    relay = lab.relay(sshd)
    there = place(lab.device(relay.port), tmp_path / "project")
    # The first check is still at work when the link is cut; whoever asks again has it done anew.
    there.project(check=f"test -e {tmp_path}/cut || sleep 30")
    running = start("deploy", "board", "--bundle", there.bundle(1), "--json", cwd=there.folder)
    until(lambda: "check 1" in there.hooks(), "the check begins")
    (tmp_path / "cut").touch()
    relay.cut()
    said = running.end()
    assert said.code == 0, said
    assert status(there)["state"] == "committed"
    assert there.hooks() == ["restart 1", "check 1", "restart 1", "check 1"]


def test_hooks_that_nobody_vouches_for_are_not_sent(there: Place) -> None:
    there.project()
    bundle = there.bundle(1)
    (there.folder / "check.sh").write_text("#!/bin/sh\nexit 0\n")
    deploy(there, bundle).refused(6, "the bundle's hook health runs './check.sh'", "no signature vouches for it", "nothing was sent")
    (there.folder / "edgekit.toml").write_text((there.folder / "edgekit.toml").read_text().partition("[deploy]")[0])
    deploy(there, bundle).refused(6, "the bundle's hook restart runs './restart.sh'")
    assert not (there.root / "apps").exists()

"""A whole deployment, by the command line, over bad links: it ends whole, or in its exit code and within its time."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edgekit.digest import sha256_file
from tests.integration.command import edgekit
from tests.integration.conftest import Lab
from tests.integration.link import Conditions, Link
from tests.integration.test_line import bundles, project_for
from tests.integration.test_links import board
from tests.integration.test_links import pytestmark as _links

__all__ = ["bundles"]

pytestmark = [*_links, pytest.mark.long]

# What the waits between attempts make together (edgekit.pipeline.link), as many attempts of ConnectTimeout, the silence before, some air.
_LIMIT_S = 181 + 9 * 3 + 60 + 60


@pytest.mark.parametrize(
    ("conditions", "event"),
    [
        (Conditions(delay_s=0.05), None),
        (Conditions(delay_s=0.05, loss=0.02), None),
        (Conditions(rate_bytes_s=250_000), None),
        (Conditions(delay_s=0.01, flap_s=3), None),
        (Conditions(delay_s=0.01), Link.reset),
        (Conditions(delay_s=0.01), Link.cut),
    ],
    ids=["50 ms each way", "2 % loss", "250 kB/s", "flapping", "reset for 2 s", "cut for 2 s"],
)
def test_it_ends_whole(lab: Lab, tmp_path: Path, bundles: dict[str, Path], conditions: Conditions, event: object) -> None:
    with board(lab, conditions) as (link, device):
        project = project_for(device, tmp_path / "project")
        timers = [threading.Timer(4, event, [link]), threading.Timer(6, link.heal)] if callable(event) else []
        for timer in timers:
            timer.start()
        start_s = time.monotonic()
        said = edgekit("deploy", "--bundle", str(bundles["local"]), "--rate", "20k", "--json", cwd=project, timeout_s=_LIMIT_S)
        assert said.code == 0, said
        assert time.monotonic() - start_s < _LIMIT_S
        for timer in timers:
            timer.join()
        (app,) = edgekit("status", "--json", cwd=project).document["apps"]
        assert (app["current"], app["whole"]) == (said.document["release"], True)


def test_a_link_that_drops_for_ever(lab: Lab, tmp_path: Path, bundles: dict[str, Path]) -> None:
    lab.configure("ConnectTimeout 3")
    with board(lab, Conditions(delay_s=0.01)) as (link, device):
        project = project_for(device, tmp_path / "project")
        words = [sys.executable, "-m", "edgekit", "deploy", "--bundle", str(bundles["local"]), "--rate", "10k"]
        start_s = time.monotonic()
        with subprocess.Popen(words, cwd=project, stderr=subprocess.PIPE, text=True) as process:
            incoming = Path(device.root, "incoming")
            while not (incoming.is_dir() and any(incoming.glob("*.part"))):
                assert process.poll() is None
                time.sleep(0.1)
            link.cut()
            said = process.communicate(timeout=_LIMIT_S)[1]
        assert (process.returncode, time.monotonic() - start_s < _LIMIT_S) == (5, True), said
        assert "the same command goes on from there" in said
        link.heal()
        assert edgekit("status", "--json", cwd=project).document["apps"] == []
        said_again = edgekit("deploy", "--bundle", str(bundles["local"]), "--json", cwd=project)
        assert said_again.code == 0, said_again
        assert sha256_file(Path(device.root, "apps", "meter-digits", "current", "manifest.json")) == said_again.document["release"]

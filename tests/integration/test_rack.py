"""Fifty boards, each a network namespace with an SSH server: a bad bundle stops at the canary, and a host killed at half goes on.

sudo pytest -m fleet tests/integration/test_rack.py
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.bundle import open_bundle
from tests.integration.command import edgekit
from tests.integration.fleet import activations, kill_after, spoilt
from tests.integration.rack import Rack
from tests.integration.test_fleet import good

__all__ = ["good"]

pytestmark = [pytest.mark.fleet, pytest.mark.slow]

BOARDS = 50


@pytest.fixture
def rack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rack]:
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    made = Rack(tmp_path / "rack", BOARDS)
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(made.config))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    yield made
    made.close()


def counts(rack: Rack, bundle: Path) -> list[int]:
    with open_bundle(bundle) as opened:
        return [activations(rack.root(name), opened.digest) for name in rack.names]


def test_fifty_boards(rack: Rack, good: Path, tmp_path: Path) -> None:
    bad = spoilt(good, tmp_path / "bad")
    said = edgekit("deploy", "--to", "rack", "--bundle", str(bad), "--batch", "10%", "--json", cwd=rack.project, timeout_s=300)
    assert said.code == 6, said
    assert [board["state"] for board in said.document["boards"]] == ["failed"] + ["waiting"] * (BOARDS - 1)
    assert [name for name in rack.names if rack.root(name).exists()] == ["b1"], "the others were not even looked at"
    assert counts(rack, bad) == [0] * BOARDS

    kill_after(BOARDS // 2, "--to", "rack", "--bundle", str(good), cwd=rack.project)
    before = counts(rack, good)
    assert BOARDS // 2 <= sum(before) < BOARDS
    again = edgekit("deploy", "--to", "rack", "--bundle", str(good), "--resume", "--json", cwd=rack.project, timeout_s=600)
    assert again.code == 0, again
    assert [board["state"] for board in again.document["boards"]] == ["done"] * BOARDS
    assert counts(rack, good) == [1] * BOARDS, "no board was switched twice"

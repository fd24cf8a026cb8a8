"""Virtual boards for tests, brought up as a user would; what they are made of is kept between runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.command import edgekit

__all__ = ["CACHE", "bring_up"]

# Read before the tests move the home away.
CACHE = Path.home() / ".cache" / "edgekit-tests"
# What a machine may lack, as the command says it.
_LACKS = ("no qemu-", "no unshare", "no OpenSSH", "no user namespace", "no emulator", "mmdebstrap", "unpacked as root", "no newuidmap")


def bring_up(target: str, monkeypatch: pytest.MonkeyPatch, folder: Path, *options: str) -> dict[str, Any]:
    """Bring a board up and return what is said of it; skips where this machine lacks something."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))
    said = edgekit("virtual", "up", target, *options, "--json", cwd=folder, timeout_s=600)
    if said.code == 5 and (reason := next((word for word in _LACKS if word in said.err), None)):
        pytest.skip(f"{reason}: {said.err}")
    assert said.code == 0, said
    board: dict[str, Any] = said.document["board"]
    return board

"""A board that an edgekit without deployments' numbers, proofs and commits has deployed to: its journal, written here by hand as it did."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgekit.pipeline.releases import rollback, status
from tests.survival.inside import inside
from tests.survival.look import look
from tests.survival.material import Sample, put


def _line(event: str, release: str, previous: str | None, **more: str) -> bytes:
    entry = {"time": "2025-01-02T03:04:05Z", "event": event, "release": release, "previous": previous, **more}
    return b"\n" + json.dumps(entry).encode()


def _as_it_was(root: Path, first: Sample, second: Sample, *, broken_off: bool) -> None:
    """Leave the links and releases as they are and give the folder the journal of its time."""
    lines = [
        _line("switching", first.digest, None, becomes="activated"),
        _line("activated", first.digest, None),
        _line("switching", second.digest, first.digest, becomes="activated"),
        *([] if broken_off else [_line("activated", second.digest, first.digest)]),
    ]
    app = root / "apps" / first.app
    for path in [*app.iterdir(), root / "lease.json"]:
        if path.is_file() and not path.is_symlink():
            path.unlink()
    (app / "journal").write_bytes(b"".join(lines))


@pytest.mark.parametrize("broken_off", [False, True], ids=["done", "its last line is lost"])
def test_a_board_of_an_older_edgekit(broken_off: bool, samples: dict[str, Sample], memory: Path) -> None:
    first, second, third = samples["hooks"], samples["plain"], samples["plain-2"]
    with inside(memory / "root") as device:
        put(first, device)
        put(second, device)
        _as_it_was(memory / "root", first, second, broken_off=broken_off)
        (app,) = status(device).apps
        assert (app.current, app.previous, app.state, app.whole) == (second.digest, first.digest, "committed", True)
        put(third, device)
        (app,) = status(device).apps
        assert (app.current, app.previous, app.state) == (third.digest, second.digest, "committed")
        rollback(device, app.name)
        (app,) = status(device).apps
        assert (app.current, app.state) == (second.digest, "rolled-back")
        assert look(str(memory / "root"))[first.app]["wrong"] is None


def test_going_back_on_a_board_of_an_older_edgekit(samples: dict[str, Sample], memory: Path) -> None:
    first, second = samples["hooks"], samples["plain"]
    with inside(memory / "root") as device:
        put(first, device)
        put(second, device)
        _as_it_was(memory / "root", first, second, broken_off=False)
        rollback(device, first.app)
        (app,) = status(device).apps
        assert (app.current, app.previous, app.state) == (first.digest, second.digest, "rolled-back")

"""A full disk, and one that turned read-only, at operations all along a deployment: the old release runs, and afterwards it goes on."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from edgekit.errors import EdgekitError
from edgekit.pipeline.releases import rollback, status
from tests.survival.inside import inside
from tests.survival.look import look
from tests.survival.material import Sample, put
from tests.survival.starving import starve

# A prime, so that the cases fall on every kind of step.
_EVERY = 11


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_a_disk_that_gives_no_more(number: int, samples: dict[str, Sample], memory: Path) -> None:
    old, new = samples["hooks"], samples["plain"]
    with inside(memory / "measured") as device:
        put(old, device)
        with starve(memory / "measured", number, 1 << 30) as undisturbed:
            put(new, device)
    assert undisturbed.count > 3 * _EVERY
    for after in range(0, undisturbed.count, _EVERY):
        root = memory / f"root{after}"
        with inside(root) as device:
            put(old, device)
            code = 0
            with starve(root, number, after):
                try:
                    put(new, device)
                except EdgekitError as error:
                    code = error.exit_code
            found = look(str(root))[old.app]
            assert found["wrong"] is None, (after, found)
            assert code in (0, 5, 6, 7), (after, code)
            assert code != 6 or found["current"] == old.digest, (after, "6 says that what ran before runs")
            (app,) = status(device).apps
            if code and found["current"] != old.digest:  # what can no longer be written cannot go back either
                assert (code, app.state) in ((7, "activated"), (7, "proven"), (7, "committed")), (after, code, app)
                assert app.next or app.state == "committed", (after, app)
                if app.state == "activated":  # the watchdog would, in time
                    rollback(device, app.name)
                    assert look(str(root))[old.app]["current"] == old.digest, after
            put(new, device)
            (app,) = status(device).apps
            assert (app.current, app.state, app.whole) == (new.digest, "committed", True), after

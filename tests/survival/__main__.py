"""The whole proof by one command: ``python -m tests.survival --states --syncs --host 200 --session 200 --uml 200 --arm64 20``.

What was found last is in docs/measurements/deployment.md. Exit code 1 when anything was violated.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from edgekit.bundle import bundle_files
from tests.integration.command import DEMO, edgekit
from tests.survival.crashes import SCENARIOS, explore, recorded, violation_without
from tests.survival.loopback import run_loopback, serve
from tests.survival.material import KINDS, Sample, make, varied
from tests.survival.plug import plugged, run_plug

SYNCED = ("/journal", "/releases", "blobs/sha256", "/lease.json", "/incoming", "/apps", "root", ".part", "")
"""Ends of the paths whose syncs are left out one after the other; the last stands for all of them."""


def tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def built(folder: Path) -> Path:
    """Build the demo for this machine."""
    shutil.copytree(DEMO, folder / "demo", ignore=shutil.ignore_patterns("build"))
    edgekit("build", "--target", "local", cwd=folder / "demo")
    return bundle_files(folder / "demo" / "build")[0]


def states(made: dict[str, Sample], seed: int, syncs: bool) -> int:
    """Judge every crash state of every scenario; return how many were wrong."""
    wrong, count = 0, Counter[str]()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        for place, scenario in enumerate(SCENARIOS):
            folder = Path(memory, str(place))
            (folder / "states").mkdir(parents=True)
            (folder / "board").mkdir()
            case = recorded(scenario, made, folder / "board")
            outcome = explore(case, made, folder / "states", seed=seed)
            count += outcome.states
            wrong += len(outcome.violations)
            tell(f"{scenario.name}: {len(case.recording.operations)} operations, {outcome.states.total()} states, {outcome.violations}")
            if syncs and place == 1:
                for end in SYNCED:
                    found = violation_without(case, end, made, folder / "states", count=400)
                    tell(f"without the syncs of *{end}: {found or 'nothing goes wrong'}")
    tell(f"{count.total()} crash states, {wrong} violations")
    return wrong


def main() -> int:
    """Run what is asked for; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--states", action="store_true", help="every crash state of every scenario")
    parser.add_argument("--syncs", action="store_true", help="with --states: leave the syncs out, too")
    for name in ("host", "session", "uml", "arm64"):
        parser.add_argument(f"--{name}", type=int, default=0, metavar="N", help="so many random moments, and every boundary")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no strike begins later than that; the counts say how many did")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    end_s = time.monotonic() + asked.minutes * 60
    violations = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = built(folder)
        (folder / "samples").mkdir()
        os.environ["XDG_STATE_HOME"] = str(folder / "state")
        if asked.states:
            made = {kind: make(bundle, kind, 0, folder) for kind in KINDS if kind != "large"}
            made.update({f"plain-{number}": make(bundle, "plain", number, folder) for number in (2, 3)})
            violations += states(made, asked.seed, asked.syncs)
        samples = varied(bundle, folder / "samples", asked.seed)
        for kind in ("loopback", "uml", "arm64"):
            if not (asked.host or asked.session if kind == "loopback" else vars(asked)[kind]):
                continue
            (folder / kind).mkdir()
            os.environ["EDGEKIT_SSH_CONFIG"] = str(folder / kind / "ssh_config")
            if kind == "loopback":
                with serve(folder / kind) as board:
                    tally = run_loopback(samples, board, host=asked.host, session=asked.session, seed=asked.seed, end_s=end_s, told=tell)
            else:
                with plugged(kind, folder / kind) as machine:
                    tally = run_plug(
                        samples, machine, count=vars(asked)[kind], seed=asked.seed, every_boundary=True, end_s=end_s, told=tell
                    )
            violations += len(tally.violations)
            tell(f"{kind}: {tally}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())

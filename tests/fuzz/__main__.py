"""Throw hostile cases at every surface: ``python -m tests.fuzz --cases 100000``; prints how many ran, and how long."""

from __future__ import annotations

import argparse
import resource
import sys
import time

from tests.fuzz.surface import attack
from tests.fuzz.surfaces import SURFACES

# A case that wants more than this dies as MemoryError, which nothing here may raise.
MEMORY_BYTES = 6 << 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000, help="how many in all [%(default)s]")
    parser.add_argument("--only", choices=sorted(SURFACES), action="append", help="this surface alone")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="another run of the same cases [the time]")
    asked = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    chosen = {name: SURFACES[name] for name in asked.only or SURFACES}
    whole = sum(surface.share for surface in chosen.values())
    ran, begun = 0, time.monotonic()
    sys.stdout.write(f"seed {asked.seed}\n")
    for name, surface in chosen.items():
        figures = attack(surface, -(-asked.cases * surface.share // whole), asked.seed)
        ran += figures.cases
        sys.stdout.write(f"{name:<12} {figures.cases:>8} cases  {figures.taken:>7} taken  {figures.seconds:7.1f} s\n")
        sys.stdout.flush()
    sys.stdout.write(f"{'all':<12} {ran:>8} cases  {'':>7}        {time.monotonic() - begun:7.1f} s\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

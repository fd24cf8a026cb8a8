"""Time that nobody can set: since boot, with the boot it belongs to. Used by leases and by deadlines."""

from __future__ import annotations

import time

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id() -> str:
    """Return what names this boot of the kernel (random(4))."""
    with open(BOOT_ID, encoding="ascii") as file:
        return file.read(64).strip()


def boottime_s() -> float:
    """Return the seconds since boot, suspended or not; setting the wall clock does not move it (clock_gettime(2), CLOCK_BOOTTIME)."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)

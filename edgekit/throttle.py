"""What a board says of itself while it is measured, and whether it slowed itself down meanwhile.

The answers of the agent's timed probes hold it many times; `edgekit.validity` judges with it. It is parsed strictly and within bounds.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

__all__ = ["BoardState", "GpuClock", "TimedCores", "clock_words", "gpu_throttled", "throttled"]

_THROTTLED_NOW = 0xF
_THROTTLED_SINCE_BOOT = 0xF0000
# Our own choice, as for the drift of a run: less changes no latency by more than noise does.
_CLOCK_LOSS_MAX = 0.03
# What the counters of a Jetson's OC events stand for on Orin (Jetson Linux Developer Guide 36, "Jetson Orin Nano Series, Jetson
# Orin NX Series and Jetson AGX Orin Series", on OC events).
_EVENTS = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}

_Word = Annotated[str, msgspec.Meta(max_length=200)]
_Celsius = Annotated[float, msgspec.Meta(ge=-200, le=1000)]
_Megahertz = Annotated[float, msgspec.Meta(ge=0, le=100_000)]
_Watts = Annotated[float, msgspec.Meta(ge=-100_000, le=100_000)]
_Seconds = Annotated[float, msgspec.Meta(ge=0, le=1e12)]
_Few = msgspec.Meta(max_length=1024)


class GpuClock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The GPU's clock, the bounds it may move in, and who moves it; one that sleeps says 0."""

    mhz: _Megahertz
    min_mhz: _Megahertz
    max_mhz: _Megahertz
    governor: _Word


class TimedCores(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cores that the timed work may use: the highest clock among them, and their time since boot.

    Attributes
    ----------
    total_s, busy_s
        Of all of them together; busy also when an interrupt was served, or another machine's guest had the core.
    own_s
        CPU time of the work itself, with the threads and processes it began.
    """

    mhz: _Megahertz | None
    total_s: _Seconds
    busy_s: _Seconds
    own_s: _Seconds


class BoardState(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state of the board at one moment; None where it cannot say.

    Attributes
    ----------
    throttle_events
        Counted since boot.
    alarms
        What slows the board down at the moment.
    power_w
        Of each rail that the board measures.
    phase
        What the probe did at the time: ``before``, ``warm-up``, ``invoke``, .., ``after``.
    timed
        None where nobody looked at the cores, as in reports of older releases.
    """

    time: _Word | float
    temperature_c: Annotated[dict[_Word, _Celsius], _Few]
    cpu_mhz: Annotated[list[_Megahertz], _Few]
    governor: Annotated[list[_Word], _Few]
    gpu: GpuClock | None
    throttle_events: Annotated[dict[_Word, Annotated[int, msgspec.Meta(ge=0, le=1 << 62)]], _Few]
    alarms: Annotated[list[_Word], _Few]
    throttled: Annotated[str, msgspec.Meta(pattern="^0x[0-9a-fA-F]{1,8}$")] | None
    load1: Annotated[float, msgspec.Meta(ge=0, le=1e6)] | None
    power_mode: _Word | None
    power_w: Annotated[dict[_Word, _Watts], _Few] = {}
    phase: _Word = ""
    timed: TimedCores | None = None


def throttled(before: BoardState, after: BoardState) -> str | None:
    """Raspberry Pi documentation, ``vcgencmd get_throttled``: bits 0-3 now, 16-19 since boot.

    Under-voltage, capped frequency, throttling, soft temperature limit, in this order. A bit of
    the upper four counts when it was set during the run.
    """
    old, new = (int(board.throttled or "0x0", 16) for board in (before, after))
    bits = ((old | new) & _THROTTLED_NOW) | ((new & ~old & _THROTTLED_SINCE_BOOT) >> 16)
    causes = ("under-voltage", "capped frequency", "throttling", "soft temperature limit")
    seen = [cause for bit, cause in enumerate(causes) if bits >> bit & 1]
    return f"the board slowed itself down: {', '.join(seen)}" if seen else None


def gpu_throttled(before: BoardState, after: BoardState) -> str | None:
    """Judge the state of an NVIDIA board before the run and right after its last inference.

    It slowed down when a counter of power-supply events rose, when an alert or a critical current was on at the end
    (an INA3221 keeps that until it is read, as it was before the run), when the highest clock the GPU may take fell (the
    kernel's thermal limits lower it: Linux, devfreq cooling), or when the GPU lost a clock it was told to keep:
    ``jetson_clocks`` sets the lowest to the highest (Jetson Linux Developer Guide, "Maximizing Jetson Performance").
    A clock that may move says nothing: its governor lowers it when the load is low.
    """
    counts = {name: count - before.throttle_events.get(name, count) for name, count in after.throttle_events.items()}
    seen = [f"{_EVENTS.get(name, name)} {count} times" for name, count in counts.items() if count > 0]
    seen += after.alarms
    if before.gpu and after.gpu:
        if after.gpu.max_mhz < before.gpu.max_mhz:
            seen.append(f"the GPU's limit fell from {before.gpu.max_mhz:g} to {after.gpu.max_mhz:g} MHz")
        kept = after.gpu.min_mhz == after.gpu.max_mhz or after.gpu.governor == "performance"
        if kept and 0 < after.gpu.mhz < after.gpu.max_mhz * (1 - _CLOCK_LOSS_MAX):
            seen.append(f"the GPU ran at {after.gpu.mhz:g} of {after.gpu.max_mhz:g} MHz")
    return f"the board slowed itself down: {', '.join(seen)}" if seen else None


def clock_words(gpu: GpuClock | None) -> str:
    """Say how fast the GPU could run and whether it was held there; empty without a GPU."""
    if gpu is None:
        return ""
    locked = "locked" if gpu.min_mhz == gpu.max_mhz else f"free from {gpu.min_mhz:g} MHz, moved by {gpu.governor}"
    return f"at most {gpu.max_mhz:g} MHz, {locked}"

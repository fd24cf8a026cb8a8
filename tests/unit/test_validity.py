"""The rules of a board that is measured: each broken by what its sensors would say, and by nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from edgekit import validity
from edgekit.throttle import BoardState
from edgekit.validity import Watch

Data = dict[str, Any]

PHASES = ("before", "warm-up", *("invoke",) * 6, "after")
FREE = {"mhz": 1020.0, "min_mhz": 306.0, "max_mhz": 1020.0, "governor": "nvhost_podgov"}
MEASURED = frozenset({"invoke"})


def quiet() -> list[Data]:
    """Return the states of a quiet Raspberry Pi: three cores are timed, one of them works."""
    return [
        {
            "time": 1.7e9 + second,
            "temperature_c": {"cpu-thermal": 50.0},
            "cpu_mhz": [1800.0] * 4,
            "governor": ["ondemand"] * 4,
            "gpu": dict(FREE),
            "throttle_events": {"oc1": 0},
            "alarms": [],
            "throttled": "0x0",
            "load1": 0.2,
            "power_mode": None,
            "power_w": {"VDD_IN": 5.0},
            "phase": phase,
            "timed": {"mhz": 1800.0, "total_s": 900.0 + 3 * second, "busy_s": 100 + 1.02 * second, "own_s": float(second)},
        }
        for second, phase in enumerate(PHASES)
    ]


def broken(states: list[Data], *, simulated: bool = False) -> dict[str, str]:
    return validity.broken(msgspec.convert(states, list[BoardState]), cores=4, simulated=simulated, measured=MEASURED)


def hold(*changes: tuple[int, str, object], key: str | None = None) -> Callable[[list[Data]], None]:
    """Say something else at some places."""

    def change(states: list[Data]) -> None:
        for place, name, value in changes:
            (states[place][key] if key else states[place])[name] = value

    return change


def clocks(*mhz: float, governor: str = "ondemand") -> Callable[[list[Data]], None]:
    """Let the timed cores' clock be this from the first state on."""

    def change(states: list[Data]) -> None:
        for state, clock in zip(states, mhz, strict=True):
            state["timed"]["mhz"] = clock
            state["governor"] = [governor] * 4

    return change


def others(share: float) -> Callable[[list[Data]], None]:
    """Let other work have this share of the three timed cores."""

    def change(states: list[Data]) -> None:
        for second, state in enumerate(states):
            state["timed"]["busy_s"] += share * 3 * second

    return change


def throttled_for_a_second(states: list[Data]) -> None:
    """As on a board that throttled before, so that the bit of that is on all the time."""
    for state in states:
        state["throttled"] = "0x40000"
    states[4]["throttled"] = "0x40004"


def loaded(states: list[Data]) -> None:
    """Where nobody looked at the cores' time, the load before the run is all there is."""
    states[0]["load1"] = 2.1
    for state in states:
        state["timed"] = None


@pytest.mark.parametrize(
    ("change", "rule", "reason"),
    [
        (throttled_for_a_second, "throttled", "throttling"),
        (hold((5, "alarms", ["gpu-throttle-alert"])), "gpu_throttled", "gpu-throttle-alert"),
        (hold((5, "gpu", {**FREE, "max_mhz": 918.0})), "gpu_throttled", "limit fell from 1020 to 918 MHz"),
        (hold((4, "throttle_events", {"oc1": 1})), "gpu_throttled", "under-voltage 1 times"),
        (clocks(600, 1800, 1800, 1800, 1800, 1500, 1500, 1500, 600), "clock_step", "fell from 1800 to 1500 MHz"),
        (clocks(600, 1800, 1800, 1800, 1800, 1800, 1800, 1500, 600), "clock_step", "fell from 1800 to 1500 MHz"),
        (clocks(*(2000,) * 8, 1900, governor="performance"), "clock_step", "fell from 2000 to 1900 MHz"),
        (loaded, "busy", "load 2.10 on 4 cores"),
        (others(0.06), "disturbed", "other work had 7% of the cores' time"),
    ],
)
def test_a_rule_is_broken_and_named(change: Callable[[list[Data]], None], rule: str, reason: str) -> None:
    states = quiet()
    assert broken(states) == {}
    change(states)
    found = broken(states)
    assert list(found) == [rule]
    assert reason in found[rule]


@pytest.mark.parametrize(
    "change",
    [
        clocks(600, 1800, *(1800,) * 6, 600),
        clocks(600, 1800, 1800, 1800, 1500, 1800, 1800, 1800, 600),
        clocks(2000, 2000, 2000, 2000, 1950, 1950, 2000, 2000, 2000, governor="performance"),
        others(0.03),
        hold((-1, "load1", 3.9)),
        hold((0, "load1", 3.9)),  # what the probe before left: the cores' time shows that it is over
        hold((0, "alarms", ["current of VDD_IN"])),
        hold(*((place, "timed", None) for place in range(len(PHASES)))),
        hold((3, "mhz", None), key="timed"),
    ],
    ids=[
        "the governor lets go",
        "one reading",
        "within 3 %",
        "the system's own",
        "our own load",
        "a load that is over",
        "before the run",
        "nobody looked",
        "no clock",
    ],
)
def test_what_breaks_no_rule(change: Callable[[list[Data]], None]) -> None:
    states = quiet()
    change(states)
    assert broken(states) == {}


def test_work_before_the_measurement_is_no_disturbance() -> None:
    states = quiet()
    for state in states[1:]:
        state["timed"]["busy_s"] += 2.0
    assert broken(states) == {}


def test_an_emulator_is_never_believed() -> None:
    assert list(broken(quiet(), simulated=True)) == ["simulated"]


def test_a_report_says_how_the_board_was_watched_and_that_it_was_getting_warmer() -> None:
    states = quiet()
    for place, state in enumerate(states):
        state["temperature_c"]["cpu-thermal"] += 2.0 * place
    known = msgspec.convert(states, tuple[BoardState, ...])
    found = validity.words(known, Watch(core=3, timed=(0, 1, 2), period_s=0.5))
    assert found["watched"] == "every 0.5 s on core 3, where nothing was timed"
    assert found["affinity"] == "0,1,2"
    assert found["temperature"].startswith("rose from 58.0 to 66.0 degC")
    alone = validity.words(known[:2], Watch(core=None, timed=(0,), period_s=0.5))
    assert alone["watched"] == "between measurements only: no core was spare"
    assert "temperature" not in alone
    by_name = {measurement.name: measurement.value for measurement in validity.figures(known)}
    assert by_name["temperature_before"] == 50.0
    assert by_name["temperature_max"] == by_name["temperature_after"] == 66.0

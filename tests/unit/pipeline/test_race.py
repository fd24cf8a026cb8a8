from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgekit.engine import EnginePrecision
from edgekit.errors import DeviceError
from edgekit.pipeline.race import RaceResult, judge

ENGINES: dict[EnginePrecision, str] = {"int8": "1" * 64, "fp16": "2" * 64, "mixed": "3" * 64}
BLOCK, ROUNDS, COUNT, CLASSES = 20, 40, 2000, 10
Times = dict[EnginePrecision, float]
Wrong = dict[EnginePrecision, int]

BOARD: dict[str, Any] = {
    "time": 1.0,
    "temperature_c": {},
    "cpu_mhz": [],
    "governor": [],
    "throttled": None,
    "load1": 0.1,
    "power_mode": None,
    "gpu": None,
    "throttle_events": {},
    "alarms": [],
}


def latency(rng: np.random.Generator, millis: float) -> dict[str, Any]:
    """Return times with the noise of a quiet board, rounds a little slower and faster as a whole."""
    rounds = np.repeat(1 + 0.01 * np.sin(np.arange(ROUNDS)), BLOCK)
    series = millis * 1e6 * rounds * (1 + 0.02 * rng.gamma(2, 0.5, ROUNDS * BLOCK))
    return {
        "import_ns": None,
        "load_ns": 1_000_000,
        "first_invoke_ns": 1_000_000,
        "warmup": {"runs": 100, "seconds": 2.0, "steady": True},
        "invoke_ns": series.astype(int).tolist(),
        "parts_ns": {},
        "end_to_end_ns": [],
        "stages_ns": {},
        "capped": False,
        "peak_rss_bytes": 1,
        "gpu_memory_bytes": 64 << 20,
        "threads": 1,
        "runtime": {"name": "tensorrt", "version": "10.3.0"},
        "delegate": None,
        "fed": "samples",
        "states": [copy.deepcopy(BOARD), copy.deepcopy(BOARD)],
        "watch": {"core": None, "timed": [0], "period_s": 0.5},
    }


def labels() -> list[int]:
    return [number % CLASSES for number in range(COUNT)]


def predictions(wrong: int) -> list[int]:
    """Return answers of which the last so many are wrong; float's are all right."""
    return [label if number < COUNT - wrong else (label + 1) % CLASSES for number, label in enumerate(labels())]


def answer(times: Times, wrong: Wrong) -> dict[str, Any]:
    rng = np.random.default_rng(7)
    engines = {ENGINES[name]: {"predictions": predictions(wrong[name]), "latency": latency(rng, times[name])} for name in ENGINES}
    return {"block_runs": BLOCK, "engines": engines}


def verdict(data: dict[str, Any], **change: Any) -> RaceResult:
    asked = {
        "labels": labels(),
        "float_predictions": labels(),
        "accuracy_drop_max": 0.01,
        "address": "jetson",
        "cores": 6,
        "simulated": False,
    }
    return judge(json.loads(json.dumps(data)), ENGINES, **{**asked, **change})


FAST: Times = {"int8": 2.0, "fp16": 3.0, "mixed": 1.5}
GOOD: Wrong = {"int8": 2, "fp16": 0, "mixed": 4}


@pytest.mark.parametrize(
    ("times", "wrong", "winner", "decided_by"),
    [
        (FAST, GOOD, "mixed", "latency"),
        ({"int8": 2.0, "fp16": 1.5, "mixed": 1.8}, GOOD, "fp16", "latency"),
        ({"int8": 1.5, "fp16": 3.0, "mixed": 1.5}, GOOD, "int8", "accuracy"),  # as fast, and int8 loses less than mixed
        ({"int8": 1.5, "fp16": 1.5, "mixed": 1.5}, GOOD, "fp16", "accuracy"),
        (FAST, {"int8": 2, "fp16": 0, "mixed": 100}, "int8", "latency"),  # mixed is fastest and loses 5 %
        (FAST, {"int8": 100, "fp16": 0, "mixed": 100}, "fp16", "budget"),
        (FAST, {"int8": 100, "fp16": 90, "mixed": 100}, "fp16", "budget"),  # all fail: the least loss
        (FAST, {"int8": 19, "fp16": 21, "mixed": 200}, "int8", "budget"),  # none passes, two may: the least loss of those
    ],
)
def test_the_winner(times: Times, wrong: Wrong, winner: str, decided_by: str) -> None:
    result = verdict(answer(times, wrong))
    assert (result.winner, result.decided_by) == (winner, decided_by)


def test_it_is_said_by_how_much_int8_is_slower_than_fp16() -> None:
    result = verdict(answer({"int8": 1.68, "fp16": 1.5, "mixed": 1.9}, GOOD))
    (note,) = [note for note in result.notes if note.startswith("int8")]
    assert note.startswith("int8 is 1.12x slower than fp16 (95 %: 1.1")
    assert note.endswith(": fp16 is shipped")
    ratio = next(m for m in result.measurements if m.name == "race_int8_to_fp16")
    assert ratio.value == pytest.approx(1.12, abs=0.01)
    assert ratio.n == ROUNDS
    assert ratio.details["low"] < ratio.value < ratio.details["high"]  # type: ignore[operator]  # all are floats here


def test_a_faster_engine_that_loses_too_much_is_told() -> None:
    result = verdict(answer(FAST, {"int8": 2, "fp16": 0, "mixed": 100}))
    assert any(note.startswith("mixed does not keep the accuracy budget: top-1 changed by -5.00%") for note in result.notes)
    assert any(note.startswith("mixed is 1.33x faster than int8") for note in result.notes)


def test_what_was_measured() -> None:
    data = answer(FAST, GOOD)
    result = verdict(data)
    by_name = {measurement.name: measurement for measurement in result.measurements}
    assert {"race_int8_invoke_p50", "race_fp16_invoke_p99", "race_mixed_gpu_memory", "race_int8_top1_delta", "race_fp16_to_mixed"} <= set(
        by_name
    )
    assert by_name["race_mixed_gpu_memory"].value == 64.0
    assert result.samples["race_fp16_ns"] == tuple(data["engines"]["2" * 64]["latency"]["invoke_ns"])


def unsteady(data: dict[str, Any]) -> None:
    data["engines"]["2" * 64]["latency"]["warmup"]["steady"] = False


def throttled(data: dict[str, Any]) -> None:
    data["engines"]["1" * 64]["latency"]["states"][-1]["throttled"] = "0x4"


def few(data: dict[str, Any]) -> None:
    for entry in data["engines"].values():
        entry["latency"]["invoke_ns"] = entry["latency"]["invoke_ns"][: 7 * BLOCK]


@pytest.mark.parametrize(
    ("spoil", "why"), [(unsteady, "not steady"), (throttled, "the board slowed itself down"), (few, "7 rounds are too few")]
)
def test_times_that_may_not_be_believed_decide_nothing_and_it_is_said(spoil: Callable[[dict[str, Any]], None], why: str) -> None:
    data = answer({"int8": 1.0, "fp16": 2.0, "mixed": 3.0}, GOOD)
    spoil(data)
    result = verdict(data)
    assert (result.winner, result.decided_by) == ("mixed", "default")
    assert any(note.startswith("which engine is fastest cannot be told: ") and why in note for note in result.notes)
    assert not any("invoke" in measurement.name or "_to_" in measurement.name for measurement in result.measurements)
    assert len(result.samples) == len(ENGINES)


def test_on_a_simulated_board_accuracy_still_counts() -> None:
    result = verdict(answer(FAST, {"int8": 0, "fp16": 0, "mixed": 100}), simulated=True)
    assert (result.winner, result.decided_by) == ("int8", "default")
    assert any(note.startswith("mixed does not keep") for note in result.notes)


def test_without_a_budget_the_fastest_wins_whatever_it_loses() -> None:
    assert verdict(answer(FAST, {"int8": 0, "fp16": 0, "mixed": 100}), accuracy_drop_max=None).winner == "mixed"


def test_without_labels_speed_alone_is_raced_and_a_tie_goes_to_the_nearest_to_float() -> None:
    result = verdict(answer({"int8": 1.5, "fp16": 3.0, "mixed": 1.5}, GOOD), labels=None)
    assert (result.winner, result.decided_by) == ("int8", "accuracy")
    assert any(note.startswith("the samples have no labels") and "int8 0.10%" in note for note in result.notes)


def test_an_output_that_names_no_class_is_raced_by_speed() -> None:
    result = verdict(answer(FAST, GOOD), labels=None, float_predictions=())
    assert result.winner == "mixed"
    assert result.notes[0] == "the metric is no top-1, or the output names no class: accuracy took no part in the race"


def test_an_engine_alone_is_not_said_to_be_fastest() -> None:
    data = answer(FAST, GOOD)
    data["engines"] = {"1" * 64: data["engines"]["1" * 64]}
    alone = judge(
        data,
        {"int8": "1" * 64},
        labels=None,
        float_predictions=labels(),
        accuracy_drop_max=None,
        address="jetson",
        cores=6,
        simulated=False,
    )
    assert (alone.winner, alone.decided_by) == ("int8", "default")
    assert alone.notes[-1] == "only int8 was measured: whether another precision is faster there is not known"


def drop_engine(data: dict[str, Any]) -> None:
    del data["engines"]["1" * 64]


def drop_sample(data: dict[str, Any]) -> None:
    data["engines"]["1" * 64]["predictions"].pop()


def nonsense(data: dict[str, Any]) -> None:
    data["block_runs"] = 0


def surprise(data: dict[str, Any]) -> None:
    data["engines"]["1" * 64]["winner"] = True


def bad_times(data: dict[str, Any]) -> None:
    data["engines"]["1" * 64]["latency"]["invoke_ns"] = [-1]


@pytest.mark.parametrize("spoil", [drop_engine, drop_sample, nonsense, surprise, bad_times])
def test_a_malformed_answer_is_refused_with_the_device(spoil: Callable[[dict[str, Any]], None]) -> None:
    data = answer(FAST, GOOD)
    spoil(data)
    with pytest.raises(DeviceError, match=r"^jetson: the answer to (engine\.race|probe\.latency) is"):
        verdict(data)

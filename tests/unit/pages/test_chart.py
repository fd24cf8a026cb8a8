"""Few points for many samples: what is dropped, and that no extreme is."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from edgekit.pages.chart import ascii_words, curve, envelope, series_of, timeline
from tests.unit.pages.reports import board_state, latency_report, soak_report


@pytest.mark.parametrize("count", [1, 199, 401, 200_000])
def test_no_extreme_is_lost(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    found = envelope(np.arange(count, dtype=float), values, 200)
    assert (found.low.min(), found.high.max()) == (values.min(), values.max())
    assert len(found.seconds) <= 400
    assert np.all((found.low <= found.median) & (found.median <= found.high))


def test_one_outlier_among_many_is_in_its_bucket() -> None:
    values = np.ones(100_000)
    values[70_001] = 9
    found = envelope(np.arange(100_000.0), values, 100)
    assert [place for place, high in enumerate(found.high) if high > 1] == [70]
    assert found.median.max() == 1


@pytest.mark.parametrize("count", [1, 2, 50, 200_000])
def test_the_curve_consists_of_samples_at_their_own_rank(count: int) -> None:
    values = np.random.default_rng(count).lognormal(size=count)
    longest, rarity = curve(values, 200)
    ordered = np.sort(values)
    ranks = np.searchsorted(ordered, longest)
    assert np.array_equal(ordered[ranks], longest)
    assert rarity == pytest.approx(np.log10(count / (count - ranks)))
    assert longest[-1] == ordered[-1]
    assert len(longest) <= 260
    assert set(ordered[-20:]) <= set(longest), "the tail is drawn sample by sample"


def test_series_begin_with_their_phase() -> None:
    report = latency_report(100).report
    samples = {"invoke_ns": (10**9,) * 4, "end_to_end_ns": (2 * 10**9,) * 3}
    phases = [(0, "before"), (2, "warm-up"), (20, "invoke"), (30, "end-to-end"), (31, "end-to-end"), (60, "after")]
    states = tuple(msgspec.structs.replace(board_state(second, 50, 1800), phase=phase) for second, phase in phases)
    found = timeline(msgspec.structs.replace(report, samples=samples, states=states), ["invoke", "end_to_end"], "", None, "")
    assert found is not None
    assert found.series[0].seconds.tolist() == [21, 22, 23, 24]
    assert found.series[1].seconds.tolist() == [32, 34, 36]


def test_a_soak_is_drawn_by_its_windows() -> None:
    found = timeline(soak_report(3).report, [], "", None, "")
    assert found is not None
    median, longest = found.series
    assert (median.seconds.tolist(), median.samples_ms.tolist()) == ([60, 120, 180], [12, 12.002, 12.004])
    assert median.high_ms is not None
    assert median.high_ms.tolist() == pytest.approx([12.9, 12.902, 12.904])
    assert longest.samples_ms.tolist() == [24, 24.004, 24.008]


def test_series_end_with_the_last_reading_of_the_board() -> None:
    report = latency_report(100).report
    samples = {"invoke_ns": (10**9,) * 4, "end_to_end_ns": (2 * 10**9,) * 3}
    states = tuple(board_state(second, 50, 1800) for second in (0, 30, 60))
    found = timeline(msgspec.structs.replace(report, samples=samples, states=states), ["invoke", "end_to_end"], "", None, "")
    assert found is not None
    assert found.series[0].seconds.tolist() == [51, 52, 53, 54]
    assert found.series[1].seconds.tolist() == [56, 58, 60]
    assert found.seconds.tolist() == [0, 30, 60]


def test_without_readings_time_starts_with_the_samples() -> None:
    report = msgspec.structs.replace(latency_report(50).report, samples={"invoke_ns": (10**9,) * 3}, states=())
    found = timeline(report, ["invoke", "no such"], "", None, "")
    assert found is not None
    assert [one.seconds.tolist() for one in found.series] == [[1, 2, 3]]
    assert len(found.temperature_c) == 0


def test_a_reading_has_its_place_only_where_its_clock_is_the_first_ones() -> None:
    states = [board_state(second, 50, 1800, gpu=900) for second in (0, -5, 2, 10**9)]
    words = msgspec.structs.replace(states[0], time="noon", temperature_c={}, cpu_mhz=[])
    report = msgspec.structs.replace(latency_report(50).report, states=(*states, words))
    found = timeline(report, ["invoke"], "", None, "")
    assert found is not None
    assert found.seconds.tolist() == [0, 2]
    assert found.gpu_mhz.tolist() == [900, 900]


def test_where_the_board_says_nothing_nothing_is_drawn() -> None:
    silent = msgspec.structs.replace(board_state(0, 50, 1800), temperature_c={}, cpu_mhz=[], throttled=None)
    later = msgspec.structs.replace(silent, time=1_790_000_009.0, alarms=["soc"])
    found = timeline(msgspec.structs.replace(latency_report(50).report, states=(silent, later)), ["invoke"], "", None, "")
    assert found is not None
    assert np.isnan(found.temperature_c).all()
    assert np.isnan(found.cpu_mhz).all()
    assert found.slowed.tolist() == [False, True]


def test_only_series_of_times_are_drawn() -> None:
    report = msgspec.structs.replace(latency_report(50).report, samples={"invoke_ns": (1_500_000,), "batch": (3,), "empty_ns": ()})
    assert {name: values.tolist() for name, values in series_of(report).items()} == {"invoke": [1.5]}


def test_drawn_words_are_plain() -> None:
    assert ascii_words("größe\n日本") == "gr??e???"
    assert ascii_words("x" * 80, 10) == "xxxxxxx..."

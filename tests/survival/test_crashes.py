"""Power cuts by calculation: a choice of the crash states of every scenario, and that the order of syncs is what makes them harmless.

All states: ``python -m tests.survival --states``.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.survival.crashes import SCENARIOS, Scenario, explore, recorded, violation_without
from tests.survival.disk import digest, replay
from tests.survival.material import Sample

_STATES = 5


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_cut_leaves_a_board_torn(scenario: Scenario, samples: dict[str, Sample], memory: Path) -> None:
    (memory / "board").mkdir()
    case = recorded(scenario, samples, memory / "board")
    (memory / "states").mkdir()
    outcome = explore(case, samples, memory / "states", count=_STATES)
    assert outcome.violations == []
    assert outcome.states.total() == _STATES


@pytest.mark.parametrize("where", ["/journal", "/releases"])
def test_a_sync_left_out_is_found(where: str, samples: dict[str, Sample], memory: Path) -> None:
    """The journal's bytes, the names of releases: each without its sync is a board that a cut tears."""
    (memory / "board").mkdir()
    case = recorded(SCENARIOS[1], samples, memory / "board")
    (memory / "states").mkdir()
    assert violation_without(case, where, samples, memory / "states", count=60)


def test_what_was_recorded_is_what_happened(samples: dict[str, Sample], memory: Path) -> None:
    """`recorded` compares; an operation less, and it would have been found."""
    (memory / "board").mkdir()
    case = recorded(SCENARIOS[0], samples, memory / "board")
    fewer = [op for op in case.recording.operations if op.what != "write"]
    assert digest(replay(case.recording.before, fewer)) != digest(replay(case.recording.before, case.recording.operations))

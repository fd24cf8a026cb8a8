from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from edgekit.errors import InputError
from edgekit.pipeline.journal import Journal
from edgekit.quantize.sensitivity import Step
from edgekit.trial import Trial

IDENTITY = {"plan": "ab" * 32, "evaluation": "cd" * 32}
STEPS = [Step(("a",), 0.5), Step(("b", "c"), 0.25), Step(("d",), 0.125)]


def judge(kept: Sequence[str]) -> Trial:
    return Trial(
        kept=tuple(kept),
        outcome="fail",
        delta=-0.1,
        delta_low=-0.2,
        disagreement=0.1,
        sqnr_db=None,
        artifact_bytes=7,
        float_macs=0.5,
    )


def at(journal: Journal) -> Path:
    assert journal.path is not None
    return journal.path


def never(kept: Sequence[str]) -> Trial:
    raise AssertionError(f"{kept} was judged again")


def half_done(folder: Path) -> Journal:
    journal = Journal(folder, IDENTITY, resume=False)
    steps = journal.ranking(lambda: iter(STEPS))
    next(steps), next(steps)
    remembering = journal.judging(judge)
    remembering(["a"])
    remembering(["a", "b", "c"])
    return journal


def test_a_resumed_search_judges_nothing_twice_and_ranks_only_what_is_new(tmp_path: Path) -> None:
    half_done(tmp_path)
    resumed = Journal(tmp_path, IDENTITY, resume=True)
    assert resumed.known == 2
    assert resumed.judging(never)(["c", "b", "a"]).kept == ("a", "b", "c")
    begun: list[bool] = []

    def rest() -> Iterator[Step]:
        begun.append(True)
        return iter(STEPS)

    steps = resumed.ranking(rest)
    assert [next(steps), next(steps)] == STEPS[:2]
    assert not begun
    assert list(steps) == STEPS[2:]
    assert list(Journal(tmp_path, IDENTITY, resume=True).ranking(lambda: iter(STEPS))) == STEPS


@pytest.mark.parametrize("identity", [{**IDENTITY, "plan": "00" * 32}, {"plan": IDENTITY["plan"]}])
def test_another_search_starts_afresh(tmp_path: Path, identity: dict[str, str]) -> None:
    half_done(tmp_path)
    assert Journal(tmp_path, identity, resume=True).known == 0


def test_without_resume_the_past_is_forgotten(tmp_path: Path) -> None:
    half_done(tmp_path)
    assert Journal(tmp_path, IDENTITY, resume=False).known == 0
    assert Journal(tmp_path, IDENTITY, resume=True).known == 0


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_broken_off_by_a_crash_is_dropped_and_the_next_one_is_whole(tmp_path: Path, cut: int) -> None:
    journal = half_done(tmp_path)
    data = at(journal).read_bytes()
    at(journal).write_bytes(data[:-cut])
    resumed = Journal(tmp_path, IDENTITY, resume=True)
    assert resumed.known == 1
    resumed.judging(judge)(["z"])
    assert Journal(tmp_path, IDENTITY, resume=True).judging(never)(["z"]).kept == ("z",)


def test_what_is_no_journal_is_not_believed(tmp_path: Path) -> None:
    journal = half_done(tmp_path)
    at(journal).write_bytes(b'{"trial": {"kept": ["a"]}}\n{"step": 3}\n\xff\n')
    assert Journal(tmp_path, IDENTITY, resume=True).known == 0


def test_it_is_private_and_gone_when_done(tmp_path: Path) -> None:
    journal = half_done(tmp_path / "cache")
    assert stat.S_IMODE(at(journal).stat().st_mode) == 0o600
    journal.close()
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="journal") as caught:
        Journal(tmp_path / "file" / "cache", IDENTITY, resume=False)
    assert "XDG_CACHE_HOME" in (caught.value.fix or "")


def test_without_a_folder_it_remembers_for_itself_alone(tmp_path: Path) -> None:
    journal = Journal(None, IDENTITY, resume=True)
    journal.judging(judge)(["a"])
    assert journal.judging(never)(["a"]).kept == ("a",)
    assert list(journal.ranking(lambda: iter(STEPS))) == STEPS
    journal.close()

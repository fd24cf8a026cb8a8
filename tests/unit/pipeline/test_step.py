"""Steps of a run: their limits, what is done again and what never is, and what holds a Ctrl-C off."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import NoReturn

import pytest

from edgekit.errors import AuthError, BusyError, DeadlineError, DeviceError, EdgekitError, HostKeyError, InputError, LinkError, UsageError
from edgekit.measurement import Verdict
from edgekit.pipeline import step as module
from edgekit.pipeline.step import Ended, Found, Steps, shielded, within
from edgekit.runs.run import Step


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch, told: list[str]) -> Steps:
    monkeypatch.setattr(module, "_PAUSES_S", (0.0,))
    return Steps(time.monotonic() + 60, 2, told.append)


def failing(error: BaseException, times: int, tries: list[int]) -> Callable[[Found], str]:
    def work(found: Found) -> str:
        tries.append(1)
        if len(tries) <= times:
            raise error
        return "done"

    return work


@pytest.mark.parametrize("error", [DeviceError("away"), LinkError("broke")], ids=repr)
def test_trouble_with_the_board_is_tried_again(steps: Steps, told: list[str], error: EdgekitError) -> None:
    tries: list[int] = []
    assert steps.run("deploy", failing(error, 2, tries), timeout_s=5) == "done"
    (step,) = steps.done
    assert (step.code, len(tries)) == (0, 3)
    assert [(retry.error, retry.message) for retry in step.retries] == [(type(error).__name__, error.message)] * 2
    assert told == ["deploy", *[f"deploy, again: {error.message}"] * 2]


def test_and_no_more_often_than_allowed(steps: Steps) -> None:
    tries: list[int] = []
    with pytest.raises(Ended):
        steps.run("deploy", failing(DeviceError("away", fix="plug it in"), 9, tries), timeout_s=5)
    (step,) = steps.done
    assert (step.code, step.error, step.message, step.fix, len(tries)) == (5, "DeviceError", "away", "plug it in", 3)


@pytest.mark.parametrize("error", [AuthError("no"), HostKeyError("no"), BusyError("no"), InputError("no"), DeadlineError("no")], ids=repr)
def test_what_trying_again_does_not_mend(steps: Steps, error: EdgekitError) -> None:
    tries: list[int] = []
    with pytest.raises(Ended) as caught:
        steps.run("lease", failing(error, 9, tries), timeout_s=5)
    assert caught.value.__cause__ is error
    assert (steps.done[0].code, len(tries)) == (error.exit_code, 1)


def test_a_verdict_is_never_asked_for_again(steps: Steps) -> None:
    def work(found: Found) -> None:
        found.code, found.verdicts = 1, (Verdict("latency_p99", "fail", "too slow"),)

    steps.run("latency", work, timeout_s=5, probe=True)
    (step,) = steps.done
    assert (step.code, step.error, step.retries, step.verdicts[0].outcome) == (1, None, (), "fail")


def test_a_failure_may_have_a_code_of_its_own(steps: Steps) -> None:
    with pytest.raises(Ended):
        steps.run("restore", failing(DeviceError("away"), 9, []), timeout_s=5, fatal=7)
    with pytest.raises(Ended):
        steps.run("restore", failing(KeyError("a bug of ours leaves a board no better"), 9, []), timeout_s=5, fatal=7)
    assert [step.code for step in steps.done] == [7, 7]
    steps.run("restore", failing(BusyError("a job that was broken off is still ending"), 1, []), timeout_s=5, fatal=7)
    assert [retry.error for retry in steps.done[-1].retries] == ["BusyError"]


def test_time_is_up(steps: Steps) -> None:
    with pytest.raises(Ended):
        steps.run("latency", lambda found: time.sleep(30), timeout_s=0.05)
    (step,) = steps.done
    assert (step.code, step.error) == (124, "DeadlineError")
    assert step.seconds < 20


def test_the_whole_runs_time_limits_each_step() -> None:
    steps = Steps(time.monotonic() + 0.05, 2, print)
    for name in ("build", "deploy"):
        with pytest.raises(Ended):
            steps.run(name, lambda found: time.sleep(30), timeout_s=60)
    assert [step.code for step in steps.done] == [124, 124]


def test_no_handler_on_the_way_takes_the_limit_for_its_own() -> None:
    def stubborn() -> None:
        try:
            time.sleep(30)
        except Exception:  # noqa: BLE001
            time.sleep(30)

    with pytest.raises(DeadlineError, match="work did not end within 0 s"), within(0.05, "work"):
        stubborn()
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_what_ends_a_step_is_written_down(steps: Steps, capsys: pytest.CaptureFixture[str]) -> None:
    def bug(found: Found) -> NoReturn:
        raise KeyError("x")

    def stop(found: Found) -> NoReturn:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
        raise AssertionError("it was to be interrupted")

    with pytest.raises(Ended):
        steps.run("build", bug, timeout_s=5)
    assert "KeyError" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt) as caught:
        steps.run("deploy", stop, timeout_s=5)
    assert [(step.name, step.code, step.error) for step in steps.done] == [("build", 70, "KeyError"), ("deploy", 130, "Interrupted")]
    steps.stopped(caught.value)
    assert len(steps.done) == 2, "it is written down already"


def test_what_ends_a_run_between_two_steps_is_too(steps: Steps) -> None:
    steps.run("lease", lambda found: None, timeout_s=5)
    steps.stopped(KeyboardInterrupt())
    assert [(step.name, step.code) for step in steps.done] == [("lease", 0), ("run", 130)]


def test_a_stop_after_a_failed_gate_is_not_lost(steps: Steps) -> None:
    steps.done.append(Step(name="accuracy", probe=True, code=1))
    steps.stopped(KeyboardInterrupt())
    assert [(step.name, step.code) for step in steps.done] == [("accuracy", 1), ("run", 130)]


def test_the_shield_holds_both_signals_off_and_lets_go() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with shielded() as came:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(DeadlineError), within(0.05, "the work under it"):
            time.sleep(30)
    assert came == [signal.SIGINT, signal.SIGTERM]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_limits_need_the_main_thread() -> None:
    caught: list[BaseException] = []

    def elsewhere() -> None:
        try:
            with within(1, "work"):
                pass
        except UsageError as error:
            caught.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])

"""``edgekit deploy --to``: its options, one live table or lines while it runs, and what came out. Called by `edgekit.cli.deploy`."""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from edgekit import errors
from edgekit.bundle import Bundle
from edgekit.cli.boundary import KINDS
from edgekit.cli.output import Answer, Page, say
from edgekit.cli.words import complete_to, duration
from edgekit.device import Device
from edgekit.pipeline import rollout
from edgekit.pipeline.crew import Options, crew
from edgekit.pipeline.ledger import DONE, FAILED, RUNNING, WAITING
from edgekit.pipeline.phase import BATCH, Plan
from edgekit.pipeline.rollout import Board, Change, Listener, Rollout
from edgekit.printable import printable

__all__ = ["plan_of", "roll_out", "rollout_options"]

F = TypeVar("F", bound=Callable[..., Any])

_STYLES = {WAITING: "dim", RUNNING: "cyan", DONE: "green", FAILED: "red"}


def _batch(text: str) -> str:
    if not re.fullmatch(BATCH, text):
        raise click.BadParameter(f"{text!r} is neither a number of boards nor a share as 10%")
    return text


def rollout_options(function: F) -> F:
    """Add the options that go with ``--to``."""
    plan = Plan()
    options = (
        click.option(
            "--to", multiple=True, metavar="GROUP", shell_complete=complete_to, help="A group or a device, several times if need be."
        ),
        click.option("--canary", type=click.IntRange(0), metavar="N", help=f"Boards of the first phase [default: {plan.canary}]."),
        click.option("--batch", type=_batch, metavar="N|N%", help="Boards of each later phase [default: all that are left]."),
        click.option(
            "--max-failures", type=click.IntRange(0), metavar="N", help=f"Stop after more than these [default: {plan.max_failures}]."
        ),
        click.option("--pause", type=duration, metavar="TIME", help="Wait so long between two phases: 30s, 5m."),
        click.option("--parallel", type=click.IntRange(1, 256), metavar="N", help=f"Boards at the same time [default: {plan.parallel}]."),
        click.option("--resume", is_flag=True, help="Go on with the last unfinished roll-out of this bundle to this group."),
        click.option("--scheduler", metavar="ADDRESS", help="Let the workers of a Dask scheduler do it, each for the boards of its site."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def plan_of(given: dict[str, Any]) -> Plan:
    """Make a plan of the options that were given; without ``--to`` none may be."""
    named = {"canary": "canary", "batch": "batch", "max_failures": "max_failures", "pause": "pause_s", "parallel": "parallel"}
    if not given["to"]:
        for word in (*named, "resume", "scheduler"):
            if given[word] is not None and given[word] is not False:
                flag = f"--{word.replace('_', '-')}"
                raise errors.UsageError(f"{flag} is for a roll-out", fix="edgekit deploy --to GROUP")
    return Plan(**{key: given[word] for word, key in named.items() if given[word] is not None})


def roll_out(bundle: Bundle, devices: Sequence[Device], options: Options, plan: Plan, given: dict[str, Any], *, again: str) -> Answer:
    """Bring a bundle to many boards, by this process or by a scheduler's workers."""
    to = " ".join(sorted(given["to"]))
    with crew(bundle, devices, options, given["scheduler"]) as workers, _watched(devices) as listener:
        done = rollout.roll_out(bundle, devices, workers, plan, listener, to=to, resume=given["resume"], again=again)
    return _answer(done, to, again)


@contextmanager
def _watched(devices: Sequence[Device]) -> Iterator[Listener]:
    """Show a roll-out while it runs, on stderr: one live table on a terminal, elsewhere a line for each board that ends."""
    if sys.stderr is not None and sys.stderr.isatty():
        table = _Table(devices)
        with Live(table, console=Console(stderr=True), refresh_per_second=4):
            yield table.listen
        return
    ended: set[str] = set()

    def listen(change: Change) -> None:
        if change.state in (DONE, FAILED):
            ended.add(change.board)
        if change.state in (DONE, FAILED, WAITING):
            say(lambda page: page.line(f"[{len(ended)}/{len(devices)}] {change.board} {change.state}: {change.text}"))
        elif not change.board:
            say(lambda page: page.line(change.text))

    yield listen


class _Table:
    """What Live asks for again and again; boards report from their threads."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self._rows = {device.name: (WAITING, "") for device in devices}
        self._title = ""
        self._lock = threading.Lock()

    def listen(self, change: Change) -> None:
        with self._lock:
            if change.board:
                state = change.state or self._rows[change.board][0]
                self._rows[change.board] = (state, change.text.partition("\n")[0])
            else:
                self._title = change.text

    def __rich__(self) -> Table:
        with self._lock:
            rows, title = dict(self._rows), self._title
        counts = ", ".join(f"{sum(state == wanted for state, _ in rows.values())} {wanted}" for wanted in (DONE, FAILED, RUNNING, WAITING))
        columns = (Column("board"), Column("state"), Column("", overflow="ellipsis", no_wrap=True, ratio=1))
        table = Table(*columns, box=None, expand=True, title=f"{printable(title)}  {counts}")
        # What goes on comes first: a terminal shows the top of a table that is longer than itself.
        for name, (state, text) in sorted(rows.items(), key=lambda row: (RUNNING, FAILED, WAITING, DONE).index(row[1][0])):
            table.add_row(Text(printable(name)), Text(state, _STYLES[state]), Text(printable(text)))
        return table


def _answer(done: Rollout, to: str, again: str) -> Answer:
    """Return one document with every board's outcome."""
    data = {
        "to": to,
        "rollout": done.id,
        "app": done.app,
        "release": done.release,
        "stopped": done.stopped,
        "boards": [_document(board) for board in done.boards],
    }
    return Answer(data, lambda page: _print(page, done, again), code=done.code)


def _document(board: Board) -> dict[str, Any]:
    found = {**msgspec.to_builtins(board), "error": None}
    outcome = found.pop("outcome")
    if outcome and outcome["code"]:
        kind = KINDS[getattr(errors, outcome["error"])] if outcome["error"] else "bug"
        found["error"] = {"kind": kind, "message": outcome["message"], "fix": outcome["fix"], "exit_code": outcome["code"]}
    elif outcome:
        found |= {key: outcome[key] for key in ("already", "previous", "bytes_sent", "stand_in", "seconds")}
    return found


def _print(page: Page, done: Rollout, again: str) -> None:
    states = [board.state for board in done.boards]
    failed = [board for board in done.boards if board.state == FAILED]
    page.line(
        ("deployed", "green") if not done.code else ("not everywhere", "red"),
        f" {done.app} {done.release[:12]}: {states.count(DONE)} of {len(states)} boards have it, {len(failed)} failed, "
        f"{len(states) - states.count(DONE) - len(failed)} were not begun",
    )
    for board in failed:
        if board.outcome:
            page.line((f"{board.name}: ", "red"), (board.outcome.message or "").replace("\n", "; "))
            if board.outcome.fix:
                page.line(f"  fix: {board.outcome.fix}")
    if done.stopped:
        page.line("too many failures: no further board was begun")
    if done.code:
        page.line(f"go on with: {again}")

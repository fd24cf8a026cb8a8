"""The one error boundary, and the one place that writes to stdout.

A command's answer, or what Click has to say (help, version, completion), is a finished text before its
first byte is written, and so is the exit code: a reader who goes away early changes neither. An exception
becomes a message on stderr, an exit code and, with ``--json``, a document.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

import click

from edgekit import errors
from edgekit.cli.root import Call, cli

if TYPE_CHECKING:
    from edgekit.cli.output import Answer, Page

__all__ = ["KINDS", "main"]

_USAGE = 2
_INPUT = errors.InputError.exit_code
_BUG = 70
_INTERRUPTED = 130
_TERMINATED = 143
_COMPLETE = "_EDGEKIT_COMPLETE"

KINDS: dict[type[errors.EdgekitError], str] = {
    errors.EdgekitError: "bug",
    errors.UsageError: "usage",
    errors.InputError: "input",
    errors.MissingExtraError: "input",
    errors.BuildError: "build",
    errors.DeviceError: "device",
    errors.AuthError: "auth",
    errors.HostKeyError: "host-key",
    errors.LinkError: "link",
    errors.DeployError: "deploy",
    errors.InconsistentError: "inconsistent",
    errors.BusyError: "busy",
    errors.DeadlineError: "deadline",
}
"""The word for each error (an unlisted one takes its base's) in ``error.kind`` of a document; beside these: ``interrupted``."""


class _Terminated(BaseException):
    """SIGTERM has come: what is under way is undone on the way up. As with Ctrl-C, its text, if any, says how to go on later."""


@dataclass(frozen=True)
class _Failure:
    kind: str
    message: str
    fix: str | None
    code: int
    trace: str = ""


def main() -> NoReturn:
    """Run the command line and exit with the code that ``errors`` and the README give."""
    signal.signal(signal.SIGTERM, _terminate)
    call = Call()
    outcome = _attempt(call)
    # Nothing is left to undo: a signal may now end us on the spot, also while a reader keeps us waiting.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    code = _write(*_settle(call, outcome))
    _let_go(sys.stderr)
    sys.exit(code)


def _attempt(call: Call) -> tuple[str, int] | _Failure:
    """Return what belongs on stdout with the exit code, or what went wrong."""
    try:
        _occupy_standard_streams()
        return _invoke(call)
    except errors.EdgekitError as error:
        kind = next(KINDS[base] for base in type(error).__mro__ if base in KINDS)
        return _Failure(kind, error.message, error.fix, error.exit_code)
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else " ".join(("edgekit", *call.command))
        return _Failure("usage", error.format_message(), f"{path} --help", _USAGE)
    except (click.Abort, KeyboardInterrupt) as stop:
        return _Failure("interrupted", "interrupted", str(stop) or None, _INTERRUPTED)
    except _Terminated as stop:
        return _Failure("interrupted", "terminated", str(stop) or None, _TERMINATED)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the one place where everything must end in a code
        return _Failure("bug", f"{type(error).__name__}: {error}", None, _BUG, traceback.format_exc())


def _settle(call: Call, outcome: tuple[str, int] | _Failure) -> tuple[str, int]:
    """Say what went wrong, if something did; return what belongs on stdout, and the exit code."""
    if not isinstance(outcome, _Failure):
        return outcome
    _complain(outcome)
    if not call.json:
        return "", outcome.code
    detail = {"kind": outcome.kind, "message": outcome.message, "fix": outcome.fix, "exit_code": outcome.code}
    return _document(call, ok=False, data={"error": detail}), outcome.code


def _invoke(call: Call) -> tuple[str, int]:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape", newline="", write_through=True)
    try:
        with contextlib.redirect_stdout(printed):
            if asked := os.environ.get(_COMPLETE):
                from click.shell_completion import shell_complete

                code = shell_complete(cli, {}, "edgekit", _COMPLETE, asked)
                return _read(printed), code
            with cli.make_context("edgekit", sys.argv[1:], obj=call) as ctx:
                answer: Answer | None = cli.invoke(ctx)
    except click.exceptions.Exit as stop:
        return _read(printed), stop.exit_code
    except BaseException:
        _pass_on(printed)
        raise
    if answer is None:
        return _read(printed), 0
    from edgekit.cli.output import render

    _pass_on(printed)
    text = _document(call, ok=answer.code == 0, data=answer.data) if call.json else render(answer.text, sys.stdout)
    return text, answer.code


def _document(call: Call, *, ok: bool, data: Mapping[str, Any]) -> str:
    """Return the one JSON document, on one line and in ASCII: a path need not be UTF-8."""
    return json.dumps({"schema": call.schema, "ok": ok, **data}, allow_nan=False) + "\n"


def _pass_on(printed: io.TextIOWrapper) -> None:
    """Show on stderr what a project's own code (module:function) has printed; stdout holds the answer alone."""
    if words := _read(printed):
        from edgekit.cli.output import say

        say(lambda page: _lines(page, words))


def _read(printed: io.TextIOWrapper) -> str:
    printed.seek(0)
    return printed.read()


def _occupy_standard_streams() -> None:
    """Give a closed stdin, stdout or stderr its number back, lest the next file opened gets it and what is printed there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # POSIX: the lowest number that is free, so this one
    if sys.stdout is None:
        raise errors.InputError("standard output is closed", fix="send it to a file, or to /dev/null")


def _write(text: str, code: int) -> int:
    """Write to stdout; return the exit code, which a reader that has gone does not change."""
    if not text:
        return code
    try:
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding or "utf-8", "backslashreplace"))
        sys.stdout.flush()
    except OSError as error:
        # The interpreter flushes once more when it ends; that must neither fail nor complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _complain(_Failure("input", f"standard output cannot be written: {error.strerror}", "send it where there is room", _INPUT))
            return code or _INPUT
    return code


def _let_go(stream: TextIO | None) -> None:
    """Flush what is buffered: the interpreter does so once more when it ends, and where that fails changes the exit code."""
    try:
        if stream is not None:
            stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _complain(failure: _Failure) -> None:
    from edgekit.cli.output import say

    def text(page: Page) -> None:
        if failure.trace:
            _lines(page, failure.trace)
        first, *more = failure.message.split("\n")
        page.line(("error:", "bold red"), f" {first}")
        for line in more:
            # Indented, so that no device can put a line of its own that looks like one of ours.
            page.line(line if line.startswith("  ") else f"  {line}")
        if failure.fix:
            page.line(("fix:", "bold green"), f" {failure.fix}")
        if failure.trace:
            page.line("This is a bug in edgekit; the lines above say where.")

    say(text)


def _lines(page: Page, text: str) -> None:
    for line in text.rstrip("\n").split("\n"):
        page.line(line)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated

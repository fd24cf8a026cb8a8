"""The one error boundary: an exception becomes a message on stderr, an exit code and, with ``--json``, a document."""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from edgekit.cli.root import cli
from edgekit.errors import EdgekitError

__all__ = ["main"]

_BUG = 70
_INTERRUPTED = 130
_TERMINATED = 143


def main() -> NoReturn:
    """Run the command line and exit with the code that ``errors`` and the design give."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(prog_name="edgekit", standalone_mode=False) or 0
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except click.UsageError as error:
        error.show()
        code = _fail("usage", error.format_message(), None, 2)
    except click.ClickException as error:
        error.show()
        code = _fail("usage", error.format_message(), None, 2)
    except EdgekitError as error:
        _say(error)
        code = _fail(type(error).__name__, error.message, error.fix, error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = _fail("Interrupted", "interrupted", None, _INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output has gone; the interpreter must not complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:  # noqa: BLE001 - the one place where everything must end in a code
        import traceback

        traceback.print_exc()
        click.echo("\nThis is a bug in edgekit; the lines above say where.", err=True)
        code = _fail("Bug", f"{type(error).__name__}: {error}", None, _BUG)
    sys.exit(code)


def _say(error: EdgekitError) -> None:
    click.echo(f"{click.style('error:', fg='red', bold=True)} {error.message}", err=True)
    if error.fix:
        click.echo(f"{click.style('fix:', fg='green', bold=True)} {error.fix}", err=True)


def _fail(kind: str, message: str, fix: str | None, code: int) -> int:
    """Print the failure as the one JSON document where ``--json`` was asked for."""
    words = sys.argv[1:]
    if "--json" in words:
        command = next((word for word in words if not word.startswith("-")), "edgekit")
        detail = {"kind": kind, "message": message, "fix": fix, "exit_code": code}
        click.echo(json.dumps({"schema": f"edgekit.{command}/1", "ok": False, "error": detail}))
    return code


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(_TERMINATED)

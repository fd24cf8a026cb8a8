"""Run a module of the bench in an environment of its own; what it says goes to a log, what it dies of into the table."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from bench.quantization.environment import ROOT

__all__ = ["FailedError", "run"]

# Nothing here takes an hour; a peer that hangs must not hold up the others.
_TIMEOUT_S = 3600


class FailedError(Exception):
    """A process failed; the text is its last word."""


def run(python: Path, module: str, words: list[str], log: Path) -> float:
    """Run ``python -m module words`` in the log's folder and return its wall time in seconds.

    Raises
    ------
    FailedError
        It exited with an error, was killed, or took more than an hour.
    """
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(ROOT)}
    begun = time.perf_counter()
    with log.open("w", encoding="utf-8") as file:
        try:
            done = subprocess.run(
                [str(python), "-m", f"bench.quantization.{module}", *words],
                cwd=log.parent,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            raise FailedError(f"took more than {_TIMEOUT_S} s") from None
    if done.returncode:
        raise FailedError(_last_word(log, done.returncode))
    return time.perf_counter() - begun


def _last_word(log: Path, code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else f"exit code {code}"

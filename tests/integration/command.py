"""The command line as a user meets it: a process of its own, judged by exit code, stdout and stderr."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["DEMO", "Said", "edgekit"]

DEMO = Path(__file__).resolve().parents[2] / "calibration" / "demo"


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """The one JSON document on stdout; fails when there is anything else."""
        found: dict[str, Any] = json.loads(self.out)
        return found

    def refused(self, code: int, *words: str) -> None:
        """Check that it ended as a user's mistake should: this code, these words, no traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err, self.err
        for word in words:
            assert word in self.err, self.err


def edgekit(*words: str, cwd: Path, timeout_s: float = 120) -> Said:
    """Run ``edgekit WORDS`` in a folder."""
    done = subprocess.run([sys.executable, "-m", "edgekit", *words], cwd=cwd, capture_output=True, text=True, timeout=timeout_s)
    return Said(done.returncode, done.stdout, done.stderr)

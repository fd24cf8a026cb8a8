"""What was measured of one model and one peer, kept as JSON: a run takes what is there and measures the rest."""

from __future__ import annotations

import hashlib
import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.quantization.score import Score

__all__ = ["Cost", "Result", "digest_of", "read", "write"]


@dataclass(frozen=True)
class Cost:
    """What quantizing once took.

    Attributes
    ----------
    seconds
        From the call to the file: reading the model and the samples, calibrating, quantizing, writing.
    cpu_s
        What all cores together spent on that: it says more than the clock does on a busy machine.
    import_s, wall_s
        Loading the peer, before that; and the whole process, from its start to its end.
    peak_mib
        The most memory the process ever had resident.
    """

    seconds: float
    cpu_s: float
    import_s: float
    wall_s: float
    peak_mib: float


@dataclass(frozen=True)
class Result:
    """One cell of the table, or why it is empty.

    Attributes
    ----------
    samples
        How many calibrated.
    key
        Digest of all that the figures depend on; another key is another measurement.
    costs
        One for each time it was quantized.
    artifact, artifact_sha256, artifact_bytes
        The file, in the folder of the result.
    notes
        Further figures of this peer, by name.
    """

    model: str
    peer: str
    samples: int
    key: str
    costs: list[Cost] = field(default_factory=list)
    artifact: str | None = None
    artifact_sha256: str | None = None
    artifact_bytes: int = 0
    score: Score | None = None
    error: str | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    def median(self, field: str) -> float:
        """Return the median of a field of the costs, of which there must be some."""
        return float(statistics.median(getattr(cost, field) for cost in self.costs))


def read(path: Path) -> Result | None:
    """Return the result in a file, or None."""
    if not path.is_file():
        return None
    held = json.loads(path.read_text(encoding="utf-8"))
    held["costs"] = [Cost(**cost) for cost in held["costs"]]
    held["score"] = Score(**held["score"]) if held["score"] else None
    return Result(**held)


def write(path: Path, result: Result) -> None:
    half = path.with_suffix(".half")
    half.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")
    half.replace(path)


def digest_of(value: Any, *files: Path) -> str:
    """Return one digest of a plain value and of files; of a folder, of the names and sizes in it."""
    digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode())
    for file in files:
        if file.is_dir():
            digest.update(repr(sorted((path.name, path.stat().st_size) for path in file.rglob("*") if path.is_file())).encode())
        else:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()

"""The plot of all results: what is lost against what it costs, a panel for each model. ``run`` calls ``draw``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.quantization import process
from bench.quantization.case import CASES
from bench.quantization.environment import python_of
from bench.quantization.peer import PEERS
from bench.quantization.table import results_of

__all__ = ["draw"]


def draw(results: Path, samples: int, target: Path, cache: Path) -> None:
    """Write the plot as SVG.

    Raises
    ------
    NotInstalledError, FailedError
        Matplotlib's environment cannot be made, or drawing failed.
    """
    panels = [{"title": case.title, "points": points(results, model, samples)} for model, case in CASES.items()]
    listed = results / "plot.json"
    listed.write_text(json.dumps([panel for panel in panels if panel["points"]]), encoding="utf-8")
    process.run(python_of("plot", cache), "draw", [str(listed), str(target)], results / "plot.log")


def points(results: Path, model: str, samples: int) -> list[dict[str, Any]]:
    """Return one point for each file that was judged and whose costs are known."""
    return [
        {
            "peer": PEERS[found.peer].title,
            "edgekit": PEERS[found.peer].is_edgekit,
            "seconds": found.median("seconds"),
            "peak_mib": found.median("peak_mib"),
            "disagreement": found.score.disagreement,
        }
        for found in results_of(results, model, samples)
        if found.score and found.costs and found.peer != "published"
    ]

"""A case as an edgekit project: the ``edgekit.toml`` that edgekit's drivers build. ``measure`` writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.quantization.case import CASES
from bench.quantization.peer import Peer
from bench.quantization.sets import Sets

__all__ = ["write_project"]

# A set by module:function is streamed, and a sample may be several arrays by the names of the inputs.
_PREPARED = """\
from pathlib import Path

import numpy as np

from bench.quantization.feed import Samples


def samples():
    labels = np.load({labels!r}) if {labels!r} else None
    for number, feed in enumerate(Samples(Path({folder!r}))):
        arrays = {{name: array[0] for name, array in feed.items()}}
        x = arrays if len(arrays) > 1 else next(iter(arrays.values()))
        yield x if labels is None else (x, labels[number])
"""


def write_project(folder: Path, model: str, sets: Sets, samples: int, peer: Peer, *, proved: bool) -> None:
    """Write what a case declares: model, preprocessing, both sets, and the peer's budget.

    Parameters
    ----------
    proved
        The build goes on to its proof: it preprocesses raw images itself. Else it gets the samples that the peers get,
        of which layout ``"nhwc"`` leaves the axes alone, and one to evaluate on, for it wants a set. Sentences are
        always prepared: edgekit takes tokens.
    """
    calibration: dict[str, Any] = {"dataset": f"{sets.calibration}.npz", "samples": samples}
    evaluation: dict[str, Any] = {"dataset": f"{sets.evaluation}.npz"}
    preprocess = CASES[model].preprocess.to_wire()
    if not proved or CASES[model].head:
        preprocess = {"layout": "nhwc"}
        _write_prepared(folder / "prepared_calibration.py", sets.calibration, "")
        _write_prepared(folder / "prepared_evaluation.py", sets.evaluation, str(sets.folder / "labels.npy"))
        calibration["dataset"], evaluation["dataset"] = "prepared_calibration:samples", "prepared_evaluation:samples"
    if not proved:
        evaluation["samples"] = 1
    tables: dict[str, Mapping[str, Any]] = {
        "model": {"path": str(sets.model), "name": model.replace("_", "-")},
        "preprocess": preprocess,
        "calibration": calibration,
        "evaluation": evaluation,
        "budget": {"accuracy_drop_max": peer.options["budget"]} if "budget" in peer.options else {},
    }
    # Of such plain values JSON and TOML say the same.
    lines = [(f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())) for name, table in tables.items()]
    (folder / "edgekit.toml").write_text("\n".join(line for table in lines for line in table) + "\n", encoding="utf-8")


def _write_prepared(file: Path, folder: Path, labels: str) -> None:
    file.write_text(_PREPARED.format(folder=str(folder), labels=labels), encoding="utf-8")

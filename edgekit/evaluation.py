"""``Evaluation``: who said what on each evaluation sample. Travels in the bundle as ``evaluation.json``."""

from __future__ import annotations

from typing import Literal

import msgspec

__all__ = ["EVALUATION", "Evaluation"]

EVALUATION = "evaluation.json"


class Evaluation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers sample by sample, so that every later judgement is a paired one.

    Attributes
    ----------
    dataset_sha256
        The samples, in order.
    labels
        None when the dataset has none.
    float_predictions, artifact_predictions
        Class index by the float network and by the artifact, both on the host.
    """

    schema: Literal["edgekit.evaluation/1"] = "edgekit.evaluation/1"
    dataset_sha256: str
    labels: tuple[int, ...] | None
    float_predictions: tuple[int, ...]
    artifact_predictions: tuple[int, ...]

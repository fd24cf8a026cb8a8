"""``Measurement``, ``Verdict`` and ``Findings``: what a probe has to say, as plain values.

``latency`` and ``accuracy`` make them, ``report`` holds them. Nouns only: no statistics, no numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec

from edgekit.throttle import BoardState

__all__ = ["Figures", "Findings", "Measurement", "Outcome", "Verdict"]

Outcome = Literal["pass", "fail", "inconclusive", "invalid"]
Figures = Mapping[str, float | int | str | bool | None]


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One number, and whether it may be believed.

    Attributes
    ----------
    value
        None where there is no finite figure.
    unit
        ``"ms"``, ``"min"``, ``"1/s"``, ``"B"``, ``"MiB"``, ``"MHz"``, ``"degC"``, ``"W"``, ``"mJ"``, ``"dB"``, ``"steps"`` of
        quantization, or ``"1"`` for a ratio.
    n
        How many samples stand behind it.
    valid, rule
        A measurement that broke a rule is not valid and names the rule.
    details
        Bounds and what else a reader may ask for; the unit in the key where it differs.
    """

    name: str
    value: float | None
    unit: str
    n: int
    valid: bool = True
    rule: str | None = None
    details: Figures = {}

    def __post_init__(self) -> None:
        if self.value is not None and not math.isfinite(self.value):
            raise ValueError(f"{self.name} is {self.value}: a figure without an end is written as None")
        if self.valid != (self.rule is None):
            raise ValueError(f"{self.name}: a measurement names a rule exactly when it is not valid")


class Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The answer to one question, in a word and in a sentence, with the figures it rests on."""

    name: str
    outcome: Outcome
    text: str
    figures: Figures = {}


class Findings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one probe adds to a report.

    Attributes
    ----------
    samples
        Raw series by name, as measured and in that order; the unit is in the name (``invoke_ns``).
    environment
        What it ran on and with: runtime, threads, governor.
    states
        What the board said of itself meanwhile, in order: before the measurement first, after it last. Empty where nothing was timed.
    """

    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...] = ()
    samples: dict[str, tuple[int, ...]] = {}
    environment: dict[str, str] = {}
    states: tuple[BoardState, ...] = ()

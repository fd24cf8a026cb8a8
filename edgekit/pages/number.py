"""How figures are written on pages: as many digits as they carry, with unit, bound and interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.measurement import Figures, Measurement

__all__ = ["amount", "bounds", "confidence", "count", "decimals", "figure_of", "fixed", "interval", "of_measurement", "signed"]

_DIGITS = 4
"""Significant ones: a microsecond in a millisecond, and more than any run repeats."""


def decimals(value: float) -> int:
    """Return how many decimals give a figure four significant digits; a column takes those of its median."""
    return max(0, min(6, _DIGITS - 1 - math.floor(math.log10(abs(value))))) if value else 2


def fixed(value: float | None, places: int) -> str:
    """Write a number with so many decimals, its thousands apart."""
    return "–" if value is None else f"{value:,.{places}f}".replace(",", " ").replace("-", "\N{MINUS SIGN}")


def count(number: int) -> str:
    """Write a count, its thousands apart."""
    return f"{number:,}".replace(",", " ")


def amount(value: float | None, unit: str) -> str:
    """Write a figure with its unit; a ratio as a percentage."""
    if value is None:
        return "none"
    if unit == "1":
        return f"{fixed(100 * value, 2)} %"
    return f"{fixed(value, min(3, decimals(value)) if value else 0)} {_UNITS.get(unit, unit)}".rstrip()


_UNITS = {"degC": "°C", "1/s": "per s"}
_ENDS = (("lower_ms", "upper_ms"), ("low_per_s", "high_per_s"), ("low", "high"))
"""How the probes call the bounds of a figure among its details."""


def signed(value: float) -> str:
    """Write a difference of ratios in percentage points, with its sign."""
    return f"{100 * value:+.2f}".replace("-", "\N{MINUS SIGN}")


def of_measurement(measurement: Measurement) -> str:
    """Write a measurement's figure."""
    return amount(measurement.value, measurement.unit)


def interval(details: Figures, *, sign: bool = False) -> str:
    """Write the interval of a ratio; a dash where there is none."""
    low, high = details.get("low"), details.get("high")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)):
        return "–"
    if sign:
        return f"{signed(low)} to {signed(high)}"
    return f"{fixed(100 * low, 2)} to {fixed(100 * high, 2)} %"


def bounds(measurement: Measurement) -> str:
    """Write what bounds a measurement, in its own unit: an interval, a lower and an upper bound, or how many samples one needs."""
    details, unit = measurement.details, measurement.unit
    if unit == "1":
        text = interval(details, sign=measurement.name.endswith("_delta"))
        if text != "–":
            return text
    for low_key, high_key in _ENDS:
        low, high = figure_of(details, low_key), figure_of(details, high_key)
        if high is not None:
            return f"at most {amount(high, unit)}" if low is None else f"{amount(low, unit)} to {amount(high, unit)}"
    needs = details.get("needs")
    return f"needs {count(needs)} more samples" if isinstance(needs, int) and needs > 0 else ""


def confidence(measurements: Sequence[Measurement], otherwise: str) -> str:
    """Name the interval that measurements share, by its confidence: ``95 % interval``."""
    told = {found for one in measurements if (found := figure_of(one.details, "confidence")) is not None}
    return f"{100 * told.pop():g} % interval" if len(told) == 1 else otherwise


def figure_of(details: Figures, key: str) -> float | None:
    """Return a detail that is a number, or None."""
    value = details.get(key)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None

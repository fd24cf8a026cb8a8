"""Colours: readable on both grounds, in both schemes, and each one its own, as ``svg`` finds them by their value."""

from __future__ import annotations

import itertools

import pytest

from edgekit.pages.theme import DARK, LIGHT, TEXTS


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [LIGHT, DARK], ids=["light", "dark"])
def test_words_can_be_read(scheme: dict[str, str]) -> None:
    poor = {
        (text, ground): round(found, 2)
        for text, ground in itertools.product(TEXTS, ("paper", "panel"))
        if (found := contrast(scheme[text], scheme[ground])) < 4.5
    }
    assert not poor
    assert contrast(scheme["fail"], scheme["slowed"]) >= 4.5


def test_the_yardstick_is_right() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_both_schemes_have_the_same_colours_each_its_own() -> None:
    assert list(LIGHT) == list(DARK)
    assert len(set(LIGHT.values())) == len(LIGHT)

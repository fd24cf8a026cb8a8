"""Losses from sums of squares."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.explanation import Loss


def test_a_loss_is_what_the_vectors_say() -> None:
    generator = np.random.default_rng(1)
    exact = generator.normal(size=1000)
    seen = exact + 0.1 * generator.normal(size=1000)
    found = Loss.of(float((exact**2).sum()), float((seen**2).sum()), float(((exact - seen) ** 2).sum()))
    assert found.sqnr_db == pytest.approx(10 * math.log10((exact**2).sum() / ((exact - seen) ** 2).sum()))
    assert found.cosine == pytest.approx(exact @ seen / np.linalg.norm(exact) / np.linalg.norm(seen))


@pytest.mark.parametrize(
    ("sums", "wanted"),
    [
        ((4.0, 4.0, 0.0), Loss(None, 1.0)),  # nothing moved
        ((0.0, 1.0, 1.0), Loss(None, None)),  # silence lost
        ((4.0, 0.0, 4.0), Loss(0.0, None)),  # everything lost
        ((math.inf, math.inf, 1.0), Loss(None, None)),
        ((math.nan, 1.0, 1.0), Loss(None, None)),
        ((1.0, 1.0, 4.0000001), Loss(-6.0206000, -1.0)),  # float32 sums do not quite fit each other
    ],
)
def test_where_there_is_no_figure(sums: tuple[float, float, float], wanted: Loss) -> None:
    found = Loss.of(*sums)
    assert (found.sqnr_db is None, found.cosine is None) == (wanted.sqnr_db is None, wanted.cosine is None)
    assert found.sqnr_db == pytest.approx(wanted.sqnr_db)
    assert found.cosine == pytest.approx(wanted.cosine)

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekit.graph import Array
from edgekit.quantize.rounding import nearest, round_rows
from edgekit.quantize.weights import largest_scales, least_error_scales

generator = np.random.default_rng(5)


def covariance(taps: int, groups: int = 1) -> Array:
    """Return second moments of inputs that resemble each other, as neighbours in an image do."""
    shared = generator.standard_normal((groups, 400, 1))
    seen = shared + 0.3 * generator.standard_normal((groups, 400, taps))
    moments: Array = seen.transpose(0, 2, 1) @ seen / 400
    return moments


def power(errors: Array, moments: Array) -> Array:
    found: Array = np.einsum("got,gts,gos->go", errors, moments, errors)
    return found


@pytest.mark.parametrize("shape", [(1, 8, 20), (1, 5, 150), (6, 1, 9), (2, 4, 18)])
def test_no_row_gets_worse_and_together_they_get_better(shape: tuple[int, int, int]) -> None:
    rows = generator.standard_normal(shape)
    moments, scales = covariance(shape[2], shape[0]), largest_scales(rows) * 8
    plain, found = nearest(rows, scales), round_rows(rows, scales, [moments], [slice(None)], 400)
    before, after = power(plain - rows, moments), power(found - rows, moments)
    assert (after <= before * 1.001).all()
    assert after.sum() < 0.7 * before.sum()
    levels = found / scales[..., None]
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-9)
    assert np.abs(levels).max() <= 127


def test_short_rows_come_close_to_the_best_of_all_roundings() -> None:
    rows, scales = generator.standard_normal((1, 12, 6)), np.full((1, 12), 0.5)
    moments = covariance(6)
    found = power(round_rows(rows, scales, [moments], [slice(None)], 400) - rows, moments)
    steps = np.array(list(itertools.product((0, 1), repeat=6)))
    candidates = (np.floor(rows[0] / 0.5)[:, None] + steps[None]) * 0.5
    errors = candidates - rows[0][:, None]
    best = np.einsum("oct,ts,ocs->oc", errors, moments[0], errors).min(axis=1)
    plain = power(nearest(rows, scales) - rows, moments)
    assert found.sum() - best.sum() < 0.25 * (plain.sum() - best.sum())


def test_stretches_are_rounded_each_by_its_own_moments() -> None:
    rows = generator.standard_normal((1, 4, 30))
    scales, cuts = largest_scales(rows) * 8, [slice(0, 12), slice(12, 30)]
    moments = [covariance(12), covariance(18)]
    whole = round_rows(rows, scales, moments, cuts, 400)
    parts = [round_rows(rows[..., cut], scales, [moment], [slice(None)], 400) for moment, cut in zip(moments, cuts, strict=True)]
    errors = [
        sum(power((w - rows)[..., cut], m) for m, cut in zip(moments, cuts, strict=True)) for w in (whole, np.concatenate(parts, axis=2))
    ]
    np.testing.assert_allclose(errors[0], errors[1], rtol=0.05)


@pytest.mark.parametrize("dead", ["one input", "every input"])
def test_inputs_that_are_always_the_same_do_no_harm(dead: str) -> None:
    rows = generator.standard_normal((1, 3, 5))
    moments = covariance(5)
    moments[:, 0], moments[:, :, 0] = 0, 0
    if dead == "every input":
        moments[:] = 0
    found = round_rows(rows, largest_scales(rows), [moments], [slice(None)], 400)
    assert np.abs(found - rows).max() <= 3 * largest_scales(rows).max()


def test_the_scale_of_least_error_cuts_off_what_hardly_counts() -> None:
    rows = generator.standard_normal((1, 4, 200))
    rows[:, 0, 0] = 40.0
    importance: Array = np.ones((1, 200))
    assert np.array_equal(least_error_scales(rows, importance) <= largest_scales(rows), np.ones((1, 4), bool))
    importance[0, 0] = 1e-6
    found, full = least_error_scales(rows, importance), largest_scales(rows)
    assert found[0, 0] == pytest.approx(full[0, 0] / 2)

    def error(scales: Array) -> Array:
        miss: Array = (((nearest(rows, scales) - rows) ** 2) * importance[:, None]).sum(axis=-1)
        return miss

    assert (error(found) <= error(full)).all()

"""Which ways to preprocess count as others, and how they are spelled."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.pipeline.variants import LAYOUTS, settings, variants
from edgekit.preprocess import Preprocess

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TORCH = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
DECLARED = {
    "raw": Preprocess(),
    "0..1": Preprocess(scale=1 / 255),
    "-1..1": Preprocess(scale=1 / 127.5, mean=(1.0,)),
    "torch": TORCH,
    "keras caffe": Preprocess(color="bgr", mean=(103.939, 116.779, 123.68)),
}


@pytest.mark.parametrize("right", DECLARED.values(), ids=DECLARED)
@pytest.mark.parametrize("declared", DECLARED.values(), ids=DECLARED)
def test_from_any_customary_way_every_other_is_tried(declared: Preprocess, right: Preprocess) -> None:
    image = np.random.default_rng(2).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    wanted = right.apply(image)
    tried = [one.apply(image) for one in (declared, *variants(declared, 3, ["nchw"]).values())]
    assert min(np.abs(one - wanted).max() for one in tried) <= 0.02 * np.ptp(wanted)


@pytest.mark.parametrize("change", [{"color": "bgr"}, {"scale": 1.0}, {"scale": 1 / 255 / 255}, {"mean": (), "std": ()}])
def test_one_slip_is_undone_by_one_setting(change: dict[str, Any]) -> None:
    """The other settings stay as they are declared: here no customary ones."""
    right = Preprocess(scale=1 / 255, mean=(0.3, 0.4, 0.5), std=(0.2, 0.2, 0.2))
    slipped = msgspec.structs.replace(right, **change)
    found = variants(slipped, 3, ["nchw"])
    if "mean" in change:
        assert right not in found.values(), "no one can guess a mean"
    else:
        undone = [
            one
            for one in found.values()
            if np.allclose(one.scale, right.scale) and (one.color, one.mean, one.std) == (right.color, right.mean, right.std)
        ]
        assert len(undone) == 1


def test_each_way_is_there_once_and_the_declared_one_is_not() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for declared in DECLARED.values():
        made = [one.apply(image) for one in (declared, *variants(declared, 3, ["nchw"]).values())]
        assert not [1 for i, one in enumerate(made) for other in made[:i] if np.allclose(one, other, atol=1e-6)]


def test_nearly_the_same_way_is_the_same() -> None:
    found = variants(Preprocess(mean=(127.0,), std=(128.0,)), 3, ["nchw"])
    assert "scale = 0.00784313725490196, mean = [1.0], std = []" not in found
    assert 'color = "bgr"' in found


@pytest.mark.parametrize(("declared", "channels"), [(Preprocess(), 1), (Preprocess(color="gray"), 3), (Preprocess(), 4)])
def test_what_has_no_colour_order_keeps_it(declared: Preprocess, channels: int) -> None:
    found = variants(declared, channels, ["nchw"])
    assert found
    assert {one.color for one in found.values()} == {declared.color}
    assert all(len(one.mean) <= 1 for one in found.values())


def test_both_layouts_where_both_fit() -> None:
    assert 'layout = "nhwc"' in variants(TORCH, 3, LAYOUTS)
    assert not [key for key in variants(TORCH, 3, ["nchw"]) if "layout" in key]


def test_settings_are_toml() -> None:
    other = Preprocess(color="bgr", scale=1.0, mean=(1.5, 2.0, 3.0), std=())
    spelled = settings(TORCH, other)
    assert tomllib.loads(spelled.replace(", mean", "\nmean").replace(", scale", "\nscale").replace(", std", "\nstd")) == {
        "color": "bgr",
        "scale": 1.0,
        "mean": [1.5, 2.0, 3.0],
        "std": [],
    }
    assert settings(TORCH, TORCH) == ""

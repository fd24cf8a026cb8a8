"""Every shipped target is whole; the test of a new one appears by itself."""

from __future__ import annotations

import platform

import pytest

from edgekit.errors import UsageError
from edgekit.runtimes import RUNTIMES
from edgekit.target import load_target, target_names


@pytest.mark.parametrize("name", target_names())
def test_shipped_target(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.runtime in RUNTIMES
    assert target.machines
    assert target.family in target_names()


def test_the_promised_targets_ship() -> None:
    assert {"local", "rpi", "rpi3", "rpi4", "rpi5"} <= set(target_names())


def test_local_is_this_machine() -> None:
    assert load_target("local").machines == (platform.machine(),)


@pytest.mark.parametrize(("word", "near"), [("rpi9", "rpi"), ("rsp4", "rpi4"), ("loacl", "local")])
def test_misspelt_target_offers_the_nearest(word: str, near: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_target(word)
    assert f"did you mean '{near}" in str(caught.value.fix)


@pytest.mark.parametrize("word", ["../rpi4", "", "rpi4.toml"])
def test_a_path_is_no_target(word: str) -> None:
    with pytest.raises(UsageError):
        load_target(word)

"""Every shipped target is whole; the test of a new one appears by itself."""

from __future__ import annotations

import platform
from typing import Any

import msgspec
import pytest

from edgekit.device import Facts
from edgekit.errors import UsageError
from edgekit.runtimes import RUNTIMES
from edgekit.target import load_target, target_names, unsupported
from tests.unit.test_device import FACTS

JETSONS = {
    "jetson": None,
    "jetson-orin-nano": "8.7",
    "jetson-orin-nx": "8.7",
    "jetson-agx-orin": "8.7",
    "jetson-xavier-nx": "7.2",
    "jetson-agx-xavier": "7.2",
    "jetson-agx-thor": "11.0",
}
ORIN = {"name": "Orin", "compute_capability": "8.7", "cuda": "12.6", "memory_total_bytes": 1 << 33}
JETPACK_6 = {"l4t": "36.4.3", "jetpack": "6.2", "module": "p3767-0003", "power_mode": "15W"}


@pytest.mark.parametrize("name", target_names())
def test_shipped_target(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.runtime in RUNTIMES
    assert target.machines
    assert target.family in target_names()


def test_the_promised_targets_ship() -> None:
    assert {"local", "rpi", "rpi3", "rpi4", "rpi5", "edge-x86", "host-gpu", *JETSONS} <= set(target_names())


@pytest.mark.parametrize("name", JETSONS)
def test_a_jetson_gets_its_engine_on_the_board(name: str) -> None:
    target = load_target(name)
    assert (target.runtime, target.precision, target.finish, target.family) == ("tensorrt", "mixed", "device", "jetson")
    assert target.machines == ("aarch64",)
    assert target.nvidia is not None
    assert target.nvidia.compute_capability == JETSONS[name]
    assert target.nvidia.jetpack is not None


def test_the_hosts_own_gpu_gets_its_engine_here() -> None:
    target = load_target("host-gpu")
    assert (target.runtime, target.finish, target.machines) == ("tensorrt", "host", (platform.machine(),))
    assert target.nvidia is not None


# Models of device trees in public logs: JetPack 5 and 6, developer kits and a carrier board of another make.
@pytest.mark.parametrize(
    ("board", "name"),
    [
        ("NVIDIA Orin Nano Developer Kit", "jetson-orin-nano"),
        ("NVIDIA Orin Nano Developer Kit - DSBOARD-ORNXS", "jetson-orin-nano"),
        ("NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super", "jetson-orin-nano"),
        ("NVIDIA Orin NX Developer Kit", "jetson-orin-nx"),
        ("NVIDIA Jetson Orin NX Engineering Reference Developer Kit Super", "jetson-orin-nx"),
        ("NVIDIA Jetson AGX Orin Developer Kit", "jetson-agx-orin"),
        ("NVIDIA Jetson Xavier NX Developer Kit", "jetson-xavier-nx"),
        ("Jetson-AGX", "jetson-agx-xavier"),
        ("NVIDIA Jetson AGX Thor Developer Kit", "jetson-agx-thor"),
    ],
)
def test_a_board_is_known_by_its_model(board: str, name: str) -> None:
    fitting = [target for target in map(load_target, JETSONS) if target.boards and board.startswith(target.boards)]
    assert [target.name for target in fitting] == [name]


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("jetson-orin-nano", {}, None),
        ("jetson", {}, None),
        ("rpi4", {}, None),
        ("host-gpu", {"jetson": None}, None),
        ("jetson-xavier-nx", {}, "its GPU, Orin, has compute capability 8.7; that of jetson-xavier-nx is 7.2"),
        ("jetson-agx-thor", {"gpu": None}, "it runs JetPack 6.2; jetson-agx-thor needs 7.0 or later"),
        ("jetson-xavier-nx", {"gpu": None}, "it runs JetPack 6.2; jetson-xavier-nx is known up to 5.1"),
        ("jetson-xavier-nx", {"gpu": None, "jetson": {**JETPACK_6, "jetpack": "5.1.5"}}, None),
        ("jetson", {"jetson": {**JETPACK_6, "jetpack": "7.2.1"}}, None),
        ("jetson", {"jetson": {**JETPACK_6, "jetpack": "7.3"}}, "it runs JetPack 7.3; jetson is known up to 7.2"),
        ("jetson", {"jetson": {**JETPACK_6, "jetpack": "5.0.2"}}, "it runs JetPack 5.0.2; jetson needs 5.1 or later"),
        ("jetson-orin-nx", {"gpu": None, "jetson": None}, None),
        ("jetson-orin-nx", {"jetson": {**JETPACK_6, "jetpack": None}}, None),
    ],
)
def test_a_board_that_contradicts_its_target(name: str, change: dict[str, Any], text: str | None) -> None:
    found = unsupported(load_target(name), msgspec.convert({**FACTS, "gpu": ORIN, "jetson": JETPACK_6, **change}, Facts))
    assert (found and found[0]) == text
    assert found is None or found[1]


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

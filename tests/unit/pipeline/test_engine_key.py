"""What a bundle's engine asks of a board, said before a byte is sent; and which board may build its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgekit.device import Address, Device, Facts
from edgekit.engine import EngineFile, EngineKey, Recipe
from edgekit.errors import BuildError, DeployError, DeviceError, InputError
from edgekit.manifest import FileEntry, Manifest
from edgekit.pipeline.engine import key_on, plan_for, plan_on
from edgekit.pipeline.fit import misfits
from tests.unit.bundles import small_manifest
from tests.unit.test_device import FACTS

BOARD = Device(name="orin", address=Address.parse("user@10.0.0.8"))
RECIPE = Recipe(precision="mixed", files={"weak": "model.onnx", "strong": "mixed.onnx"}, workspace_mib=512)
GPU = {"name": "Orin", "compute_capability": "8.7", "cuda": "12.6", "memory_total_bytes": 8 << 30}
JETSON = {"l4t": "36.4.0", "jetpack": "6.1", "module": None, "power_mode": None}
PACKAGE = {"kind": "tensorrt", "name": "tensorrt", "version": "10.3.0"}
PROGRAM = {"kind": "tensorrt", "name": "trtexec", "version": "10.3.0"}


def facts(*runtimes: dict[str, Any], **fields: Any) -> Facts:
    base = {**FACTS, "board": "NVIDIA Jetson Orin Nano", "runtimes": list(runtimes), "gpu": GPU, "jetson": JETSON}
    return msgspec.convert({**base, **fields}, Facts)


def manifest(engine: EngineKey | None = None) -> Manifest:
    small = small_manifest()
    files = (FileEntry("model.onnx", "a" * 64, 1000), FileEntry("mixed.onnx", "b" * 64, 1000))
    return msgspec.structs.replace(
        small,
        target="jetson",
        runtime="tensorrt",
        artifact="model.onnx",
        files=files,
        requires=msgspec.structs.replace(small.requires, boards=("NVIDIA Jetson",), runtime="tensorrt"),
        recipe=RECIPE,
        engine=engine and EngineFile("engine/model.plan", "engine/layers.json", engine),
    )


def key_of_a_board(found: Facts) -> EngineKey:
    return plan_on(key_on(found, "here"), RECIPE, {"model.onnx": "a" * 64, "mixed.onnx": "b" * 64}, "here").key


def test_a_recipe_is_planned_with_the_file_that_this_tensorrt_reads() -> None:
    plan = plan_for(manifest(), facts(PACKAGE), BOARD)
    assert plan is not None
    assert (plan.source, plan.key.onnx_sha256, plan.key.workspace_mib) == ("model.onnx", "a" * 64, 512)
    newer = plan_for(manifest(), facts({**PACKAGE, "version": "11.4.1"}), BOARD)
    assert newer is not None
    assert (newer.source, newer.key.onnx_sha256) == ("mixed.onnx", "b" * 64)


def test_an_engine_of_the_very_key_needs_nothing() -> None:
    found = facts(PACKAGE)
    assert plan_for(manifest(key_of_a_board(found)), found, BOARD) is None


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (facts({**PACKAGE, "version": "11.4.1"}), "tensorrt 10.3.0, the board has 11.4.1"),
        (facts(PACKAGE, gpu={**GPU, "compute_capability": "7.2"}), "compute_capability 8.7, the board has 7.2"),
        (facts(PACKAGE, board="NVIDIA Jetson AGX Orin"), "board NVIDIA Jetson Orin Nano, the board has NVIDIA Jetson AGX Orin"),
        (facts(PACKAGE, jetson={**JETSON, "l4t": "36.3.0"}), "l4t 36.4.0, the board has 36.3.0"),
        (facts(PACKAGE, gpu={**GPU, "cuda": "12.2"}), "cuda 12.6, the board has 12.2"),
    ],
    ids=["tensorrt", "gpu", "board", "l4t", "cuda"],
)
def test_an_engine_of_another_key_is_refused_with_the_field_and_the_command(other: Facts, words: str) -> None:
    engine = manifest(key_of_a_board(facts(PACKAGE)))
    with pytest.raises(DeployError) as caught:
        plan_for(engine, other, BOARD)
    assert words in caught.value.message
    assert "nothing of the release was sent" in caught.value.message
    assert caught.value.fix == "edgekit build --target jetson --device orin --precision mixed --workspace 512"


@pytest.mark.parametrize(
    ("found", "words", "fix"),
    [
        (facts(PACKAGE, gpu=None), "no NVIDIA GPU", "nvidia-smi"),
        (facts(), "no TensorRT", "apt install tensorrt"),
        (facts({**PACKAGE, "error": "libnvinfer.so.10: cannot open"}), "libnvinfer.so.10", "apt install tensorrt"),
        (facts(PROGRAM), "trtexec alone gives no answers", "python3-libnvinfer"),
        (facts({**PACKAGE, "error": "broken"}, PROGRAM), "does not run there (broken)", "python3-libnvinfer"),
    ],
    ids=["no GPU", "no TensorRT", "broken", "program alone", "broken beside the program"],
)
def test_what_a_board_lacks_is_named(found: Facts, words: str, fix: str) -> None:
    ((text, mends),) = misfits(manifest(), BOARD, found, stand_in=False)
    assert words in text
    assert fix in (mends or "")


def test_a_board_with_all_of_it_fits() -> None:
    assert misfits(manifest(), BOARD, facts(PACKAGE), stand_in=False) == []


def test_no_key_without_a_gpu() -> None:
    with pytest.raises(BuildError, match="no NVIDIA GPU"):
        key_on(facts(PACKAGE, gpu=None), "here")


@pytest.mark.parametrize("version", ["ten", "", "10.3.0\n; rm"])
def test_a_board_that_says_nonsense_of_its_tensorrt_is_not_believed(version: str) -> None:
    with pytest.raises(DeviceError, match="not as it must be"):
        plan_for(manifest(), facts({**PACKAGE, "version": version}), BOARD)


def test_a_recipe_without_the_file_that_the_board_reads() -> None:
    bundle = msgspec.structs.replace(manifest(), recipe=msgspec.structs.replace(RECIPE, files={"weak": "model.onnx"}))
    with pytest.raises(InputError, match=r"no file for TensorRT 11\.4\.1"):
        plan_for(bundle, facts({**PACKAGE, "version": "11.4.1"}), BOARD)

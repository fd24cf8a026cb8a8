"""`build` for TensorRT without a board: the files of each precision, the recipe, the golden files, and what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit.bundle import damage, open_bundle
from edgekit.engine import EnginePrecision
from edgekit.errors import UsageError
from edgekit.parse import into
from edgekit.pipeline import rtx
from edgekit.pipeline.build import Built, build
from edgekit.pipeline.finish import AnyPrecision, EngineOptions
from edgekit.project import Project
from edgekit.target import load_target
from tests.unit.pipeline.test_build import IMAGES, answers, classifier

PROJECT = {
    "preprocess": {"scale": 1 / 255},
    "calibration": {"dataset": "cal.npz"},
    "evaluation": {"dataset": "eval.npz"},
    "budget": {"accuracy_drop_max": 0.5},
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    classifier(tmp_path / "net.onnx")
    np.savez(tmp_path / "cal.npz", x=IMAGES[:20])
    np.savez(tmp_path / "eval.npz", x=IMAGES[20:], y=answers(IMAGES[20:]))
    return tmp_path


def run(folder: Path, precision: AnyPrecision | None = None, target: str = "jetson") -> Built:
    return build(
        into(PROJECT, Project, "test"),
        folder,
        load_target(target),
        model_path=folder / "net.onnx",
        output=folder / "out",
        engine=EngineOptions(precision=precision, workspace_mib=256),
    )


@pytest.mark.parametrize(
    ("precision", "names", "has_int8"),
    [
        ("int8", {"model.onnx"}, True),
        ("mixed", {"model.onnx", "mixed.onnx"}, True),
        ("fp16", {"float.onnx", "half.onnx"}, False),
    ],
)
def test_a_bundle_holds_recipe_and_files_of_its_precision(
    folder: Path, precision: EnginePrecision, names: set[str], has_int8: bool
) -> None:
    built = run(folder, precision)
    with open_bundle(built.path) as bundle:
        assert damage(bundle) == []
        manifest = bundle.manifest
        found = {path for path in (entry.path for entry in manifest.files) if path.endswith(".onnx")}
        assert manifest.recipe is not None
        assert found == names == set(manifest.recipe.files.values())
        assert (manifest.recipe.precision, manifest.recipe.workspace_mib, manifest.engine) == (precision, 256, None)
        assert manifest.artifact in names
        operators = {node.op_type for node in onnx.load_from_string(bundle.read(manifest.artifact)).graph.node}
        assert ("QuantizeLinear" in operators) is has_int8
    assert built.report.environment["precision"] == precision


def test_the_targets_precision_is_taken_where_none_is_asked_for(folder: Path) -> None:
    built = run(folder)
    assert built.manifest.recipe is not None
    assert built.manifest.recipe.precision == load_target("jetson").precision == "mixed"


def test_the_float16_twin_widens_the_golden_tolerance_and_is_no_copy(folder: Path) -> None:
    with open_bundle(run(folder, "fp16").path) as bundle:
        golden = bundle.manifest.golden
        assert golden.tolerance >= 4
        assert bundle.read(golden.outputs) != bundle.read(golden.builtin_outputs)


def test_float16_alone_is_judged_by_its_own_file(folder: Path) -> None:
    figures = {m.name: m.value for m in run(folder, "fp16").report.measurements}
    sqnr = figures["output_sqnr"]
    assert sqnr is not None
    assert 40 < sqnr < 100, "float16's own rounding, neither INT8's nor none"


def test_the_same_inputs_give_the_same_bytes(folder: Path) -> None:
    assert run(folder).path.name == run(folder).path.name


def test_a_build_without_the_compiler_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    checked = rtx.check({"model.onnx": b""}, folder)
    assert checked.version is None
    assert "pip install 'edgekit[check]'" in checked.notes[0]


def test_auto_needs_a_board(folder: Path) -> None:
    with pytest.raises(UsageError, match="none is named") as caught:
        run(folder, "auto")
    assert "--device NAME" in (caught.value.fix or "")


@pytest.mark.parametrize(("target", "core"), [("jetson", 0), ("jetson-orin-nano", 0), ("jetson-agx-orin", 2)])
def test_an_accelerator_that_the_target_has_not(target: str, core: int) -> None:
    with pytest.raises(UsageError, match=f"--dla-core {core}"):
        EngineOptions(dla_core=core).settled(load_target(target))


def test_an_accelerator_that_the_target_has() -> None:
    settled = EngineOptions(dla_core=1).settled(load_target("jetson-agx-orin"))
    assert (settled.dla_core, settled.precision, settled.device) == (1, "mixed", None)


def test_the_hosts_own_gpu_is_a_board_that_races_unless_told_otherwise() -> None:
    settled = EngineOptions().settled(load_target("host-gpu"))
    assert settled.device is not None
    assert (settled.device.address.is_local, settled.precision) == (True, "auto")


def test_engine_options_are_for_engines(folder: Path) -> None:
    with pytest.raises(UsageError, match="runs tflite"):
        run(folder, "fp16", "rpi4")

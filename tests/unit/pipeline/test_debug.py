"""`debug` on a small network made here: of a model, of a bundle, and of a bundle that is not this project's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest

from edgekit.bundle import Bundle, open_bundle
from edgekit.digest import sha256_bytes
from edgekit.errors import EdgekitError, InputError
from edgekit.explanation import Explanation
from edgekit.graph import Array
from edgekit.parse import into
from edgekit.pipeline.build import build
from edgekit.pipeline.debug import debug, debug_bundle
from edgekit.project import Project
from edgekit.target import load_target
from tests.unit.quantize.networks import model, run

RNG = np.random.default_rng(5)
# Of one colour each, with some noise: what a class hangs on.
IMAGES = np.clip(RNG.integers(30, 226, (120, 1, 1, 3)) + RNG.integers(-30, 31, (120, 8, 8, 3)), 0, 255).astype(np.uint8)
BODY = "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) d = Conv(r, v) e = Relu(d) p = GlobalAveragePool(e) f = Flatten(p) y = Gemm(f, g, b)"
TARGET = load_target("local")


def weights(spread: float = 1.0) -> dict[str, Array]:
    """Of a healthy network; with a spread, one channel of its first layer is so many times the others."""
    generator = np.random.default_rng(6)
    made = {
        name: generator.normal(size=shape).astype(np.float32) for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 8, 1, 1)), ("g", (8, 4)))
    }
    made["w"][2] *= spread
    made["v"][:, 2] /= spread
    return made


def write_project(folder: Path, *, spread: float = 1.0) -> None:
    scores = answers(network(spread, np.zeros(4, np.float32)))
    # No class wins everywhere: what it answers hangs on the image.
    proto = network(spread, -scores.mean(axis=0))
    onnx.save(onnx.shape_inference.infer_shapes(proto), folder / "net.onnx")
    np.savez(folder / "cal.npz", x=IMAGES[:40])
    np.savez(folder / "eval.npz", x=IMAGES[40:], y=answers(proto)[40:].argmax(axis=1))


def network(spread: float, bias: Array) -> onnx.ModelProto:
    return model(BODY, {**weights(spread), "b": bias}, x="float[N,3,8,8] x")


def answers(proto: onnx.ModelProto) -> Array:
    return np.concatenate([run(proto, x=(image.transpose(2, 0, 1)[None] / 255).astype(np.float32))[0] for image in IMAGES])


def project(**sections: dict[str, Any]) -> Project:
    base: dict[str, dict[str, Any]] = {
        "model": {"path": "net.onnx"},
        "preprocess": {"scale": 1 / 255},
        "calibration": {"dataset": "cal.npz"},
        "evaluation": {"dataset": "eval.npz"},
    }
    return into({name: {**base.get(name, {}), **sections.get(name, {})} for name in {*base, *sections}}, Project, "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_project(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built")
    write_project(folder)
    return build(project(), folder, TARGET, model_path=folder / "net.onnx", output=folder).path


def explain(folder: Path, *, samples: int = 16, **sections: dict[str, Any]) -> Explanation:
    return debug(project(**sections), folder, TARGET, model_path=folder / "net.onnx", samples=samples)


def test_a_healthy_network(folder: Path) -> None:
    found = explain(folder)
    assert found.findings == ()
    assert found.samples == 16
    in_order = sorted(found.layers, key=lambda layer: layer.place)
    assert [(layer.place, layer.op) for layer in in_order] == list(enumerate(["Input", "Conv", "Conv", "GlobalAveragePool", "Gemm"]))
    assert set(found.outputs) == {"y"}
    sqnr = found.outputs["y"].sqnr_db
    assert sqnr is not None
    assert sqnr > 25
    losses = [layer.alone.sqnr_db or 999.0 for layer in found.layers]
    assert losses == sorted(losses), "the worst first"
    assert all(layer.gain_db is None for layer in found.layers), "only ill layers are tried in float"
    assert found.preprocessing is not None
    assert found.preprocessing.declared.right == found.preprocessing.declared.n
    assert msgspec.json.decode(msgspec.json.encode(found), type=Explanation) == found


def test_an_ill_layer_is_named_first_and_tried_in_float(folder: Path) -> None:
    write_project(folder, spread=2000.0)
    found = explain(folder, quantize={"balance": False, "equalise": False})
    # The first convolution has a channel of 2000, which the second takes back: that one reads seven lost channels.
    (outlier,) = [finding for finding in found.findings if finding.rule == "outlier-channel"]
    assert (outlier.layer, outlier.fix) == ("c", "balance = true, equalise = true under [quantize]")
    (lost,) = [layer for layer in found.layers if layer.name == "d"]
    assert lost.alone.sqnr_db is not None
    assert lost.alone.sqnr_db < 25
    assert lost.gain_db is not None
    assert lost.gain_with == ("c",), "its error is the rounding of what it reads"
    assert [layer.gain_db is None for layer in found.layers] == [(layer.alone.sqnr_db or 99.0) > 25 for layer in found.layers]


def test_the_named_cure_cures(folder: Path) -> None:
    write_project(folder, spread=2000.0)
    assert "outlier-channel" not in {finding.rule for finding in explain(folder).findings}


def test_wrong_preprocessing_is_the_first_finding(folder: Path) -> None:
    found = explain(folder, preprocess={"color": "bgr"})
    assert (found.findings[0].rule, found.findings[0].fix) == ("preprocessing", 'color = "rgb" under [preprocess]')
    assert found.preprocessing is not None
    assert found.preprocessing.better is not None
    assert found.preprocessing.better.settings == 'color = "rgb"'


def test_without_labels_preprocessing_is_not_checked(folder: Path) -> None:
    np.savez(folder / "eval.npz", x=IMAGES[40:])
    found = explain(folder)
    assert found.preprocessing is None
    assert found.findings == ()


def test_no_more_samples_than_there_are(folder: Path) -> None:
    assert explain(folder, samples=1000).samples == 80


def explain_bundle(path: Path, folder: Path, declared: Project, *, samples: int = 16) -> Explanation:
    with open_bundle(path) as bundle:
        return debug_bundle(bundle, declared, folder, samples=samples)


def test_a_bundle_is_explained_as_the_model_it_was_built_from(bundle_path: Path, folder: Path) -> None:
    assert explain_bundle(bundle_path, folder, project()) == explain(folder)


def test_what_a_bundle_keeps_in_float_is_said(folder: Path) -> None:
    """The bundle's own plan counts, not the one that calibration would make now."""
    built = build(project(), folder, TARGET, model_path=folder / "net.onnx", output=folder).path
    with open_bundle(built) as bundle:
        plan = msgspec.json.decode(bundle.read("plan.json"))
        plan["nodes"] = {"d": {"precision": "float32", "why": "it has to be"}, "e": {"precision": "float32", "why": "it follows"}}
        found = debug_bundle(_with_plan(bundle, plan, folder / "other"), project(), folder, samples=8)
    kept = [layer for layer in found.layers if layer.precision == "float32"]
    assert [(layer.name, layer.why, layer.alone.sqnr_db) for layer in kept] == [("d", "it has to be", None)]


def _with_plan(bundle: Bundle, plan: Any, folder: Path) -> Bundle:
    data = msgspec.json.encode(plan)
    folder.mkdir()
    (folder / "plan.json").write_bytes(data)
    entry = msgspec.structs.replace(
        next(e for e in bundle.manifest.files if e.path == "plan.json"), sha256=sha256_bytes(data), bytes=len(data)
    )
    manifest = msgspec.structs.replace(bundle.manifest, files=(entry,))
    return replace(bundle, folder=folder, manifest=manifest)


def other_model(folder: Path) -> Project:
    write_project(folder, spread=2.0)
    return project()


def other_calibration(folder: Path) -> Project:
    np.savez(folder / "cal.npz", x=IMAGES[:39])
    return project()


def other_remedies(folder: Path) -> Project:
    return project(quantize={"equalise": False})


def other_preprocessing(folder: Path) -> Project:
    return project(preprocess={"scale": 1 / 255, "color": "bgr"})


def no_model(folder: Path) -> Project:
    return msgspec.structs.replace(project(), model=into({}, type(project().model), "test"))


def lost_model(folder: Path) -> Project:
    (folder / "net.onnx").unlink()
    return project()


def no_calibration(folder: Path) -> Project:
    return msgspec.structs.replace(project(), calibration=type(project().calibration)())


@pytest.mark.parametrize(
    ("break_it", "said", "fix"),
    [
        (other_model, "built from another model", "--project"),
        (other_calibration, "calibrated with other samples", "edgekit build"),
        (other_remedies, "plan is of another graph", "edgekit build"),
        (other_preprocessing, r"another \[preprocess\]: color differ", "edgekit build"),
        (no_model, "does not hold the float model", "--project"),
        (lost_model, "net.onnx", ""),
        (no_calibration, "no calibration set", ""),
    ],
)
def test_a_bundle_of_something_else(break_it: Callable[[Path], Project], said: str, fix: str, bundle_path: Path, folder: Path) -> None:
    declared = break_it(folder)
    with pytest.raises(InputError, match=said) as caught:
        explain_bundle(bundle_path, folder, declared)
    assert fix in (caught.value.fix or "")


def test_a_plan_of_another_graph(bundle_path: Path, folder: Path) -> None:
    with open_bundle(bundle_path) as bundle:
        plan = msgspec.json.decode(bundle.read("plan.json"))
        plan["graph_sha256"] = "0" * 64
        with pytest.raises(EdgekitError, match="plan is of another graph") as caught:
            debug_bundle(_with_plan(bundle, plan, folder / "other"), project(), folder)
    assert "edgekit build" in (caught.value.fix or "")

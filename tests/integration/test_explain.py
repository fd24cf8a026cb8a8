"""``edgekit debug`` as a user meets it: the demo, its bundle, and whole networks with right and wrong preprocessing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgekit.dataset import open_dataset
from edgekit.feed import bind
from edgekit.parse import into
from edgekit.pipeline.canary import canary
from edgekit.pipeline.debug import CANARY_SAMPLES
from edgekit.preprocess import Preprocess
from edgekit.project import Project
from edgekit.quantize.normalise import normalise
from tests.integration.command import DEMO, edgekit


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    return folder


def test_the_demo_and_its_bundle_are_explained_alike(project: Path) -> None:
    model = edgekit("debug", "--target", "rpi4", "--samples", "8", "--json", cwd=project)
    assert model.code == 0, model
    told = model.document["explanation"]
    assert told["findings"] == []
    assert told["outputs"]["digits"]["sqnr_db"] > 25
    bundle = edgekit("build", "--target", "rpi4", "--json", cwd=project).document["bundle"]
    same = edgekit("debug", bundle, "--samples", "8", "--plot", "layers.svg", "--json", cwd=project)
    assert same.code == 0, same
    assert same.document["explanation"] == told
    assert (same.document["name"], same.document["target"]) == ("meter-digits", "rpi4")
    assert (project / "layers.svg").read_text(encoding="utf-8").count("<circle") == len(told["layers"])
    refused = edgekit("debug", bundle, "--target", "local", cwd=project)
    refused.refused(2, "is for rpi4, not for local")
    (project / "edgekit.toml").write_text((project / "edgekit.toml").read_text().replace("std = [0.25, 0.25, 0.25]", ""))
    edgekit("debug", bundle, cwd=project).refused(3, "another [preprocess]: std differ", "fix: edgekit build")


CIFAR = {"scale": 1 / 255, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
CIFAR_SETS = ("cifar10_train_first500_calibration.npz", "cifar10_test_even_first2000.npz")
LITE0 = {"mean": [127.0] * 3, "std": [128.0] * 3}
PHOTOS = ("imagenet_nips17_224_400", "imagenet_nips17_224_400")
MOBILENETV2 = "mobilenetv2_backbone_cifar10probe_128.onnx"


@pytest.fixture
def model(shared_data: Path, request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Find a network of the test data."""

    def find(name: str) -> Path:
        here = shared_data / "models" / name
        return here if here.is_file() else request.getfixturevalue("made_data") / "models" / name

    return find


Explain = Callable[..., dict[str, Any]]


@pytest.fixture
def explain(tmp_path: Path, shared_data: Path, model: Callable[[str], Path]) -> Explain:
    """Explain a network of the test data under these settings."""

    def run(name: str, preprocess: dict[str, Any], sets: tuple[str, str], *, skip: int = 0, more: str = "") -> dict[str, Any]:
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in preprocess.items())
        calibration, evaluation = (json.dumps(str(shared_data / "sets" / name)) for name in sets)
        (tmp_path / "edgekit.toml").write_text(
            f"[model]\npath = {json.dumps(str(model(name)))}\n[preprocess]\n{settings}\n[calibration]\ndataset = {calibration}\n"
            f"samples = 40\n[evaluation]\ndataset = {evaluation}\nskip = {skip}\nsamples = 200\n{more}"
        )
        said = edgekit("debug", "--target", "rpi4", "--json", cwd=tmp_path, timeout_s=600)
        assert said.code == 0, said
        told: dict[str, Any] = said.document["explanation"]
        return told

    return run


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "preprocess", "sets", "skip"),
    [("resnet20_cifar10.onnx", CIFAR, CIFAR_SETS, 0), ("efficientnet_lite0_imagenet_224.onnx", LITE0, PHOTOS, 100)],
    ids=["resnet20", "efficientnet_lite0"],
)
def test_healthy_networks_have_no_finding(
    name: str, preprocess: dict[str, Any], sets: tuple[str, str], skip: int, explain: Explain
) -> None:
    told = explain(name, preprocess, sets, skip=skip)
    assert told["findings"] == []
    assert told["preprocessing"]["better"] is None


@pytest.mark.models
@pytest.mark.slow
def test_the_hard_network_is_explained(explain: Explain) -> None:
    """In its second block the clamp behind the expansion leaves little of large terms; without the remedies that is the end of it."""
    remedies = "\n".join(f"{key} = false" for key in Project().quantize.__struct_fields__)
    told = explain(MOBILENETV2, {**CIFAR, "resize": [128, 128]}, CIFAR_SETS, more=f"[quantize]\n{remedies}\n")
    worst = told["layers"][0]
    assert worst["name"] == "/features/features.2/conv/conv.0/Conv"
    assert worst["gain_db"] > 1
    found = {(finding["rule"], finding["layer"]): finding["fix"] for finding in told["findings"]}
    assert found["amplified-rounding", worst["name"]] == "balance = true, equalise = true under [quantize]"
    assert "preprocessing" not in {rule for rule, _ in found}


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "right", "sets", "slip", "cure"),
    [
        ("resnet20_cifar10.onnx", CIFAR, CIFAR_SETS, {"color": "bgr"}, 'color = "rgb"'),
        ("resnet20_cifar10.onnx", CIFAR, CIFAR_SETS, {"scale": 1.0}, "scale = 0.00392156862745098"),
        (
            "resnet20_cifar10.onnx",
            CIFAR,
            CIFAR_SETS,
            {"mean": [], "std": []},
            "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]",
        ),
        ("resnet20_cifar10.onnx", CIFAR, CIFAR_SETS, {}, None),
        ("resnet32_cifar10.onnx", CIFAR, CIFAR_SETS, {}, None),
        (MOBILENETV2, {**CIFAR, "resize": [128, 128]}, CIFAR_SETS, {}, None),
        ("efficientnet_lite0_imagenet_224.onnx", LITE0, PHOTOS, {}, None),
        ("efficientnet_lite0_imagenet_224.onnx", LITE0, PHOTOS, {"mean": [], "std": []}, "scale = 0.00784313725490196, mean = [1.0]"),
    ],
)
def test_the_canary(
    name: str,
    right: dict[str, Any],
    sets: tuple[str, str],
    slip: dict[str, Any],
    cure: str | None,
    model: Callable[[str], Path],
    shared_data: Path,
    tmp_path: Path,
) -> None:
    """Wrong settings are caught and the right ones named; right ones raise no alarm."""
    graph = normalise(onnx.load(model(name)))
    names = [spec.name for spec in graph.inputs]
    count = 200 if sets == PHOTOS else CANARY_SAMPLES
    evaluation = open_dataset(str(shared_data / "sets" / sets[1]), tmp_path, tmp_path / "set.npz", count=count, inputs=names)
    feed = bind(into({**right, **slip}, Preprocess, "test"), graph.inputs, evaluation)
    found = canary(graph, feed, evaluation, samples_max=count)
    assert found is not None
    assert (found.better.settings if found.better else None) == cure

"""``edgekit debug`` as a user meets it: the demo, its bundle, and whole networks with right and wrong preprocessing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

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
Explain = Callable[..., dict[str, Any]]


@pytest.fixture
def explain(tmp_path: Path, shared_data: Path, request: pytest.FixtureRequest) -> Explain:
    """Explain a network of the test data under these settings."""

    def run(model: str, preprocess: dict[str, Any], sets: tuple[str, str], *, skip: int = 0, calibrate: int = 100) -> dict[str, Any]:
        home = shared_data / "models" / model
        if not home.is_file():
            home = request.getfixturevalue("made_data") / "models" / model
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in preprocess.items())
        calibration, evaluation = (json.dumps(str(shared_data / "sets" / name)) for name in sets)
        (tmp_path / "edgekit.toml").write_text(
            f"[model]\npath = {json.dumps(str(home))}\n[preprocess]\n{settings}\n[calibration]\ndataset = {calibration}\n"
            f"samples = {calibrate}\n[evaluation]\ndataset = {evaluation}\nskip = {skip}\nsamples = 300\n"
        )
        said = edgekit("debug", "--target", "rpi4", "--json", cwd=tmp_path, timeout_s=300)
        assert said.code == 0, said
        told: dict[str, Any] = said.document["explanation"]
        return told

    return run


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "preprocess", "sets", "skip"),
    [
        ("resnet20_cifar10.onnx", CIFAR, CIFAR_SETS, 0),
        ("resnet32_cifar10.onnx", CIFAR, CIFAR_SETS, 0),
        ("efficientnet_lite0_imagenet_224.onnx", {"mean": [127.0] * 3, "std": [128.0] * 3}, ("imagenet_nips17_224_400",) * 2, 100),
    ],
    ids=["resnet20", "resnet32", "efficientnet_lite0"],
)
def test_healthy_networks_have_no_finding(
    model: str, preprocess: dict[str, Any], sets: tuple[str, str], skip: int, explain: Explain
) -> None:
    told = explain(model, preprocess, sets, skip=skip)
    assert told["findings"] == []
    assert told["preprocessing"]["better"] is None


@pytest.mark.models
@pytest.mark.slow
def test_the_hard_network_is_explained(explain: Explain) -> None:
    """In its second block the clamp behind the expansion leaves little of large terms."""
    told = explain("mobilenetv2_backbone_cifar10probe_128.onnx", {**CIFAR, "resize": [128, 128]}, CIFAR_SETS)
    assert told["preprocessing"]["better"] is None
    assert told["layers"][0]["name"] == "/features/features.2/conv/conv.0/Conv"
    assert ("amplified-rounding", "/features/features.2/conv/conv.0/Conv") in [(f["rule"], f["layer"]) for f in told["findings"]]
    assert "preprocessing" not in [f["rule"] for f in told["findings"]]


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize(
    ("slip", "cure"),
    [
        ({"color": "bgr"}, 'color = "rgb"'),
        ({"scale": 1.0}, "scale = 0.00392156862745098"),
        ({"mean": [], "std": []}, "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"),
    ],
    ids=["bgr", "no 1/255", "no mean and std"],
)
def test_wrong_preprocessing_is_caught(slip: dict[str, Any], cure: str, explain: Explain) -> None:
    told = explain("resnet20_cifar10.onnx", {**CIFAR, **slip}, CIFAR_SETS)
    first = told["findings"][0]
    assert (first["rule"], first["fix"]) == ("preprocessing", f"{cure} under [preprocess]")
    assert told["preprocessing"]["low"] > 0
    assert np.isfinite(told["preprocessing"]["declared"]["right"])

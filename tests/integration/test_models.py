"""Whole networks by the command a user types: what INT8 costs each, what is inside its artifact, what an old runtime makes of it."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.ondevice.samples import Samples
from edgekit.runtimes.tflite.inspect import operators
from tests.integration.command import DEMO, Said, edgekit

CIFAR = "scale = 0.00392156862745098\nmean = [0.485, 0.456, 0.406]\nstd = [0.229, 0.224, 0.225]"
IMAGENET = "mean = [127.0, 127.0, 127.0]\nstd = [128.0, 128.0, 128.0]"
CIFAR_CALIBRATION, CIFAR_EVALUATION = "cifar10_train_first500_calibration.npz", "cifar10_test_even_first2000.npz"


@dataclass(frozen=True)
class Network:
    """A network, its project, and what INT8 may cost it at most; in the comments, what it did cost."""

    model: str
    preprocess: str
    calibration: str
    evaluation: str
    calibrate: int
    skip: int
    evaluate: int
    lost_max: float = 1.0
    disagreement_max: float = 1.0
    sqnr_min_db: float = 0.0
    is_made: bool = False


def residual(model: str, *, sqnr_min_db: float) -> Network:
    return Network(model, CIFAR, CIFAR_CALIBRATION, CIFAR_EVALUATION, 500, 0, 2000, 0.003, 0.02, sqnr_min_db)


NETWORKS = {
    # 91.65 before and after, 0.85 % disagree, 30.6 dB.
    "resnet20": residual("resnet20_cifar10.onnx", sqnr_min_db=29),
    # 92.50 to 92.75, 0.55 % disagree, 29.6 dB.
    "resnet32": residual("resnet32_cifar10.onnx", sqnr_min_db=28),
    # 88.33 before and after, 4.7 % disagree, 18.8 dB.
    "efficientnet_lite0": Network(
        "efficientnet_lite0_imagenet_224.onnx",
        IMAGENET,
        "imagenet_nips17_224_400",
        "imagenet_nips17_224_400",
        calibrate=100,
        skip=100,
        evaluate=300,
        lost_max=0.015,
        disagreement_max=0.06,
        sqnr_min_db=17.5,
        is_made=True,
    ),
    # 82.0 to 82.8, 3.4 % disagree, 22 dB: equalised, rounded and corrected. The best of the others: 81.2, 9.0 %, 12 dB.
    "mobilenetv2": Network(
        "mobilenetv2_backbone_cifar10probe_128.onnx",
        f"resize = [128, 128]\n{CIFAR}",
        CIFAR_CALIBRATION,
        CIFAR_EVALUATION,
        calibrate=100,
        skip=0,
        evaluate=500,
        lost_max=0.01,
        disagreement_max=0.096,
        sqnr_min_db=18,
    ),
}
# The same as plain rounding leaves it: 82.0 to about 72 %. A build must say so.
PLAIN = "plain-mobilenetv2"
SWITCHES = ("balance", "equalise", "weight_ranges", "rounding", "bias")

Build = Callable[[str], Said]


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Said]:
    """Build a project by its name and text, once for all tests, whichever of pytest's processes asks first."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "built-models"
    folder.mkdir(exist_ok=True)

    def build(name: str, text: str) -> Said:
        project, answer = folder / name, folder / f"{name}.json"
        with (folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not answer.exists():
                project.mkdir()
                (project / "edgekit.toml").write_text(text)
                said = edgekit("build", "--target", "rpi4", "--json", "--max-trials", "0", cwd=project, timeout_s=600)
                answer.write_text(json.dumps(dataclasses.asdict(said)))
            return Said(**json.loads(answer.read_text()))

    return build


def project_of(name: str, shared_data: Path, request: pytest.FixtureRequest) -> str:
    """Return the text of a network's project."""
    network = NETWORKS[name.removeprefix("plain-")]
    home = request.getfixturevalue("made_data") if network.is_made else shared_data
    sets = shared_data / "sets"
    return f"""
[model]
path = {json.dumps(str(home / "models" / network.model))}
name = "{name}"
[preprocess]
{network.preprocess}
[calibration]
dataset = {json.dumps(str(sets / network.calibration))}
samples = {network.calibrate}
[evaluation]
dataset = {json.dumps(str(sets / network.evaluation))}
skip = {network.skip}
samples = {network.evaluate}
[budget]
accuracy_drop_max = 0.03
[quantize]
{"".join(f"{switch} = false{chr(10)}" for switch in SWITCHES) if name == PLAIN else ""}
"""


@pytest.fixture(scope="session")
def built(once: Callable[[str, str], Said], shared_data: Path, request: pytest.FixtureRequest) -> Build:
    return lambda name: once(name, project_of(name, shared_data, request))


@pytest.fixture(scope="session")
def demo(once: Callable[[str, str], Said]) -> Build:
    """Build the demo with a border of this dtype."""
    text = (DEMO / "edgekit.toml").read_text()
    for name in ("demo.onnx", "calibration.npz", "evaluation.npz"):
        text = text.replace(f'"{name}"', json.dumps(str(DEMO / name)))
    return lambda io_dtype: once(f"demo-{io_dtype}", f'{text}\n[build]\nio_dtype = "{io_dtype}"\n')


def figures(said: Said) -> dict[str, float]:
    return {m["name"]: m["value"] for m in said.document["report"]["measurements"]}


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_int8_costs_little(built: Build, name: str) -> None:
    network, said = NETWORKS[name], built(name)
    assert said.code == 0, said
    found = figures(said)
    assert found["top1_float"] - found["top1_artifact"] <= network.lost_max
    assert found["disagreement"] < network.disagreement_max
    assert found["output_sqnr"] > network.sqnr_min_db
    assert {m["n"] for m in said.document["report"]["measurements"] if m["name"].startswith("top1")} == {network.evaluate}


@pytest.mark.models
@pytest.mark.slow
def test_a_loss_is_told_as_one(built: Build) -> None:
    said = built(PLAIN)
    assert said.code == 1, said
    (verdict,) = said.document["report"]["verdicts"]
    assert (verdict["name"], verdict["outcome"]) == ("accuracy", "fail")
    found = figures(said)
    assert found["top1_delta"] == pytest.approx(found["top1_artifact"] - found["top1_float"])
    # Worse than the budget by far, and still far from broken: chance is 0.1.
    assert -0.15 < found["top1_delta"] < -0.03
    assert found["output_sqnr"] > 5
    assert Path(said.document["bundle"]).is_file()


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_everything_inside_is_int8(built: Build, name: str) -> None:
    said = built(name)
    with open_bundle(Path(said.document["bundle"])) as bundle:
        artifact = bundle.read("model.tflite")
    uses = operators(artifact)
    assert not [use for use in uses if use.is_float]
    assert "TRANSPOSE" not in {use.name for use in uses}
    # A quarter of the float weights, and room for scales, biases and names.
    assert len(artifact) / 1e6 < 0.31 * figures(said)["size_float"]


@pytest.mark.parametrize(("io_dtype", "borders"), [("int8", []), ("uint8", []), ("float32", ["QUANTIZE", "DEQUANTIZE"])])
def test_only_a_float_border_has_float_operators(demo: Build, io_dtype: str, borders: list[str]) -> None:
    with open_bundle(Path(demo(io_dtype).document["bundle"])) as bundle:
        assert [use.name for use in operators(bundle.read("model.tflite")) if use.is_float] == borders
        assert {spec.dtype for spec in (*bundle.manifest.inputs, *bundle.manifest.outputs)} == {io_dtype}


def steps_apart(said: Said, folder: Path, *, step: float = 1.0) -> tuple[float, float]:
    """Run a bundle's golden samples on tflite-runtime 2.14; return its output's scale and how far it is from the host's builtin kernels.

    Parameters
    ----------
    step
        What counts as one step of the output.
    """
    python = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TFLITE_RUNTIME_PYTHON to an interpreter with tflite-runtime 2.14")
    with open_bundle(Path(said.document["bundle"])) as bundle:
        preprocess, golden = bundle.manifest.preprocess, bundle.manifest.golden
        names = {"model.tflite": "model.tflite", "samples.npz": golden.samples, "wanted.npz": golden.builtin_outputs}
        for name, path in names.items():
            (folder / name).write_bytes(bundle.read(path))
    device = Device(name="old", address=Address.parse("local"), python=python, root=str(folder / "root"))
    with connect(device) as connection, AgentSession(connection, device) as session:
        answer = session.job(
            "infer",
            timeout_s=300,
            artifact=str(folder / "model.tflite"),
            samples=str(folder / "samples.npz"),
            outputs=str(folder / "got.npz"),
            preprocess=preprocess,
            threads=1,
            builtin=True,
        )
    assert answer["runtime"]["name"] == "tflite-runtime"
    assert answer["runtime"]["version"].startswith("2.14.")
    with Samples(str(folder / "wanted.npz")) as wanted, Samples(str(folder / "got.npz")) as got:
        assert len(got) == len(wanted) > 0
        pairs = [(got[index]["x"], wanted[index]["x"]) for index in range(len(wanted))]
    assert all((mine.shape, mine.dtype) == (theirs.shape, theirs.dtype) for mine, theirs in pairs)
    worst = max(float(np.abs(mine.astype(np.float64) - theirs).max()) for mine, theirs in pairs)
    return answer["outputs"][0]["scale"], worst / step


@pytest.mark.models
@pytest.mark.slow
@pytest.mark.tflite214
@pytest.mark.parametrize("name", NETWORKS)
def test_an_old_runtime_agrees(built: Build, name: str, tmp_path: Path) -> None:
    _, apart = steps_apart(built(name), tmp_path)
    assert apart <= 2


@pytest.mark.tflite214
def test_an_old_runtime_agrees_on_the_demo_with_every_border(demo: Build, tmp_path: Path) -> None:
    folders = {io_dtype: tmp_path / io_dtype for io_dtype in ("int8", "uint8", "float32")}
    for folder in folders.values():
        folder.mkdir()
    # A dozen steps, and as many lie between today's own two kinds of kernels: single roundings, first in a depthwise convolution,
    # grow from layer to layer. So what counts here is the tolerance that the build found for this network.
    with open_bundle(Path(demo("int8").document["bundle"])) as bundle:
        tolerance = bundle.manifest.golden.tolerance
    assert tolerance <= 26
    scale, apart = steps_apart(demo("int8"), folders["int8"])
    assert apart <= tolerance
    assert steps_apart(demo("uint8"), folders["uint8"])[1] == apart
    # Behind the float border is the same int8 output, and float32 rounds its values.
    assert steps_apart(demo("float32"), folders["float32"], step=scale)[1] == pytest.approx(apart, abs=1e-3)

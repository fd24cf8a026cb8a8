"""A network of two whole-numbered inputs on the whole line: texts of any length, padded as declared, on host and board alike."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.ondevice.samples import read
from tests.integration.command import edgekit
from tests.integration.conftest import Lab
from tests.unit.pipeline.networks import TOKENS, reader, texts

PROJECT = f"""
[model]
path = "reader.onnx"
name = "reader"
shapes = {{ input_ids = [1, {TOKENS}], attention_mask = [1, {TOKENS}] }}

[preprocess]
pad = {{ input_ids = 0, attention_mask = 0 }}

[calibration]
dataset = "my_texts:calibration"

[evaluation]
dataset = "my_texts:evaluation"
"""

# Labels are the network's own answers on the padded texts.
LOADER = """
from pathlib import Path
from typing import Any
import numpy as np

def _read(name):
    with np.load(Path(__file__).with_name(name)) as held:
        for ids, mask, label in zip(held["ids"], held["mask"], held["y"]):
            yield {"input_ids": ids[:mask.sum()], "attention_mask": mask[:mask.sum()]}, label

def calibration():
    return _read("calibration.npz")

def evaluation():
    return _read("evaluation.npz")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import onnxruntime

    folder = tmp_path_factory.mktemp("reader")
    reader(folder / "reader.onnx")
    session = onnxruntime.InferenceSession(folder / "reader.onnx", providers=["CPUExecutionProvider"])
    for name, count, seed in (("calibration", 60, 1), ("evaluation", 200, 2)):
        ids, mask = texts(count, seed)
        scores = session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        np.savez(folder / f"{name}.npz", ids=ids, mask=mask, y=scores.argmax(axis=1))
    (folder / "my_texts.py").write_text(LOADER)
    (folder / "edgekit.toml").write_text(PROJECT)
    return folder


@pytest.fixture(scope="module")
def bundle(project: Path) -> Path:
    said = edgekit("build", "--target", "local", "--json", cwd=project)
    assert said.code == 0, said
    figures = {m["name"]: m["value"] for m in said.document["report"]["measurements"]}
    assert figures["top1_float"] == 1
    assert figures["output_sqnr"] > 20
    return Path(said.document["bundle"])


@pytest.mark.sshd
def test_texts_on_a_board(project: Path, bundle: Path, lab: Lab, board: Device) -> None:
    address = f"{board.address.user}@{board.address.host}:{board.address.port}"
    section = f'\n[devices.board]\naddress = "{address}"\nroot = "{board.root}"\npython = "{sys.executable}"\n'
    (project / "edgekit.toml").write_text(PROJECT + section)
    deployed = edgekit("deploy", "--bundle", str(bundle), "--json", cwd=project)
    assert deployed.code == 0, deployed
    assert deployed.document["golden"]["max_diff"] == 0
    accuracy = edgekit("probe", "accuracy", "--json", cwd=project)
    assert accuracy.code == 0, accuracy
    host = edgekit("report", str(bundle), "--json", cwd=project).document["reports"][0]["report"]
    found = [{m["name"]: m["value"] for m in report["measurements"]} for report in (accuracy.document["report"], host)]
    assert found[0]["top1_artifact"] == found[1]["top1_artifact"] > 0.95
    latency = edgekit("probe", "latency", "--min-time", "0.2", "--min-count", "50", "--json", cwd=project)
    assert latency.code in (0, 8), latency
    figures = {m["name"]: m["value"] for m in latency.document["report"]["measurements"]}
    assert figures["end_to_end_p50"] >= figures["invoke_p50"] > 0


@pytest.mark.tflite214
def test_texts_in_an_old_runtime(bundle: Path, tmp_path: Path) -> None:
    python = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TFLITE_RUNTIME_PYTHON to an interpreter with tflite-runtime 2.14")
    with open_bundle(bundle) as opened:
        preprocess, golden = opened.manifest.preprocess, opened.manifest.golden
        for name, path in {"model.tflite": "model.tflite", "samples": golden.samples, "wanted": golden.builtin_outputs}.items():
            (tmp_path / name).write_bytes(opened.read(path))
    device = Device(name="old", address=Address.parse("local"), python=python, root=str(tmp_path / "root"))
    names = {"artifact": "model.tflite", "samples": "samples", "outputs": "got"}
    paths: dict[str, Any] = {key: str(tmp_path / name) for key, name in names.items()}
    with connect(device) as connection, AgentSession(connection, device) as session:
        answer = session.job("infer", timeout_s=120, preprocess=preprocess, threads=1, builtin=True, **paths)
    assert answer["runtime"]["name"] == "tflite-runtime"
    assert [entry["name"] for entry in answer["inputs"]] == ["input_ids", "attention_mask"]
    for got, wanted in zip(read(tmp_path / "got"), read(tmp_path / "wanted"), strict=True):
        assert np.abs(got["x"].astype(int) - wanted["x"]).max() <= golden.tolerance

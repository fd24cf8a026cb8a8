"""The accuracy budget by the command a user types, on a network whose sore spot was put there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit.bundle import open_bundle
from edgekit.parse import from_json
from edgekit.plan import QuantPlan
from tests.integration.command import Said, edgekit

pytestmark = [pytest.mark.models, pytest.mark.slow]

# What could undo the harm by itself is off: here the search is to be seen at work.
PROJECT = """
[model]
path = "hard.onnx"
name = "hard"
[preprocess]
scale = 0.00392156862745098
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[calibration]
dataset = {calibration}
samples = 100
[evaluation]
dataset = {evaluation}
samples = 2000
[quantize]
equalise = false
rounding = false
bias = false
"""


def worsen(source: Path, target: Path) -> set[str]:
    """Scale the channels between two convolutions apart, which changes nothing in float; return the names of the two."""
    model = onnx.load(source)
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    for first in model.graph.node:
        behind = readers.get(first.output[0], [])
        if first.op_type != "Conv" or [node.op_type for node in behind] != ["Relu"]:
            continue
        last = readers[behind[0].output[0]]
        if [node.op_type for node in last] != ["Conv"]:
            continue
        scales = np.logspace(-1.7, 1.7, numpy_helper.to_array(held[first.input[1]]).shape[0]).astype(np.float32)
        for name, factor in (
            (first.input[1], scales[:, None, None, None]),
            (first.input[2], scales),
            (last[0].input[1], 1 / scales[None, :, None, None]),
        ):
            changed = numpy_helper.from_array(numpy_helper.to_array(held[name]) * factor, name)
            held[name].CopyFrom(changed)
        onnx.save(model, target)
        return {first.name or first.output[0], last[0].name or last[0].output[0]}
    raise AssertionError("no Conv, Relu, Conv in a row")


@pytest.fixture(scope="module")
def hard(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hard")
    worsen(shared_data / "models" / "resnet20_cifar10.onnx", folder / "hard.onnx")
    sets = shared_data / "sets"
    text = PROJECT.format(
        calibration=json.dumps(str(sets / "cifar10_train_first500_calibration.npz")),
        evaluation=json.dumps(str(sets / "cifar10_test_even_first2000.npz")),
    )
    (folder / "edgekit.toml").write_text(text)
    return folder


def build(folder: Path, *words: str) -> Said:
    return edgekit("build", "--target", "rpi4", "--json", *words, cwd=folder, timeout_s=600)


def test_a_hard_network_meets_half_a_point_with_few_layers_in_float(hard: Path) -> None:
    said = build(hard, "--accuracy-drop-max", "0.005")
    assert said.code == 0, said
    report = said.document["report"]
    first, trials = report["trials"][0], report["trials"]
    assert first["kept"] == []
    assert first["outcome"] == "fail"
    best = min((trial for trial in trials if trial["outcome"] == "pass"), key=lambda trial: len(trial["kept"]))
    with open_bundle(Path(said.document["bundle"])) as bundle:
        plan = from_json(bundle.read("plan.json"), QuantPlan, "plan.json")
    layers = sum(node.op_type in ("Conv", "Gemm", "Add") for node in onnx.load(hard / "hard.onnx").graph.node)
    assert 0 < len(best["kept"]) < 0.1 * layers
    assert set(best["kept"]) <= set(plan.nodes)
    assert all("%" in plan.nodes[name].why for name in best["kept"])
    assert set(report["float_nodes"]) == set(plan.nodes)


def test_an_impossible_budget_ends_in_the_best_there_was_and_a_table(hard: Path) -> None:
    said = build(hard, "--accuracy-drop-max", "0.0001", "--max-trials", "2")
    # 2,000 samples cannot prove a hundredth of a point: what cannot be told is inconclusive, what is lost fails.
    assert said.code in (1, 8), said
    assert len(said.document["report"]["trials"]) == 3
    assert Path(said.document["bundle"]).is_file()


def test_no_trials_leave_it_failed_and_say_so(hard: Path) -> None:
    said = build(hard, "--accuracy-drop-max", "0.005", "--max-trials", "0")
    assert said.code == 1, said
    assert said.document["report"]["float_nodes"] == {}
    (verdict,) = said.document["report"]["verdicts"]
    assert verdict["outcome"] == "fail"


def test_a_search_that_was_killed_goes_on_and_ends_as_one_that_was_not(hard: Path, home: Path) -> None:
    whole = build(hard, "--accuracy-drop-max", "0.005", "--output", str(hard / "whole"))
    journals = home / ".cache" / "edgekit" / "search"
    assert not list(journals.glob("*"))
    command = [sys.executable, "-m", "edgekit", "build", "--target", "rpi4", "--json", "--accuracy-drop-max", "0.005"]
    process = subprocess.Popen(command, cwd=hard, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(b'"trial"' in path.read_bytes() for path in journals.glob("*.jsonl")):
        assert process.poll() is None, "it ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    resumed = build(hard, "--accuracy-drop-max", "0.005", "--output", str(hard / "again"), "--resume")
    assert resumed.code == whole.code == 0
    assert Path(resumed.document["bundle"]).read_bytes() == Path(whole.document["bundle"]).read_bytes()
    assert not list(journals.glob("*"))

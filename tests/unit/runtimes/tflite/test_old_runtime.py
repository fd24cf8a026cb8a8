"""Every case on tflite-runtime 2.14 (2023), the newest there is for armv7 and for Python 3.8."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.plan import NodePrecision
from edgekit.runtimes.tflite import TfliteRuntime
from tests.unit.runtimes.tflite.cases import Case, all_cases
from tests.unit.runtimes.tflite.emitting import Runner, minmax_plan

EMITTED = {name: case for name, case in all_cases().items() if not case.refused and not case.litert_only}

# Runs in the other interpreter: answers one JSON line per model, so that an abort tells which one it was. An answer
# is the worst distance of any output: in steps of an integer one, relative to the largest value of a real one.
PROGRAM = """
import json, sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
for line in sys.stdin:
    path = line.strip()
    try:
        data = np.load(path + ".npz")
        interpreter = Interpreter(path + ".tflite", num_threads=1)
        interpreter.allocate_tensors()
        steps, relative = 0, 0.0
        inputs = {entry["name"]: entry["index"] for entry in interpreter.get_input_details()}
        for sample in range(int(data["samples"])):
            for name, index in inputs.items():
                interpreter.set_tensor(index, data["in/" + name][sample])
            interpreter.invoke()
            for entry in interpreter.get_output_details():
                got, expected = interpreter.get_tensor(entry["index"]), data["out/" + entry["name"]][sample]
                if got.dtype == np.float32:
                    relative = max(relative, float(np.abs(got - expected).max() / max(np.abs(expected).max(), 1e-9)))
                else:
                    steps = max(steps, int(np.abs(got.astype(int) - expected.astype(int)).max()))
        print(json.dumps([steps, relative]), flush=True)
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
"""


def written(path: Path, case: Case, *, in_float: bool) -> Path:
    graph, samples = case.graph(), case.feeds()
    plan = minmax_plan(graph, samples)
    if in_float:
        plan = msgspec.structs.replace(plan, nodes={node.name: NodePrecision("float32", "asked") for node in graph.nodes})
    artifact = TfliteRuntime().emit(graph, plan, io_dtype="float32" if in_float else "int8", layout="nhwc")
    runner = Runner(artifact.data, xnnpack=False)
    feeds = []
    for sample in samples[:4]:
        turned = {name: artifact.layouts[name] == "nhwc" and not case.channels_last for name in sample}
        feeds.append({name: runner.quantize(v.transpose(0, 2, 3, 1) if turned[name] else v, name) for name, v in sample.items()})
    answers = [runner.run(feed) for feed in feeds]
    arrays: dict[str, Any] = {f"in/{name}": np.stack([feed[name] for feed in feeds]) for name in feeds[0]}
    arrays |= {f"out/{entry['name']}": np.stack([answer[i] for answer in answers]) for i, entry in enumerate(runner.outputs)}
    path.with_suffix(".tflite").write_bytes(artifact.data)
    np.savez(path.with_suffix(".npz"), samples=len(feeds), **arrays)
    return path


@pytest.mark.tflite214
def test_old_runtime_agrees(tmp_path: Path) -> None:
    python = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TFLITE_RUNTIME_PYTHON to an interpreter with tflite-runtime 2.14")
    runs = {f"{name}, {kind}": (case, kind == "float") for name, case in EMITTED.items() for kind in ("int8", "float")}
    paths = [written(tmp_path / str(number), case, in_float=kind) for number, (case, kind) in enumerate(runs.values())]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", PROGRAM], input="\n".join(map(str, paths)), capture_output=True, text=True, timeout=300, env=environment
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(paths), f"aborted at {list(runs)[len(answers)]}: {done.stderr[-500:]}"
    # The kernels round differently in places: one step.
    bad = {name: answer for name, answer in zip(runs, answers, strict=True) if isinstance(answer, str) or answer[0] > 1 or answer[1] > 1e-4}
    assert bad == {}

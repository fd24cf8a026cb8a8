"""Every case on tflite-runtime 2.14 (2023), the newest there is for armv7 and for Python 3.8."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.runtimes.tflite import TfliteRuntime
from tests.unit.runtimes.tflite.cases import Case, all_cases
from tests.unit.runtimes.tflite.emitting import Runner, minmax_plan

EMITTED = {name: case for name, case in all_cases().items() if not case.refused}

# Runs in the other interpreter: answers one JSON line per model, so that an abort tells which one it was.
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
        worst = 0
        for x, y in zip(data["x"], data["y"]):
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
            interpreter.invoke()
            got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
            worst = max(worst, int(np.abs(got.astype(int) - y.astype(int)).max()))
        print(json.dumps(worst), flush=True)
    except Exception as error:
        print(json.dumps(str(error)), flush=True)
"""


def written(folder: Path, number: int, case: Case) -> Path:
    graph, samples = case.graph(), case.samples()
    artifact = TfliteRuntime().emit(graph, minmax_plan(graph, samples), io_dtype="int8", layout="nhwc")
    runner = Runner(artifact.data, xnnpack=False)
    turned = samples[0].ndim == 4 and not case.channels_last
    raw = [runner.quantize(sample.transpose(0, 2, 3, 1) if turned else sample) for sample in samples[:4]]
    path = folder / str(number)
    path.with_suffix(".tflite").write_bytes(artifact.data)
    np.savez(path.with_suffix(".npz"), x=np.stack(raw), y=np.stack([runner.raw(value) for value in raw]))
    return path


@pytest.mark.tflite214
def test_old_runtime_agrees(tmp_path: Path) -> None:
    python = os.environ.get("EDGEKIT_TFLITE_RUNTIME_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TFLITE_RUNTIME_PYTHON to an interpreter with tflite-runtime 2.14")
    paths = [written(tmp_path, number, case) for number, case in enumerate(EMITTED.values())]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", PROGRAM], input="\n".join(map(str, paths)), capture_output=True, text=True, timeout=300, env=environment
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(paths), f"aborted at {list(EMITTED)[len(answers)]}: {done.stderr[-500:]}"
    # The kernels round differently in places: one step.
    assert {name: answer for name, answer in zip(EMITTED, answers, strict=True) if not isinstance(answer, int) or answer > 1} == {}

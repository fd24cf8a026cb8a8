"""NVIDIA's own parser and ahead-of-time compiler take every file that is meant for TensorRT, and refuse what is not.

tensorrt-rtx runs both on a machine without a GPU; it targets GPUs of desktops, not a Jetson, and reads the same ONNX.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from edgekit.runtimes.qdq import OnnxRuntime, TensorRtQdq
from tests.unit.quantize.networks import model, normal
from tests.unit.runtimes.qdq.test_fused import ATTENTION, BLOCK
from tests.unit.runtimes.qdq.test_networks import NETWORKS, emitted
from tests.unit.runtimes.qdq.written import Written

pytestmark = [pytest.mark.tensorrt, pytest.mark.slow]

# Runs in the other interpreter: answers one JSON line per file, so that an abort tells which one it was.
PROGRAM = """
import json, sys
import tensorrt_rtx as trt

class Log(trt.ILogger):
    def __init__(self):
        super().__init__()
        self.said = []
    def log(self, severity, message):
        if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
            self.said.append(message)

for line in sys.stdin:
    log = Log()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    engine = None
    if parser.parse(open(line.strip(), "rb").read()):
        config = builder.create_builder_config()
        config.num_compute_capabilities = 1
        config.set_compute_capability(trt.ComputeCapability.SM86, 0)
        engine = builder.build_serialized_network(network, config)
    errors = [parser.get_error(i).desc() for i in range(parser.num_errors)] + log.said
    print(json.dumps([] if engine is not None and not errors else errors or ["no engine"]), flush=True)
"""

CONSTANTS = {f"w{n}": normal(4, 4, *kernel) for n, kernel in ((1, (1, 1)), (2, (3, 3)), (3, (1, 1)))}
X = "float[1,4,8,8] x"
SMALL = {
    "block": (BLOCK, X, {**CONSTANTS, **{f"b{n}": normal(4) for n in (1, 2, 3)}}),
    "depthwise": ("y = Conv<group = 4>(x, w)", X, {"w": normal(4, 1, 3, 3)}),
    "transposed": ("y = ConvTranspose<strides = [2, 2]>(x, w)", X, {"w": normal(4, 6, 2, 2)}),
    "gemm": ("y = Gemm(x, w, b)", "float[1,8] x", {"w": normal(8, 5), "b": normal(5)}),
    "matmul": ("y = MatMul(x, w)", "float[1,6,8] x", {"w": normal(8, 5)}),
    "embedding": ("e = Gather(t, x) y = MatMul(e, w)", "int64[1,3] x", {"t": normal(50, 8), "w": normal(8, 5)}),
    "attention": (
        ATTENTION,
        "float[1,6,8] x",
        {**{name: normal(8, 8) for name in ("wq", "wk", "wo")}, **{name: normal(8) for name in ("g", "b", "bq")}},
    ),
}


def told(paths: list[Path]) -> list[list[str]]:
    """Return what the compiler says against each file."""
    python = os.environ.get("EDGEKIT_TENSORRT_RTX_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TENSORRT_RTX_PYTHON to an interpreter with tensorrt-rtx")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    lines = "\n".join(map(str, paths))
    done = subprocess.run([python, "-c", PROGRAM], input=lines, capture_output=True, text=True, timeout=500, env=environment)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(paths), f"aborted at {paths[len(answers)].name}: {done.stderr[-500:]}"
    return answers


def test_every_file_is_compiled(tmp_path: Path) -> None:
    files = {name: Written(TensorRtQdq(), model(body, constants, x=x)).data for name, (body, x, constants) in SMALL.items()}
    files.update({name: emitted(name, TensorRtQdq).data for name in NETWORKS})
    paths = [tmp_path / f"{name}.onnx" for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    assert {path.stem: said for path, said in zip(paths, told(paths), strict=True) if said} == {}


def test_a_file_for_onnxruntime_is_refused(tmp_path: Path) -> None:
    """Or the test above would say nothing: zero points other than 0, and biases in int32."""
    path = tmp_path / "asymmetric.onnx"
    path.write_bytes(Written(OnnxRuntime(), model(SMALL["block"][0], SMALL["block"][2], x=X)).data)
    (said,) = told([path])
    assert said

"""NVIDIA's own parser and ahead-of-time compiler take every file that is meant for TensorRT, and refuse what is not.

tensorrt-rtx runs both on a machine without a GPU; it targets GPUs of desktops, not a Jetson, and reads the same ONNX.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest

from edgekit.ondevice.tensorrt.weights import with_float_weights
from edgekit.quantize.normalise import normalise
from edgekit.runtimes.qdq import OnnxRuntime
from edgekit.runtimes.qdq.support import UNREAD
from tests.unit.quantize.networks import model, normal
from tests.unit.runtimes.qdq.resnet import resnet18
from tests.unit.runtimes.qdq.test_fused import ATTENTION, BLOCK
from tests.unit.runtimes.qdq.test_networks import NETWORKS
from tests.unit.runtimes.qdq.written import Files, Written
from tests.unit.runtimes.tflite import networks
from tests.unit.runtimes.tflite.test_networks import drawn

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


class Whole(NamedTuple):
    """A model of the shared data, or one that is made, and the least SQNR of its float16 file."""

    half_db: float
    shapes: Mapping[str, tuple[int, ...]] | None = None
    is_made: bool = False
    whole_max: int = 8


WHOLE = {
    "resnet20_cifar10": Whole(60),
    "resnet32_cifar10": Whole(55),
    "mobilenetv2_backbone_cifar10probe_128": Whole(40),
    "efficientnet_lite0_imagenet_224": Whole(45, is_made=True),
    "all_minilm_l6_v2": Whole(50, dict.fromkeys(("input_ids", "attention_mask"), (1, 32)), is_made=True, whole_max=2),
}


def interpreter() -> str:
    python = os.environ.get("EDGEKIT_TENSORRT_RTX_PYTHON")
    if not python:
        pytest.skip("set EDGEKIT_TENSORRT_RTX_PYTHON to an interpreter with tensorrt-rtx")
    return python


def environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def told(paths: list[Path]) -> list[list[str]]:
    """Return what the compiler says against each file."""
    lines = "\n".join(map(str, paths))
    command = [interpreter(), "-c", PROGRAM]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=500, env=environment())
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(answers) == len(paths), f"aborted at {paths[len(answers)].name}: {done.stderr[-500:]}"
    return answers


def refused(files: Mapping[str, bytes], folder: Path) -> dict[str, list[str]]:
    """Return what the compiler says, by file."""
    paths = [folder / name for name in files]
    for path, data in zip(paths, files.values(), strict=True):
        path.write_bytes(data)
    return {path.name: said for path, said in zip(paths, told(paths), strict=True) if said}


def test_every_file_is_compiled(tmp_path: Path) -> None:
    made = {name: Files(model(body, constants, x=x)) for name, (body, x, constants) in SMALL.items()}
    made["resnet18"] = Files(resnet18())
    for name in NETWORKS:
        proto = getattr(networks, name)()
        made[name] = Files(proto, feeds=drawn(normalise(proto)))
    files = {f"{name}.{file}": one.data for name, made_of in made.items() for file, one in made_of.by_name.items()}
    assert len(files) == 5 * len(made)
    assert refused(files, tmp_path) == {}


def test_files_with_their_weights_written_out_are_compiled(tmp_path: Path) -> None:
    """As the board does it for TensorRT before 10."""
    files = {name: Files(model(body, constants, x=x)).by_name["model.onnx"].data for name, (body, x, constants) in SMALL.items()}
    assert refused({f"{name}.onnx": with_float_weights(data) for name, data in files.items()}, tmp_path) == {}


def test_whichever_node_stays_float32(tmp_path: Path) -> None:
    files = {}
    for name in ("block", "attention"):
        body, x, constants = SMALL[name]
        proto = model(body, constants, x=x)
        for number, node in enumerate(normalise(proto).nodes):
            kept = Files(proto, kept=(node.name,)).by_name
            files.update({f"{name}.{number}.{file}": kept[file].data for file in ("mixed.onnx", "half.onnx")})
    assert refused(files, tmp_path) == {}


def test_a_file_for_onnxruntime_is_refused(tmp_path: Path) -> None:
    """Or the tests above would say nothing: zero points other than 0, and biases in int32."""
    data = Written(OnnxRuntime(), model(SMALL["block"][0], SMALL["block"][2], x=X)).data
    assert refused({"asymmetric.onnx": data}, tmp_path)


ASK = "import sys, tensorrt_rtx as trt; log = trt.Logger(trt.Logger.ERROR); network = trt.Builder(log).create_network(0); \
parser = trt.OnnxParser(network, log); print([op for op in sys.argv[1:] if parser.supports_operator(op)])"


def test_the_parser_has_nothing_for_the_operators_it_is_said_to_lack() -> None:
    done = subprocess.run([interpreter(), "-c", ASK, "Conv", *sorted(UNREAD)], capture_output=True, text=True, env=environment())
    assert done.stdout.strip() == "['Conv']"


@pytest.mark.models
@pytest.mark.parametrize("name", WHOLE)
def test_whole_models(name: str, shared_data: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Every file compiles, stores int8 weights, and answers as the float model does; nothing is rounded in front of a clamp."""
    whole = WHOLE[name]
    home = request.getfixturevalue("made_data") if whole.is_made else shared_data
    path = home / "models" / f"{name}.onnx"
    if not path.is_file():
        pytest.skip(f"{path.name} is not made")
    files = Files(onnx.load(path), shapes=whole.shapes, whole_max=whole.whole_max)
    assert len(files.by_name["model.onnx"].data) <= 0.3 * len(files.by_name["float.onnx"].data)
    assert len(files.by_name["mixed.onnx"].data) <= 0.3 * len(files.by_name["float.onnx"].data)
    for file in (files.by_name["model.onnx"], files.by_name["mixed.onnx"]):
        clamped = {file.reads(node, 0) for node in file.nodes if node.op_type in ("Clip", "Relu")}
        assert "DequantizeLinear" not in clamped
        assert file.count("QuantizeLinear") > 10
    assert files.against_float("half.onnx") > whole.half_db
    assert files.against_float("twin") > files.against_float("model.onnx") - 3
    assert refused({f"{name}.{file}": one.data for file, one in files.by_name.items()}, tmp_path) == {}

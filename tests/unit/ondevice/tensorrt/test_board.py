"""What of a board's facts an engine depends on."""

from __future__ import annotations

from typing import Any

import pytest

from edgekit.ondevice.tensorrt import key
from edgekit.ondevice.tensorrt.board import board_of
from edgekit.ondevice.wire import AgentError

PACKAGE = {"kind": "tensorrt", "name": "tensorrt", "version": "10.3.0.30", "lock": None, "error": None}
PROGRAM = {"kind": "tensorrt", "name": "trtexec", "version": "10.3.0", "lock": None, "error": None}
OTHER = {"kind": "tflite", "name": "ai-edge-litert", "version": "2.1.0", "lock": None, "error": None}
GPU = {"name": "Orin", "compute_capability": "8.7", "cuda": "12.6", "memory_total_bytes": 7990 << 20}
JETSON = {"l4t": "36.4.0", "jetpack": "6.1", "module": "p3767-0003", "power_mode": "15W"}
FACTS: dict[str, Any] = {
    "runtimes": [OTHER, PROGRAM, PACKAGE],
    "gpu": GPU,
    "gpu_error": None,
    "jetson": JETSON,
    "board": "NVIDIA Jetson Orin Nano Developer Kit",
}


def test_a_jetson() -> None:
    found = board_of(FACTS)
    assert found == {
        "tensorrt": "10.3.0.30",
        "compute_capability": "8.7",
        "board": "NVIDIA Jetson Orin Nano Developer Kit",
        "l4t": "36.4.0",
        "cuda": "12.6",
    }
    assert set(found) == set(key.BOARD_FIELDS)


def test_a_desktop_is_named_after_its_gpu() -> None:
    found = board_of({**FACTS, "board": None, "jetson": None, "gpu": {**GPU, "name": "NVIDIA RTX A2000"}})
    assert (found["board"], found["l4t"]) == ("NVIDIA RTX A2000", None)


def test_trtexec_speaks_where_the_package_does_not_run() -> None:
    assert board_of({**FACTS, "runtimes": [{**PACKAGE, "error": "ImportError"}, PROGRAM]})["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("change", "kind", "named"),
    [
        ({"gpu": None}, "runtime-missing", "there is no NVIDIA GPU"),
        ({"gpu": None, "gpu_error": "cuInit says 100"}, "runtime-missing", "there is no NVIDIA GPU for TensorRT: cuInit says 100"),
        (
            {"gpu": None, "runtimes": []},
            "runtime-missing",
            "there is no NVIDIA GPU for TensorRT: no driver with a GPU answers there, and there is no TensorRT",
        ),
        ({"runtimes": [OTHER]}, "runtime-missing", "neither its Python package nor trtexec"),
        ({"runtimes": [{**PROGRAM, "error": "libnvinfer"}]}, "runtime-failed", "does not run there: trtexec: libnvinfer"),
    ],
)
def test_the_missing_piece_is_named(change: dict[str, Any], kind: str, named: str) -> None:
    with pytest.raises(AgentError) as caught:
        board_of({**FACTS, **change})
    assert caught.value.kind == kind
    assert named in caught.value.message
    assert caught.value.fix

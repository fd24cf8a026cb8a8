"""What keeps a bundle off a board, said before a byte is sent."""

from __future__ import annotations

import msgspec

from edgekit.device import Address, Device, Facts
from edgekit.manifest import Manifest
from edgekit.pipeline.fit import misfits
from tests.unit.bundles import small_manifest
from tests.unit.test_device import FACTS

BOARD = Device(name="gate", address=Address.parse("pi@10.0.0.7"))


def facts(*runtimes: tuple[str, str | None]) -> Facts:
    """Return the facts of a board with runtimes of these kinds, each with what its import says."""
    entries = [{"kind": kind, "name": kind, "version": "1.0", "lock": None, "error": error} for kind, error in runtimes]
    return msgspec.convert({**FACTS, "runtimes": entries}, Facts)


def bundle_for(kind: str) -> Manifest:
    manifest = small_manifest()
    return msgspec.structs.replace(manifest, runtime=kind, requires=msgspec.structs.replace(manifest.requires, runtime=kind))


def test_a_runtime_of_the_bundles_kind_must_run_there() -> None:
    only_tflite = facts(("tflite", None))
    assert misfits(bundle_for("tflite"), BOARD, only_tflite, stand_in=True) == []
    ((text, fix),) = misfits(bundle_for("onnxruntime"), BOARD, only_tflite, stand_in=True)
    assert text == "no onnxruntime runtime runs there"
    assert fix == "edgekit device setup DEVICE --target rpi4"


def test_a_broken_runtime_says_why() -> None:
    broken = facts(("onnxruntime", "GLIBC_2.28 not found"), ("tflite", None))
    ((text, _),) = misfits(bundle_for("onnxruntime"), BOARD, broken, stand_in=True)
    assert text == "no onnxruntime runtime runs there (onnxruntime 1.0: GLIBC_2.28 not found)"


def test_a_board_that_contradicts_the_bundles_target() -> None:
    manifest = small_manifest()
    requires = msgspec.structs.replace(manifest.requires, runtime="tensorrt", machines=(FACTS["machine"],), boards=())
    bundle = msgspec.structs.replace(manifest, target="jetson-xavier-nx", runtime="tensorrt", requires=requires)
    gpu = {"name": "Orin", "compute_capability": "8.7", "cuda": "12.6", "memory_total_bytes": 1 << 33}
    tensorrt = [{"kind": "tensorrt", "name": "tensorrt", "version": "10.3.0", "lock": None, "error": None}]
    orin = msgspec.convert({**FACTS, "board": None, "gpu": gpu, "runtimes": tensorrt}, Facts)
    ((text, fix),) = misfits(bundle, BOARD, orin, stand_in=False)
    assert text == "its GPU, Orin, has compute capability 8.7; that of jetson-xavier-nx is 7.2"
    assert fix
    assert misfits(bundle, BOARD, orin, stand_in=True) == []
    assert misfits(msgspec.structs.replace(bundle, target="jetson-of-tomorrow"), BOARD, orin, stand_in=False) == []

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from edgekit.device import Facts
from edgekit.devices.locks import FOLDER, ROWS, choose_runtime, read_lock
from edgekit.errors import DeviceError
from tests.unit.test_device import FACTS


def _facts(**changes: object) -> Facts:
    return msgspec.convert({**FACTS, **changes}, Facts)


@pytest.mark.parametrize(
    ("machine", "glibc", "python", "numpy", "lock"),
    [
        ("aarch64", "2.36", "3.11.2", None, "litert-2.3.0-cp311-aarch64"),  # Raspberry Pi OS, Bookworm
        ("aarch64", "2.41", "3.13.5", None, "litert-2.3.0-cp313-aarch64"),  # Trixie
        ("aarch64", "2.35", "3.10.12", None, "litert-2.3.0-cp310-aarch64"),  # Ubuntu 22.04, JetPack 6
        ("aarch64", "2.34", "3.14.0", None, "litert-2.3.0-cp314-aarch64"),
        ("aarch64", "2.31", "3.9.2", None, "tflite-2.14.0-cp39-aarch64"),  # Bullseye
        ("aarch64", "2.31", "3.8.10", None, "tflite-2.14.0-cp38-aarch64"),  # Ubuntu 20.04, JetPack 5
        ("aarch64", "2.31", "3.11.9", None, "litert-2.1.0-cp311-aarch64"),  # the same with a newer Python
        ("aarch64", "2.27", "3.10.0", None, "tflite-2.14.0-cp310-aarch64"),
        ("armv7l", "2.36", "3.11.2", "1.24.2", "tflite-2.14.0-cp311-armv7l"),
        ("x86_64", "2.31", "3.12.1", None, "litert-2.3.0-cp312-x86_64"),
    ],
)
def test_choice(machine: str, glibc: str, python: str, numpy: str | None, lock: str) -> None:
    assert choose_runtime(_facts(machine=machine, glibc=glibc, python=python, numpy=numpy), "tflite").name == lock


@pytest.mark.parametrize(
    ("machine", "glibc", "python", "lock"),
    [
        ("x86_64", "2.36", "3.11.2", "onnxruntime-1.32.0-cp311-x86_64"),
        ("aarch64", "2.41", "3.13.5", "onnxruntime-1.32.0-cp313-aarch64"),
        ("aarch64", "2.35", "3.10.12", "onnxruntime-1.23.2-cp310-aarch64"),
        ("x86_64", "2.31", "3.8.10", "onnxruntime-1.19.2-cp38-x86_64"),
    ],
)
def test_choice_of_onnxruntime(machine: str, glibc: str, python: str, lock: str) -> None:
    assert choose_runtime(_facts(machine=machine, glibc=glibc, python=python), "onnxruntime").name == lock


def test_onnxruntime_has_no_wheels_for_every_machine() -> None:
    with pytest.raises(DeviceError, match="there is no ONNX Runtime for a armv7l, only for aarch64, x86_64"):
        choose_runtime(_facts(machine="armv7l"), "onnxruntime")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"machine": "riscv64"}, "no TFLite runtime for a riscv64, only for aarch64, armv7l, x86_64"),
        ({"machine": "armv6l"}, "no TFLite runtime for a armv6l"),
        ({"glibc": None}, "C library is not glibc"),
        ({"python": "3.15.0"}, r"Python 3\.15\.0 on aarch64, only for cp38, cp39, cp310, .*, cp314"),
        ({"machine": "armv7l", "python": "3.13.5"}, r"Python 3\.13\.5 on armv7l, only for cp38, cp39, cp310, cp311"),
        ({"glibc": "2.31", "python": "3.14.0"}, r"glibc is 2\.31; .* Python 3\.14\.0 on aarch64 needs 2\.34"),
        ({"glibc": "2.17"}, r"glibc is 2\.17; .* needs 2\.27"),
        ({"machine": "armv7l", "numpy": None}, "needs the system's numpy 1, and it has none"),
        ({"machine": "armv7l", "numpy": "2.1.0"}, r"needs the system's numpy 1, and it has 2\.1\.0"),
    ],
)
def test_refusal_says_what_does_not_fit(changes: dict[str, object], message: str) -> None:
    with pytest.raises(DeviceError, match=f"^the device: .*{message}"):
        choose_runtime(_facts(**changes), "tflite")


@pytest.mark.parametrize(
    ("row", "tag"), [(row, tag) for row in ROWS for tag in row.tags], ids=lambda value: value if isinstance(value, str) else ""
)
def test_each_lock_pins_exactly_its_packages(row: object, tag: str) -> None:
    row = next(known for known in ROWS if known is row)
    lock = read_lock(row, tag)
    assert [(pin.name, pin.version) for pin in lock.pins] == row.packages(tag)
    assert (lock.tag, lock.machine, lock.path.stem) == (tag, row.machine, lock.name)


def test_no_lock_is_left_over() -> None:
    assert {path.stem for path in FOLDER.glob("*.txt")} == {row.lock_name(tag) for row in ROWS for tag in row.tags}


def test_one_digest_stands_for_one_wheel() -> None:
    seen: dict[str, tuple[str, str]] = {}
    for row in ROWS:
        for tag in row.tags:
            for pin in read_lock(row, tag).pins:
                assert seen.setdefault(pin.sha256, (pin.name, pin.version)) == (pin.name, pin.version)


def test_another_wheel_is_another_folder() -> None:
    lock = choose_runtime(_facts(machine="aarch64", glibc="2.36", python="3.11.2"), "tflite")
    assert re.fullmatch(rf"{lock.name}-[0-9a-f]{{12}}", lock.folder)
    first, second = lock.pins
    assert replace(lock, pins=(first, replace(second, sha256="0" * 64))).folder != lock.folder


@pytest.mark.parametrize(
    ("suffix", "error", "there"), [("", None, True), (None, None, True), ("", "it crashed", False), ("x", None, False)]
)
def test_a_runtime_that_is_there(suffix: str | None, error: str | None, there: bool) -> None:
    """By the name it has now, or by that of the edgekit before, the lock's alone."""
    lock = choose_runtime(_facts(machine="aarch64", glibc="2.36", python="3.11.2"), "tflite")
    name = lock.name if suffix is None else lock.folder + suffix
    runtime = {"kind": "tflite", "name": "ai-edge-litert", "version": "2.3.0", "lock": name, "error": error}
    assert lock.is_in(_facts(runtimes=[runtime])) is there

"""What ``edgekit device facts`` shows of a board with an NVIDIA GPU, from doubles of NVIDIA's software (tests/standin), and of a Jetson."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec
import pytest

from edgekit.cli import device
from edgekit.device import Facts, JetsonFact
from edgekit.devices.provision import Provision, WheelFile
from edgekit.pipeline.provision import device_facts, plan_set_up
from tests.standin.board import standin_python
from tests.unit.cli.commands import run
from tests.unit.test_device import FACTS


def project(folder: Path, monkeypatch: pytest.MonkeyPatch, python: str) -> None:
    (folder / "edgekit.toml").write_text(f'[devices.board]\naddress = "local"\npython = "{python}"\nroot = "{folder}/root"\n')
    monkeypatch.chdir(folder)


def test_a_board_with_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch, standin_python(tmp_path / "board", {"STANDIN_GPU_NAME": "Orin"}, packages=(), trtexec=False))
    text, code = run(monkeypatch, "device", "facts", "board")
    assert code == 0
    assert "gpu      Orin, compute capability 8.7, CUDA up to 12.6, 7.99 GB" in text.splitlines()
    document = json.loads(run(monkeypatch, "device", "facts", "board", "--json")[0])
    assert document["facts"]["gpu"]["compute_capability"] == "8.7"


def test_a_driver_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, monkeypatch, standin_python(tmp_path / "board", {"STANDIN_CUINIT": "999"}, packages=(), trtexec=False))
    text, _ = run(monkeypatch, "device", "facts", "board")
    assert "gpu      none: cuInit of the NVIDIA driver says CUDA_ERROR_UNKNOWN (999)" in text.splitlines()


@pytest.mark.parametrize(
    ("jetson", "row"),
    [
        (("36.4.3", "6.2", "p3767-0005", "15W"), "p3767-0005, JetPack 6.2 (Jetson Linux 36.4.3), power mode 15W"),
        ((None, None, None, None), "module unknown, JetPack unknown (Jetson Linux unknown), power mode unknown"),
    ],
)
def test_a_jetson(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, jetson: tuple[str | None, str | None, str | None, str | None], row: str
) -> None:
    l4t, jetpack, module, power_mode = jetson
    fact = JetsonFact(l4t=l4t, jetpack=jetpack, module=module, power_mode=power_mode)
    facts = msgspec.structs.replace(msgspec.convert(FACTS, Facts), jetson=fact)
    monkeypatch.setattr(device, device_facts.__name__, lambda _device: facts)
    project(tmp_path, monkeypatch, sys.executable)
    assert f"jetson   {row}" in [" ".join(line.split(" ", 1)) for line in run(monkeypatch, "device", "facts", "board")[0].splitlines()]


WHEELS = (WheelFile("a-1.whl", 3_000_000), WheelFile("b-1.whl", 1_000_000))


@pytest.mark.parametrize(
    ("planned", "line"),
    [
        (None, "its runtime comes with its system, and is there"),
        (Provision("litert-1", True, (), 0, 0, 1 << 30), "litert-1 is there and runs; nothing would be sent"),
        (
            Provision("litert-1", False, WHEELS, 2_000_000, 1 << 25, 1 << 30),
            "would send 2 MB of 4 MB; needs 33.6 MB of room, 1.07 GB are free; nothing was changed",
        ),
    ],
)
def test_what_a_set_up_would_send(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, planned: Provision | None, line: str) -> None:
    project(tmp_path, monkeypatch, sys.executable)
    monkeypatch.setattr(device, plan_set_up.__name__, lambda *_: planned)
    text, code = run(monkeypatch, "device", "setup", "board", "--dry-run")
    assert (code, line in text.splitlines()) == (0, True), text
    document = json.loads(run(monkeypatch, "device", "setup", "board", "--dry-run", "--json")[0])
    assert document["dry_run"] is True
    assert (document["plan"] or {}).get("runtime") == (planned.runtime if planned else None)

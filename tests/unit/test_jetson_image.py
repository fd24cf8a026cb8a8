"""Dockerfile.jetson and the script that holds its steps, as far as they run without Docker and without a Jetson."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile.jetson"
SCRIPT = ROOT / "scripts" / "jetson_image.sh"
BINDINGS = ["jetson-cuda12", "jetson-cuda13"]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in re.sub(r"\\\n", " ", text).splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def run(folder: Path, *words: str, python: str = sys.executable, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGEKIT_VENV": str(folder / "venv"), "EDGEKIT_PYTHON": python, **settings}
    return subprocess.run([str(SCRIPT), *words], env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_the_instructions_are_those_of_an_image_that_can_be_made_again() -> None:
    """The rules that matter here, for where there is no hadolint."""
    found = instructions()
    names = [name for name, _ in found]
    assert set(names) <= {"ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "ENTRYPOINT", "CMD"}
    assert names.count("FROM") == names.count("ENTRYPOINT") == names.count("CMD") == 1
    arguments = dict(rest.split("=", 1) for name, rest in found[: names.index("FROM")] if name == "ARG")
    assert arguments["BASE_TAG"] not in ("", "latest")
    assert dict(found)["FROM"] == "${BASE_IMAGE}:${BASE_TAG}"
    for name, rest in found:
        if name == "COPY":
            sources = rest.split()[:-1]
            assert all((ROOT / source).exists() for source in sources), rest
        if name in ("RUN", "ENTRYPOINT", "CMD"):
            assert isinstance(json.loads(rest), list), "the exec form needs no shell to be right"
        if name == "WORKDIR":
            assert rest.startswith("/")


def test_its_steps_are_the_scripts() -> None:
    steps = [json.loads(rest) for name, rest in instructions() if name == "RUN"]
    assert [step[0] for step in steps] == ["scripts/jetson_image.sh"] * 2
    assert [step[1] for step in steps] == ["packages", "check"]
    assert os.access(SCRIPT, os.X_OK)


def test_everything_that_a_step_needs_is_copied_before_it() -> None:
    found = instructions()
    before = " ".join(rest for name, rest in found[: [name for name, _ in found].index("RUN")] if name == "COPY")
    for needed in (
        "requirements/runtime.txt",
        *(f"requirements/{name}.txt" for name in BINDINGS),
        "scripts/environment.sh",
        "scripts/jetson_image.sh",
    ):
        assert needed in before


@pytest.mark.parametrize(("linter", "words"), [("hadolint", [str(DOCKERFILE)]), ("shellcheck", ["-x", str(SCRIPT)])])
def test_linters_find_nothing(linter: str, words: list[str]) -> None:
    program = shutil.which(linter, path=str(Path(sys.executable).parent))
    assert program, "it is in requirements/dev.txt"
    done = subprocess.run([program, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", BINDINGS)
def test_the_bindings_are_of_cudas_version(name: str) -> None:
    pins = re.findall(r"^([a-z-]+)==([0-9]+)", (ROOT / "requirements" / f"{name}.txt").read_text(encoding="ascii"), re.MULTILINE)
    assert {package for package, _ in pins} == {"cuda-bindings", "cuda-pathfinder"}
    assert {major for package, major in pins if package == "cuda-bindings"} == {name[-2:]}


class TestSteps:
    @pytest.fixture
    def base(self, tmp_path: Path) -> str:
        """Return a Python that sees a TensorRT, as the base's does: an empty package serves, nothing imports it."""
        (tmp_path / "site" / "tensorrt").mkdir(parents=True)
        (tmp_path / "site" / "tensorrt" / "__init__.py").touch()
        wrapper = tmp_path / "python"
        wrapper.write_text(f'#!/bin/sh\nPYTHONPATH="{tmp_path}/site" exec "{sys.executable}" "$@"\n')
        wrapper.chmod(0o755)
        return str(wrapper)

    def test_an_environment_with_edgekit(self, tmp_path: Path, base: str) -> None:
        """The locks count as installed, so that nothing is downloaded; the packages are those of this test's interpreter."""
        venv = tmp_path / "venv"
        subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", str(venv)], check=True)
        (venv / ".edgekit-place").write_text(f"{venv}\n")
        for name in ("runtime", "jetson-cuda12"):
            digest = hashlib.sha256((ROOT / "requirements" / f"{name}.txt").read_bytes()).hexdigest()
            (venv / f".edgekit-{name}").write_text(f"{digest}\n")
        done = run(tmp_path, "packages", python=base)
        assert done.returncode == 0, done.stderr
        (site,) = venv.glob("lib/python*/site-packages")
        (site / "packages.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
        without = run(tmp_path, "check")
        assert "does not see the system's TensorRT" in without.stderr
        (site / "tensorrt.pth").write_text(f"{tmp_path}/site\n")
        said = run(tmp_path, "check")
        assert (said.returncode, said.stdout.split(",")[0]) == (0, "edgekit")

    def test_the_environment_sees_the_systems_packages(self, tmp_path: Path, base: str) -> None:
        """It is made, then stops where it would download."""
        done = run(tmp_path, "packages", python=base, PIP_NO_INDEX="1", UV_NO_INDEX="1", UV_OFFLINE="1")
        assert done.returncode == 3
        assert "requirements/runtime.txt could not be installed" in done.stderr
        assert "include-system-site-packages = true" in (tmp_path / "venv" / "pyvenv.cfg").read_text()

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"CUDA_MAJOR": "11"}, "there are no bindings for CUDA 11"),
            ({"EDGEKIT_PYTHON": "/bin/false"}, "edgekit needs 3.10"),
            ({"EDGEKIT_PYTHON": sys.executable}, "this image has no TensorRT"),
        ],
    )
    def test_a_base_that_does_not_do(self, tmp_path: Path, base: str, settings: dict[str, str], text: str) -> None:
        done = run(tmp_path, "packages", **{"python": base, **settings})
        assert done.returncode == 3
        assert text in done.stderr
        assert "fix: " in done.stderr
        assert not (tmp_path / "venv").exists()

    def test_a_step_that_is_none(self, tmp_path: Path) -> None:
        assert run(tmp_path).returncode == 3

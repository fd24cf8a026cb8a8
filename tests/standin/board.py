"""Test boards: an interpreter that finds doubles of NVIDIA's software, to be named as the ``python`` of a device, local or over SSH.

The doubles stand beside this file and compute nothing of NVIDIA's; what runs on such a board proves our own code alone.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

__all__ = ["compile_library", "standin_python"]

_HERE = Path(__file__).resolve().parent
PACKAGES = ("tensorrt", "pycuda")


def standin_python(
    folder: Path,
    settings: Mapping[str, str] | None = None,
    *,
    packages: Iterable[str] = PACKAGES,
    trtexec: bool = True,
    driver: bool = True,
    python: str = sys.executable,
) -> str:
    """Make a board in ``folder`` (new) and return the path of its interpreter.

    Parameters
    ----------
    settings
        Environment of the doubles, as ``{"STANDIN_GPU_NAME": "Orin"}``; each double says which it reads.
    packages
        Which of the doubles Python finds.
    trtexec
        Whether the program is on the board's PATH.
    driver
        Whether there is an NVIDIA driver, hence a GPU.
    """
    site, programs, libraries = (folder / name for name in ("site", "bin", "lib"))
    for part in (site, programs, libraries):
        part.mkdir(parents=True)
    for package in (*packages, "standin_gpu"):
        (site / package).symlink_to(_HERE / package)
    if trtexec:
        (programs / "trtexec").symlink_to(_HERE / "trtexec")
    if driver:
        compile_library("libcuda", libraries)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in (settings or {}).items()]
    lines += [
        f"export PYTHONPATH={shlex.quote(str(site))}${{PYTHONPATH:+:$PYTHONPATH}}",
        f"export LD_LIBRARY_PATH={shlex.quote(str(libraries))}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}",
        f"export PATH={shlex.quote(str(programs))}:$PATH",
        f'exec {shlex.quote(python)} "$@"',
    ]
    wrapper = folder / "python"
    wrapper.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    wrapper.chmod(0o755)
    return str(wrapper)


def compile_library(name: str, folder: Path) -> None:
    """Compile the double of a library of NVIDIA's driver."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler for the doubles of NVIDIA's driver: sudo apt install gcc")
    words = [compiler, "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", str(folder / (name + ".so.1")), str(_HERE / (name + ".c"))]
    subprocess.run(words, check=True)

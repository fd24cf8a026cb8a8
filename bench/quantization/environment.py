"""An environment of its own for every peer: made once from a pinned list, in the cache, by Python's own venv and pip.

The lists in ``requirements/`` are complete and installed without looking at what packages ask for: some ask for
GPU builds that nothing here uses, or pin what another needs newer.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["ENVIRONMENTS", "ROOT", "NotInstalledError", "cache_folder", "python_of", "versions"]

_HERE = Path(__file__).parent
ROOT = _HERE.parents[1]

# Which Python runs each list of requirements/: the newest of those that the packages have wheels for.
ENVIRONMENTS = {
    "ai-edge-quantizer": "3.11",
    "data": "3.11",
    "litert-quantizer": "3.11",
    "modelopt": "3.11",
    "neural-compressor": "3.10",
    "nncf": "3.11",
    "onnx2tf": "3.12",
    "onnxruntime": "3.11",
    "plot": "3.11",
    "text": "3.11",
}


class NotInstalledError(Exception):
    """An environment cannot be made here; the text says why, for the table."""


def cache_folder() -> Path:
    """Return where environments, prepared samples and results are kept."""
    return Path(os.environ.get("EDGEKIT_BENCH_CACHE") or Path.home() / ".cache" / "edgekit-bench")


@functools.cache
def python_of(name: str, cache: Path) -> Path:
    """Return the interpreter of an environment, made if need be.

    Raises
    ------
    NotInstalledError
        No such Python here, or pip failed. What failed is remembered until its list changes.
    """
    listed, folder = _requirements(name), cache / "venvs" / name
    digest = hashlib.sha256(listed.read_bytes()).hexdigest()
    python, mark, failed = folder / "bin" / "python", folder / "made", cache / "venvs" / f"{name}.failed"
    if mark.is_file() and mark.read_text(encoding="ascii") == digest:
        return python
    if failed.is_file():
        then, _, why = failed.read_text(encoding="utf-8").partition("\n")
        if then == digest:
            raise NotInstalledError(why)
    try:
        print(f"installing {name} into {folder}", flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _call([_interpreter(ENVIRONMENTS[name]), "-m", "venv", "--clear", str(folder)])
        _call([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(listed)])
    except NotInstalledError as error:
        shutil.rmtree(folder, ignore_errors=True)
        failed.write_text(f"{digest}\n{error}", encoding="utf-8")
        raise
    mark.write_text(digest, encoding="ascii")
    return python


def versions(name: str) -> dict[str, str]:
    """Return what an environment's list pins: package -> version."""
    lines = _requirements(name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def _requirements(name: str) -> Path:
    return _HERE / "requirements" / f"{name}.txt"


def _interpreter(version: str) -> str:
    """Return a Python of this version that really runs: shims on the path may not."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates = [f"python{version}", *(str(path) for path in sorted(pyenv.glob(f"{version}.*/bin/python")))]
    for candidate in candidates:
        program = shutil.which(candidate)
        test = "import ensurepip, sys, venv; sys.exit('%d.%d' % sys.version_info[:2] != sys.argv[1])"
        if program and subprocess.run([program, "-c", test, version], capture_output=True).returncode == 0:
            return program
    raise NotInstalledError(f"no Python {version} here")


def _call(words: list[str]) -> None:
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.splitlines() or ["no word of why"]
        raise NotInstalledError(lines[-1].removeprefix("ERROR: "))

"""The rules of the house, as far as a test can hold them: sizes, floors at run time, words, documents, the package itself."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "edgekit"
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = [ROOT / name for name in ("scripts/test", "scripts/demo", "scripts/lock", "scripts/jetson_image.sh", ".ci/run")]

FILE_LINES_MAX = 300
WING_LINES_MAX = 8_600
INSTALL_BYTES_MAX = 350_000_000

# Never loaded by `edgekit --help`: they cost most of a second together.
HEAVY = {"numpy", "onnx", "onnxruntime", "ai_edge_litert", "paramiko", "rich", "msgspec", "PIL", "flatbuffers"}

# Spelt in pieces, so that this file passes its own test.
FORBIDDEN = [
    "/" + "work/",
    "/" + "root/",
    "/" + "farm/",
    "py" + "pi.org",
    "python" + "hosted",
    "TO" + "DO",
    "FIX" + "ME",
    "no" + "qa: F401",
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def written_files() -> list[Path]:
    """Return every text file people write here: not what tools, builds and other checkouts leave."""
    folders = ["edgekit", "targets", "tests", "scripts", "docs", "examples", "bench", ".ci", "requirements"]
    found = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    found += [path for path in ROOT.iterdir() if path.is_file() and path.suffix in {".md", ".toml", ".yaml"}]
    texts = {".py", ".sh", ".toml", ".txt", ".md", ".yaml", ".yml", ".json", ""}
    return sorted(path for path in found if path.suffix in texts)


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES_MAX, "two ideas: split it"
    assert ast.get_docstring(ast.parse(text)), "a module opens with what lives here and who calls it"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "scripts").glob("*.py")), ids=relative)
def test_tests_and_scripts_are_short_too(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= FILE_LINES_MAX


def test_the_wing_is_small() -> None:
    lines = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (PACKAGE / "ondevice").rglob("*.py"))
    assert lines <= WING_LINES_MAX


@pytest.mark.parametrize("path", sorted((PACKAGE / "ondevice").rglob("*.py")), ids=relative)
def test_the_wing_loads_with_the_standard_library_alone(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    for statement in tree.body:
        names = [alias.name for alias in statement.names] if isinstance(statement, ast.Import) else []
        if isinstance(statement, ast.ImportFrom):
            assert statement.level <= len(path.relative_to(PACKAGE / "ondevice").parts), "a relative import that leaves the wing"
            names = [statement.module or ""] if statement.level == 0 else []
        for name in names:
            assert name.startswith("edgekit.ondevice") or name.partition(".")[0] in sys.stdlib_module_names, name


def exported(path: Path) -> set[str] | None:
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and [ast.unparse(target) for target in statement.targets] == ["__all__"]:
            return set(ast.literal_eval(statement.value))
    return None


def module_file(dotted: str) -> Path:
    path = ROOT.joinpath(*dotted.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_what_others_import_stands_in_dunder_all(path: Path) -> None:
    """That the names in ``__all__`` exist is ruff's to say (F822)."""
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").partition(".")[0] == "edgekit":
            source = module_file(statement.module or "")
            for name in [alias.name for alias in statement.names]:
                if module_file(f"{statement.module}.{name}").is_file() or name.startswith("__"):
                    continue
                assert name in (exported(source) or ()), f"{name} is imported from {relative(source)} but is not in its __all__"


def test_help_loads_no_heavy_package() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgekit", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "click" in loaded, "the listing was not understood"
    assert not loaded & HEAVY


def test_nobody_wrote_a_machine_or_an_errand_into_the_project() -> None:
    found = []
    for path in written_files():
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{relative(path)}: {word}" for word in FORBIDDEN if word in text]
    assert not found


def dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [Requirement(line) for line in project["dependencies"]]


def pins(lock: str) -> list[Requirement]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    return [Requirement(line.removesuffix("\\").strip()) for line in text.splitlines() if re.match(r"[a-z0-9]", line)]


@pytest.mark.parametrize("name", sorted(requirement.name for requirement in dependencies()))
def test_every_dependency_is_argued_for(name: str) -> None:
    assert f"| `{name}` |" in (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")


def test_the_lock_holds_what_pyproject_asks_for() -> None:
    locked: dict[str, list[Requirement]] = {}
    for pin in pins("runtime"):
        locked.setdefault(canonicalize_name(pin.name), []).append(pin)
    for wanted in dependencies():
        versions = [next(iter(pin.specifier)).version for pin in locked.get(canonicalize_name(wanted.name), [])]
        assert versions, f"{wanted.name} is not in the lock; fix: scripts/lock"
        assert all(wanted.specifier.contains(version) for version in versions), f"{wanted} is not {versions}; fix: scripts/lock"


@pytest.mark.parametrize("lock", ["runtime", "check", "dev", "jetson-cuda12", "jetson-cuda13"])
def test_locks_are_hashed_and_place_free(lock: str) -> None:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    assert "://" not in text
    assert not re.search(r"^--(index|extra|find|trusted)", text, re.MULTILINE)
    entries = re.split(r"\n(?=[a-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries if not entry.startswith("#"))


def test_the_default_install_is_light() -> None:
    """Under 350 MB, and neither TensorFlow nor PyTorch: what the locked packages occupy, as their own records list it."""
    names = {canonicalize_name(pin.name) for pin in pins("runtime") if pin.marker is None or pin.marker.evaluate()}
    assert not names & {"tensorflow", "tensorflow-cpu", "torch", "tensorrt", "jax"}
    size = 0
    for name in names:
        for file in importlib.metadata.distribution(name).files or []:
            path = Path(str(file.locate()))
            size += path.stat().st_size if path.is_file() else 0
    assert 100_000_000 < size < INSTALL_BYTES_MAX


@pytest.mark.parametrize("script", SCRIPTS, ids=relative)
def test_script_is_executable_and_parses(script: Path) -> None:
    assert os.access(script, os.X_OK)
    shell = "bash" if "bash" in script.read_text(encoding="utf-8").splitlines()[0] else "sh"
    subprocess.run([shell, "-n", str(script)], check=True)


def test_the_wheel_carries_its_data_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    expected = {f"edgekit/_data/{relative(path)}" for path in (ROOT / "targets").glob("*.toml")}
    assert expected
    assert expected <= names
    assert {"edgekit/__main__.py", "edgekit/py.typed", "edgekit/_data/calibration/demo/edgekit.toml"} <= names
    assert {"edgekit/pages/page.html", "edgekit/pages/page.css"} <= names
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"edgekit"}

"""What every test gets: a home of its own, the test data, and the rule that a required tier may not be skipped.

Runs on Python 3.8 too, where the device wing's tests run.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Generator, Iterator

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
TIERS = ("sshd", "tflite214", "tensorrt", "models", "netns", "fleet", "cluster", "arm64", "browser", "vm", "hardware")

# Read before the home is moved away.
_MADE_DATA = Path(os.environ.get("EDGEKIT_MADE_DATA") or Path.home() / ".cache" / "edgekit-test-data")
_SHARED_DATA = Path(os.environ.get("EDGEKIT_TEST_DATA") or ROOT.parent / "shared" / "data")
_REQUIRED = frozenset(os.environ.get("EDGEKIT_REQUIRE_TIERS", "").replace(",", " ").split())
_FOR_TESTS = frozenset(
    {
        "EDGEKIT_CLUSTER_PYTHON",
        "EDGEKIT_MADE_DATA",
        "EDGEKIT_PYTHON",
        "EDGEKIT_REQUIRE_TIERS",
        "EDGEKIT_TENSORRT_RTX_PYTHON",
        "EDGEKIT_TEST_DATA",
        "EDGEKIT_TFLITE_RUNTIME_PYTHON",
        "EDGEKIT_VENV",
    }
)

# A slow machine is no failure. In CI the examples are the same each time, so that red means the change, not the dice.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def _isolate(patch: pytest.MonkeyPatch, home: Path) -> None:
    for name in [n for n in os.environ if n.startswith("EDGEKIT_") and n not in _FOR_TESTS]:
        patch.delenv(name)
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE", "SSH_AUTH_SOCK", "XDG_CONFIG_DIRS", "XDG_DATA_DIRS"):
        patch.delenv(name, raising=False)
    folders = {"CONFIG": ".config", "CACHE": ".cache", "DATA": ".local/share", "STATE": ".local/state", "RUNTIME": ".run"}
    for word, below in folders.items():
        variable = f"XDG_{word}_DIR" if word == "RUNTIME" else f"XDG_{word}_HOME"
        folder = home / below
        folder.mkdir(parents=True, mode=0o700)
        patch.setenv(variable, str(folder))
    # The shims of pyenv look below the home they were installed in.
    if "PYENV_ROOT" not in os.environ and (Path.home() / ".pyenv").is_dir():
        patch.setenv("PYENV_ROOT", str(Path.home() / ".pyenv"))
    patch.setenv("HOME", str(home))
    patch.setenv("NO_COLOR", "1")
    patch.setenv("COLUMNS", "120")
    patch.setenv("TERM", "dumb")


@pytest.fixture(scope="session", autouse=True)
def _isolated_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Wider fixtures (servers, built bundles) also stay out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        _isolate(patch, tmp_path_factory.mktemp("home"))
        yield


@pytest.fixture(autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test an empty home: no config, no cache, no colour, no ``EDGEKIT_*`` of the user's."""
    folder: Path = tmp_path_factory.mktemp("home")
    _isolate(monkeypatch, folder)
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Models and sample sets that are too big for the repository."""
    if not (_SHARED_DATA / "manifest.json").is_file():
        pytest.skip("no test data: set EDGEKIT_TEST_DATA to a folder with its manifest.json")
    return _SHARED_DATA


@pytest.fixture(scope="session")
def made_data() -> Path:
    """Bigger models, made once per machine."""
    if not _MADE_DATA.is_dir():
        pytest.skip("no made data: set EDGEKIT_MADE_DATA, or put it in ~/.cache/edgekit-test-data")
    return _MADE_DATA


def pytest_configure(config: pytest.Config) -> None:
    if unknown := _REQUIRED - set(TIERS):
        raise pytest.UsageError(f"EDGEKIT_REQUIRE_TIERS names unknown tiers: {', '.join(sorted(unknown))}")
    config.pluginmanager.register(_RequiredTiers(), "edgekit-required-tiers")


class _RequiredTiers:
    """A tier named in EDGEKIT_REQUIRE_TIERS that is skipped, or has no test that ran, fails the session."""

    def __init__(self) -> None:
        self.ran: set[str] = set()

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        report = (yield).get_result()
        tiers = _REQUIRED.intersection(mark.name for mark in item.iter_markers())
        if tiers and report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            report.outcome = "failed"
            report.longrepr = f"the tier {', '.join(sorted(tiers))} is required here and was skipped: {reason}"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self.ran.update(_REQUIRED.intersection(report.keywords))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.missing(session.config) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        for tier in self.missing(config):
            terminalreporter.write_line(f"FAILED: no test of the required tier {tier!r} ran", red=True)

    def missing(self, config: pytest.Config) -> list[str]:
        is_worker = hasattr(config, "workerinput")
        return [] if is_worker or config.option.collectonly else sorted(_REQUIRED - self.ran)

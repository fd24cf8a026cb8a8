"""`edgekit ci` on a board: each outcome has its exit code and its class in the JUnit document, and leaves the board as it was."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekit.device import Address, Device
from edgekit.devices import connect
from edgekit.devices.lease import hold
from edgekit.devices.session import AgentSession
from edgekit.pipeline.ci import Wanted
from edgekit.pipeline.ci import ci as run_ci
from edgekit.pipeline.step import Steps
from edgekit.project import load_project
from tests.integration.command import edgekit
from tests.integration.conftest import Lab, free_port
from tests.integration.test_line import copy_demo
from tests.integration.trial import Trial, ci, judged, project

pytestmark = pytest.mark.sshd

APP = "meter-digits"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    said = edgekit("build", "--target", "local", "--json", cwd=copy_demo(tmp_path_factory.mktemp("built") / "demo"))
    assert said.code == 0, said
    return Path(said.document["bundle"])


@pytest.fixture
def here(tmp_path: Path) -> Device:
    """This machine as a board, without SSH."""
    return Device(name="b1", address=Address(host="local"), python=sys.executable, root=str(tmp_path / "root"))


def current(board: Device) -> str | None:
    link = Path(board.root) / "apps" / APP / "current"
    return link.readlink().name if link.is_symlink() else None


def leased(board: Device) -> bool:
    return (Path(board.root) / "lease.json").exists()


def restored(trial: Trial, board: Device, before: str | None) -> None:
    assert trial.cases["restore"] == trial.cases["release"] == "pass"
    assert current(board) == before
    assert not leased(board)


def test_the_whole_line_on_an_empty_board(here: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds, too; then nothing is current again, the release that was tried is gone, and the history knows."""
    folder = project(tmp_path / "project", here)
    summary = tmp_path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_SHA", "0123abcd")
    trial = ci("--markdown", "run.md", cwd=folder)
    assert trial.said.code == 0, trial
    steps = ["lease", "build", "build: accuracy", "deploy", "accuracy", "accuracy: accuracy", "restore", "release"]
    assert list(trial.cases) == steps
    assert set(trial.cases.values()) == {"pass"}
    restored(trial, here, None)
    assert list((Path(here.root) / "apps" / APP / "releases").iterdir()) == []
    assert trial.cases.properties["revision"] == "0123abcd"
    assert float(trial.cases.properties["accuracy.top1_artifact"]) > 0.97
    text = summary.read_text()
    assert text == (folder / "run.md").read_text()
    assert text.index("every gate passed") < text.index("top1"), "the verdict first, the reports below"
    assert "::error" not in trial.said.err
    (report,) = (folder / "build" / "reports").iterdir()
    assert trial.steps["accuracy"]["report"] == str(report)
    found = edgekit("history", APP, "--metric", "accuracy", "--json", cwd=folder).document["points"]
    assert {(point["device"], point["code"], point["revision"]) for point in found} == {("b1", 0, "0123abcd")}


def test_a_failing_budget(here: Device, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project(tmp_path / "project", here)
    before = edgekit("deploy", "b1", "--bundle", str(built), "--json", cwd=folder).document["release"]
    previous = (Path(here.root) / "apps" / APP / "previous").is_symlink()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    trial = ci("--bundle", str(judged(built, tmp_path / "bad", "fail")), cwd=folder)
    assert trial.said.code == 1, trial
    assert trial.cases["accuracy: accuracy"] == "failure"
    assert [name for name, how in trial.cases.items() if how != "pass"] == ["accuracy: accuracy"]
    assert "::error title=edgekit ci%3A accuracy%3A accuracy fail::top-1 changed" in trial.said.err
    restored(trial, here, before)
    assert (Path(here.root) / "apps" / APP / "previous").is_symlink() == previous, "what the board would go back to is as it was, too"
    assert [path.name for path in (Path(here.root) / "apps" / APP / "releases").iterdir()] == [before]


def test_too_few_samples(here: Device, built: Path, tmp_path: Path) -> None:
    trial = ci("--bundle", str(judged(built, tmp_path / "few", "inconclusive")), cwd=project(tmp_path / "project", here))
    assert trial.said.code == 8, trial
    assert trial.cases["accuracy: accuracy"] == "skipped"
    assert "more samples are needed" in trial.cases.messages["accuracy: accuracy"]
    restored(trial, here, None)


def test_an_unreachable_board(lab: Lab, built: Path, tmp_path: Path) -> None:
    trial = ci("--bundle", str(built), cwd=project(tmp_path / "project", lab.device(free_port())))
    assert trial.said.code == 5, trial
    assert trial.cases["lease"] == "error"
    assert {how for name, how in trial.cases.items() if name != "lease"} == {"skipped"}
    assert [retry["error"] for retry in trial.steps["lease"]["retries"]] == ["DeviceError"], "tried again, as often as was allowed"


def test_busy_boards(lab: Lab, built: Path, tmp_path: Path) -> None:
    """Somebody has the first, nobody answers at the second: it waits, gives up, and says who; a third that is free is taken at once."""
    boards = [
        lab.device(lab.serve().port, python=sys.executable),
        lab.device(free_port()),
        lab.device(lab.serve().port, python=sys.executable),
    ]
    with connect(boards[0]) as connection, AgentSession(connection, boards[0]) as session:
        session.job("lease.take", timeout_s=30, token="c" * 32, owner="ann@laptop", reason="measuring", ttl_s=600)
    two = ci("--bundle", str(built), "--target", "local", "--lease-wait", "1s", cwd=project(tmp_path / "two", *boards[:2]))
    assert two.said.code == 9, two
    assert two.cases["lease"] == "error"
    assert "ann@laptop holds the board: measuring" in two.cases.messages["lease"]
    assert two.said.err.count("waiting: ") == 1, "a log says who holds it, once"
    three = ci("--bundle", str(built), "--target", "local", cwd=project(tmp_path / "three", *boards))
    assert (three.said.code, three.said.document["run"]["device"]) == (0, "b3"), three
    restored(three, boards[2], None)


def test_one_run_at_a_time(here: Device, built: Path, tmp_path: Path) -> None:
    """Another run of the very same user has the board."""
    with hold(here, reason="another run", for_s=60):
        trial = ci("--bundle", str(built), cwd=project(tmp_path / "project", here))
    assert trial.said.code == 9, trial
    assert "another edgekit of yours is at work on it" in trial.cases.messages["lease"]
    assert not leased(here), "it was given back, and the second run took nothing"


def test_a_lease_by_hand_serves_and_no_restore_leaves_the_release(here: Device, built: Path, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", here)
    edgekit("device", "lease", "b1", "--for", "10m", "--reason", "tuning", cwd=folder)
    trial = ci("--bundle", str(built), "--no-restore", cwd=folder)
    assert trial.said.code == 0, trial
    assert trial.cases["restore"] == "skipped"
    assert current(here) == trial.said.document["run"]["release"]
    assert edgekit("device", "lease", "b1", "--json", cwd=folder).document["lease"]["reason"] == "tuning"


def test_two_signals_in_a_row(here: Device, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second comes while the first is written down, before the shield: the board is given back by its step all the same."""
    folder, told = project(tmp_path / "project", here), list[str]()

    def tell(what: str) -> None:
        told.append(what)
        if what == "deploy":
            raise KeyboardInterrupt

    def again(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Steps, "stopped", again)
    with pytest.raises(KeyboardInterrupt):
        run_ci(load_project(folder / "edgekit.toml"), folder, Wanted("b1", bundle=built), tell=tell)
    assert told == ["lease", "bundle", "deploy", "release"]
    assert not leased(here)


def test_nothing_to_run_on(tmp_path: Path) -> None:
    folder = project(tmp_path / "project")
    edgekit("ci", cwd=folder).refused(2, "which device?")
    edgekit("ci", "local", "--probe", "latncy", cwd=folder).refused(2, "latency")
    edgekit("ci", "local", "--junit", "edgekit.toml/junit.xml", cwd=folder).refused(3, "cannot be made")


def test_a_document_that_cannot_be_written_hides_no_verdict(lab: Lab, built: Path, tmp_path: Path) -> None:
    folder = project(tmp_path / "project", lab.device(free_port()))
    name = "j" * 250  # too long for the temporary file that becomes it
    said = edgekit("ci", "--bundle", str(built), "--junit", name, "--json", cwd=folder)
    assert said.code == 5, said
    assert any(f"{name}: cannot be written" in note for note in said.document["run"]["notes"])

"""`edgekit ci` told to stop, or out of time, in each of its phases: what ran before runs again, and the board is free."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import platformdirs
import pytest

from edgekit.bundle import open_bundle
from edgekit.device import Device
from edgekit.errors import InputError
from edgekit.inventory import find_device
from edgekit.pipeline import silent
from edgekit.pipeline.ci import Wanted, ci
from edgekit.pipeline.crew import one_board
from edgekit.pipeline.deploy import deploy
from edgekit.pipeline.probation import begin, put_back
from edgekit.project import load_project
from edgekit.report import decode_report
from edgekit.runs.run import exit_code
from tests.integration.deployment import Place, place
from tests.integration.trial import Trial, killed, project, stopped

pytestmark = pytest.mark.sshd

SLOW = 'case "$(tail -c 1 model.tflite)" in 2) sleep 30;; esac'


@pytest.fixture
def there(board: Device, tmp_path: Path) -> Place:
    """A board on which release 1 runs."""
    return place(board, tmp_path / "project")


def ready(there: Place, *, restart: str = "exit 0", check: str = "exit 0", probe: str = "latency", **terms: object) -> tuple[str, str]:
    """Deploy release 1; returns its name, and the bundle of release 2, whose hooks are these."""
    there.project(restart=restart, check=check)
    lines = ["[ci]", f'probes = ["{probe}"]', "retries = 0", *(f"{key} = {value}" for key, value in terms.items())]
    lines += ["[probe.latency]", "min_time_s = 60.0", "[probe.soak]", "minutes = 10.0", "window_s = 0.1"]
    with (there.folder / "edgekit.toml").open("a") as file:
        file.write("\n" + "\n".join(lines) + "\n")
    project = load_project(there.folder / "edgekit.toml")
    with open_bundle(Path(there.bundle(1))) as first:
        deploy(first, find_device(project, "board"), terms=project.deploy, folder=there.folder)
        return first.digest, there.bundle(2)


def links(there: Place) -> dict[str, str | None]:
    app = there.root / "apps" / "meter"
    return {name: (app / name).readlink().name if (app / name).is_symlink() else None for name in ("current", "previous")}


def as_before(there: Place, trial: Trial, release: str) -> None:
    assert links(there) == {"current": release, "previous": None}, trial
    assert [path.name for path in (there.root / "apps" / "meter" / "releases").iterdir()] == [release]
    assert not (there.root / "lease.json").exists()
    assert trial.cases["release"] == "pass"


def saw(there: Place, line: str, times: int = 1) -> Callable[[], bool]:
    return lambda: there.hooks().count(line) == times


def wrote(there: Place, word: bytes, times: int) -> Callable[[], bool]:
    journal = there.root / "apps" / "meter" / "journal"
    return lambda: journal.read_bytes().count(b'"event": "%s"' % word) == times


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=lambda by: by.name)
def test_in_the_deployment(there: Place, by: signal.Signals) -> None:
    """The check hook of release 2 hangs: it is current, and not proven."""
    release, bundle = ready(there, check=SLOW)
    trial = stopped("board", "--bundle", bundle, cwd=there.folder, when=saw(there, "check 2"), by=by)
    assert trial.said.code == {signal.SIGINT: 130, signal.SIGTERM: 143}[by]
    assert (trial.cases["deploy"], trial.cases["latency"], trial.cases["restore"]) == ("error", "skipped", "pass")
    as_before(there, trial, release)


@pytest.mark.parametrize("phase", ["lease", "build"])
def test_before_anything_is_sent(phase: str, board: Device, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, lease, scratch = project(tmp_path / "project", board), Path(board.root) / "lease.json", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    trial = stopped(cwd=folder, when=lambda: lease.exists() if phase == "lease" else any(scratch.glob("edgekit-build-*")))
    assert trial.said.code == 130
    assert phase == "lease" or trial.cases["build"] == "error"
    assert trial.cases["restore"] == "skipped"
    assert not lease.exists(), "a board that was just being taken is free again, too"
    assert not any(scratch.iterdir())


def test_in_a_probe(there: Place) -> None:
    release, bundle = ready(there, probe_timeout_s=777.0)
    lease = there.root / "lease.json"
    trial = stopped("board", "--bundle", bundle, cwd=there.folder, when=lambda: lease.exists() and b'"ttl_s": 897' in lease.read_bytes())
    assert trial.said.code == 130
    assert (trial.cases["deploy"], trial.cases["latency"], trial.cases["restore"]) == ("pass", "error", "pass")
    as_before(there, trial, release)
    assert there.hooks()[-1] == "restart 1", "its program has taken it up again"


def test_in_a_soak_which_keeps_what_came(there: Place) -> None:
    release, path = ready(there, probe="soak")

    def progress(stage: str, done: int, _total: int) -> None:
        if stage == "soak" and done > 800:
            raise KeyboardInterrupt

    project = load_project(there.folder / "edgekit.toml")
    run = ci(project, there.folder, Wanted(device="board", bundle=Path(path)), tell=lambda _: None, progress=progress)
    assert exit_code(run) == 130
    (report,) = (there.folder / "build" / "reports").glob("*-soak-*.json")
    assert "interrupted" in next(verdict.text for verdict in decode_report(report.read_bytes(), "it").verdicts)
    assert links(there) == {"current": release, "previous": None}
    assert not (there.root / "lease.json").exists()


def test_while_it_restores(there: Place) -> None:
    """Release 1 takes seconds to restart: neither Ctrl-C nor SIGTERM breaks that off."""
    release, bundle = ready(there, restart='case "$(tail -c 1 model.tflite)" in 1) sleep 2;; esac', probe_timeout_s=1.0)
    trial = stopped("board", "--bundle", bundle, cwd=there.folder, when=saw(there, "restart 1", 2), again=True)
    assert trial.said.code == 124, "the probe ran out of time, and then it was told to stop"
    assert trial.cases["restore"] == "pass"
    assert any("told to stop" in note for note in trial.said.document["run"]["notes"])
    as_before(there, trial, release)


def test_killed_and_then_out_of_time(there: Place) -> None:
    """The first run is killed while it measures release 2; the second, of release 3, runs out of time, and puts release 1 back."""
    release, bundle = ready(there, probe_timeout_s=777.0)
    killed("board", "--bundle", bundle, cwd=there.folder, when=wrote(there, b"committed", 2))
    assert links(there)["previous"] == release, "release 2 is current"
    toml = there.folder / "edgekit.toml"
    toml.write_text(toml.read_text().replace("777.0", "1.0"))
    trial = stopped("board", "--bundle", there.bundle(3), cwd=there.folder, when=wrote(there, b"committed", 3), by=signal.SIGCONT)
    assert trial.said.code == 124
    assert "latency did not end within 1 s" in trial.cases.messages["latency"]
    as_before(there, trial, release)


def test_a_release_that_is_rolled_out_later_is_there_to_stay(there: Place) -> None:
    """A run is killed while it measures release 2; then release 2 is wanted on the rack: no later run takes it away."""
    _, path = ready(there)
    project = load_project(there.folder / "edgekit.toml")
    device = find_device(project, "board")
    with open_bundle(Path(path)) as second, open_bundle(Path(there.bundle(3))) as third:
        begin(device, second)
        options = {"terms": project.deploy, "folder": there.folder}
        assert one_board(second, device, options, name="0" * 16, doubt=False, progress=silent).code == 0
        assert begin(device, third).current == second.digest


def test_two_runs_that_were_killed(there: Place) -> None:
    """The first while it measured release 2, the second before release 3 came: what ran before is still known to the next one."""
    release, path = ready(there)
    project = load_project(there.folder / "edgekit.toml")
    device = find_device(project, "board")
    with open_bundle(Path(path)) as second, open_bundle(Path(there.bundle(3))) as third:
        begin(device, second)
        deploy(second, device, terms=project.deploy, folder=there.folder)
        begin(device, third)
        before = begin(device, third)
        assert (before.current, before.comes) == (release, (second.digest, third.digest))
        put_back(device, before)
        assert links(there) == {"current": release, "previous": None}


def test_a_note_that_cannot_be_read_stops_a_run_before_anything_is_sent(there: Place) -> None:
    _, path = ready(there)
    device = find_device(load_project(there.folder / "edgekit.toml"), "board")
    with open_bundle(Path(path)) as second:
        begin(device, second)
        (note,) = (platformdirs.user_state_path("edgekit") / "probation").iterdir()
        note.unlink()
        note.mkdir()
        with pytest.raises(InputError, match="cannot be read"):
            begin(device, second)


def test_a_board_that_cannot_go_back_needs_a_person(there: Place) -> None:
    """The restart hook of release 1 fails once release 2 has run."""
    broken = there.folder / "broken"
    _, bundle = ready(
        there, restart=f'case "$(tail -c 1 model.tflite)" in 1) test ! -e {broken};; 2) touch {broken};; esac', probe_timeout_s=1.0
    )
    trial = stopped("board", "--bundle", bundle, cwd=there.folder, when=wrote(there, b"committed", 2), by=signal.SIGCONT)
    assert trial.said.code == 7, "which outweighs the probe's timeout"
    assert (trial.cases["latency"], trial.cases["restore"], trial.cases["release"]) == ("error", "error", "pass")

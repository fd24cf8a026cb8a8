"""The whole line on real input: the shipped demo model, built, deployed over a real sshd, probed, broken and mended."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from edgekit.device import Device
from edgekit.digest import sha256_file
from tests.integration.command import DEMO, edgekit
from tests.integration.conftest import Lab, Sshd

pytestmark = pytest.mark.sshd


def copy_demo(folder: Path, extra: str = "") -> Path:
    """Copy the demo project, so that its folder can be written to."""
    shutil.copytree(DEMO, folder, ignore=shutil.ignore_patterns("build"))
    with (folder / "edgekit.toml").open("a") as file:
        file.write(extra)
    return folder


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The demo, built for this machine and for a Raspberry Pi 4."""
    folder = copy_demo(tmp_path_factory.mktemp("built") / "demo")
    found = {}
    for target in ("local", "rpi4"):
        said = edgekit("build", "--target", target, "--json", cwd=folder)
        assert said.code == 0, said
        found[target] = Path(said.document["bundle"])
    return found


def project_for(board: Device, folder: Path) -> Path:
    """Make a project folder whose only device is the board."""
    address = f"{board.address.user}@{board.address.host}:{board.address.port}"
    section = f'\n[devices.board]\naddress = "{address}"\nroot = "{board.root}"\npython = "{sys.executable}"\n'
    return copy_demo(folder, section)


@pytest.fixture
def project(board: Device, tmp_path: Path) -> Path:
    return project_for(board, tmp_path / "project")


def test_the_whole_way(project: Path, bundles: dict[str, Path]) -> None:
    bundle = str(bundles["local"])
    first = edgekit("deploy", "--bundle", bundle, "--json", cwd=project)
    assert first.code == 0, first
    assert 0 < first.document["bytes_sent"] <= 1.01 * first.document["bytes_total"]
    assert first.document["golden"]["max_diff"] == 0
    assert first.document["stand_in"] is False

    again = edgekit("deploy", "--bundle", bundle, "--json", cwd=project)
    assert again.code == 0, again
    assert again.document["bytes_sent"] < 0.05 * again.document["bytes_total"]

    seen = edgekit("status", "--json", cwd=project).document
    (app,) = seen["apps"]
    assert app["current"] == first.document["release"]
    assert app["whole"] is True

    accuracy = edgekit("probe", "accuracy", "--json", cwd=project)
    assert accuracy.code == 0, accuracy
    figures = {m["name"]: m["value"] for m in accuracy.document["report"]["measurements"]}
    assert figures["top1_artifact"] >= 0.97
    assert figures["disagreement"] < 0.02
    assert Path(accuracy.document["path"]).is_file()


def test_device_and_host_agree_on_every_sample(project: Path, bundles: dict[str, Path]) -> None:
    """The proof made on the host is the one the device repeats."""
    edgekit("deploy", "--bundle", str(bundles["local"]), cwd=project)
    device = edgekit("probe", "accuracy", "--json", cwd=project).document["report"]["measurements"]
    host = edgekit("report", str(bundles["local"]), "--json", cwd=project).document["reports"][0]["report"]["measurements"]
    for name in ("top1_float", "top1_artifact", "disagreement"):
        values = [next(m["value"] for m in side if m["name"] == name) for side in (device, host)]
        assert values[0] == values[1], name


def test_without_labels_the_board_agrees_with_the_host_byte_for_byte(project: Path, bundles: dict[str, Path]) -> None:
    edgekit("deploy", "--bundle", str(bundles["local"]), cwd=project)
    said = edgekit("probe", "agreement", "--samples", "60", "--json", cwd=project)
    assert said.code == 0, said
    figures = {m["name"]: m for m in said.document["report"]["measurements"]}
    assert figures["identical_host"]["value"] == 1.0
    assert figures["agreement_float"]["n"] == 60
    assert figures["agreement_float"]["details"]["low"] > 0.9
    assert figures["sqnr_float"]["value"] > 20
    assert "not accuracy" in said.document["report"]["environment"]["meaning"]


def test_latency_keeps_every_raw_sample(project: Path, bundles: dict[str, Path]) -> None:
    edgekit("deploy", "--bundle", str(bundles["local"]), cwd=project)
    said = edgekit("probe", "latency", "--min-time", "0.3", "--min-count", "700", "--report", "r.json", "--json", cwd=project)
    # A busy machine makes the run invalid (8); then the report must say by which rule.
    assert said.code in (0, 8), said
    report = said.document["report"]
    figures = {m["name"]: m for m in report["measurements"]}
    assert figures["invoke_p50"]["n"] >= 700
    p99 = figures["invoke_p99"]
    assert p99["value"] >= figures["invoke_p50"]["value"]
    # Correlated runs, as on a busy machine, count less: then there is no bound yet, and it says how many more are needed.
    assert p99["details"]["needs"] > 0 if p99["details"]["upper_ms"] is None else p99["details"]["upper_ms"] >= p99["value"]
    assert figures["end_to_end_p50"]["value"] >= figures["invoke_p50"]["value"]
    assert figures["peak_rss"]["value"] > 1
    assert (said.code == 8) == any(v["outcome"] == "invalid" for v in report["verdicts"])
    saved = edgekit("report", "r.json", "--json", cwd=project).document["reports"][0]["report"]
    assert len(saved["samples"]["invoke_ns"]) == figures["invoke_p50"]["n"]


def test_rollback_and_forth(project: Path, bundles: dict[str, Path]) -> None:
    first = edgekit("deploy", "--bundle", str(bundles["local"]), "--json", cwd=project).document["release"]
    edgekit("rollback", cwd=project).refused(6, "error:")
    other = edgekit("deploy", "--bundle", str(bundles["rpi4"]), "--stand-in", "--json", cwd=project).document
    assert other["stand_in"] is True
    assert other["bytes_sent"] < 0.2 * other["bytes_total"], "the model and the golden samples were there"
    back = edgekit("rollback", "--json", cwd=project)
    assert back.code == 0, back
    assert edgekit("status", "--json", cwd=project).document["apps"][0]["current"] == first


def test_a_stand_in_marks_every_figure(project: Path, bundles: dict[str, Path]) -> None:
    edgekit("deploy", "--bundle", str(bundles["rpi4"]), "--stand-in", cwd=project)
    said = edgekit("probe", "latency", "--min-time", "0.1", "--min-count", "30", "--json", cwd=project)
    assert said.code == 8, said
    assert said.document["report"]["simulated"] is True
    assert {m["rule"] for m in said.document["report"]["measurements"] if m["unit"] == "ms"} == {"simulated"}


class TestRefusals:
    """Each failure has its exit code and message, and the running release goes on."""

    def still_works(self, project: Path, release: str) -> None:
        (app,) = edgekit("status", "--json", cwd=project).document["apps"]
        assert (app["current"], app["whole"]) == (release, True)
        assert edgekit("probe", "accuracy", cwd=project).code == 0

    @pytest.fixture
    def release(self, project: Path, bundles: dict[str, Path]) -> str:
        release: str = edgekit("deploy", "--bundle", str(bundles["local"]), "--json", cwd=project).document["release"]
        return release

    def test_flipped_byte(self, project: Path, bundles: dict[str, Path], release: str) -> None:
        data = bytearray(bundles["rpi4"].read_bytes())
        data[data.index(b"TFL3") + 5000] ^= 1
        bad = project / "bad.edge"
        bad.write_bytes(data)
        edgekit("deploy", "--bundle", str(bad), "--stand-in", cwd=project).refused(3, "damaged: model.tflite")
        edgekit("inspect", "--verify", str(bad), cwd=project).refused(3, "damaged: model.tflite")
        self.still_works(project, release)

    def test_flipped_byte_on_the_device_is_seen_and_mended(
        self, project: Path, bundles: dict[str, Path], release: str, board: Device
    ) -> None:
        model = Path(board.root) / "apps" / "meter-digits" / "current" / "model.tflite"
        data = bytearray(model.read_bytes())
        data[5000] ^= 1
        model.chmod(0o644)
        model.write_bytes(data)
        (app,) = edgekit("status", "--json", cwd=project).document["apps"]
        assert app["whole"] is False
        mended = edgekit("deploy", "--bundle", str(bundles["local"]), "--json", cwd=project)
        assert mended.code == 0, mended
        assert 0 < mended.document["bytes_sent"] <= 1.01 * len(data), "only the damaged file travels"
        self.still_works(project, release)

    def test_wrong_machine(self, project: Path, bundles: dict[str, Path], release: str) -> None:
        edgekit("deploy", "--bundle", str(bundles["rpi4"]), cwd=project).refused(
            6, "aarch64 or armv7l", "nothing of the release was sent", "--stand-in"
        )
        self.still_works(project, release)

    def test_unknown_host_key(self, project: Path, bundles: dict[str, Path], lab: Lab) -> None:
        stranger = lab.serve(known=False)
        words = ("deploy", f"{lab.device(stranger.port).address}", "--bundle", str(bundles["local"]))
        edgekit(*words, cwd=project).refused(5, "SHA256:", "known_hosts")

    def test_connection_killed_in_mid_transfer(
        self, project: Path, bundles: dict[str, Path], release: str, lab: Lab, sshd: Sshd, board: Device, tmp_path: Path
    ) -> None:
        relay = lab.relay(sshd)
        relay.hang_up_after = 150_000
        cut = project_for(Device(name="board", address=lab.device(relay.port).address, root=board.root), tmp_path / "cut")
        fresh = edgekit("deploy", "--root", str(tmp_path / "empty"), "--bundle", str(bundles["local"]), "--json", cwd=cut)
        assert fresh.code == 0, "the link is made again, and the deployment goes on"
        assert relay.passed > 150_000
        self.still_works(project, release)

    @pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="a small disk of its own needs root and unshare")
    def test_full_disk(self, bundles: dict[str, Path], lab: Lab, tmp_path: Path) -> None:
        small = tmp_path / "small"
        small.mkdir()
        # In a mount namespace that ends with the server: nothing stays mounted.
        server = lab.serve(within=["unshare", "--mount", "sh", "-c", f'mount -t tmpfs -o size=4m,mode=700 none {small} && exec "$@"', "sh"])
        project = project_for(lab.device(server.port, root=small), tmp_path / "project")
        edgekit("deploy", "--bundle", str(bundles["local"]), cwd=project).refused(6, "MiB free", "nothing was sent")

    def test_nothing_deployed(self, project: Path) -> None:
        edgekit("probe", "latency", cwd=project).refused(2, "nothing is deployed", "edgekit deploy")

    def test_another_evaluation_set(self, project: Path, release: str) -> None:
        toml = project / "edgekit.toml"
        toml.write_text(toml.read_text().replace('dataset = "evaluation.npz"', 'dataset = "evaluation.npz"\nskip = 1'))
        edgekit("probe", "accuracy", cwd=project).refused(3, "not the evaluation set")


def test_same_inputs_same_bundle(bundles: dict[str, Path], tmp_path: Path) -> None:
    folder = copy_demo(tmp_path / "demo")
    said = edgekit("build", "--target", "rpi4", "--json", cwd=folder)
    again = Path(said.document["bundle"])
    assert again.name == bundles["rpi4"].name
    assert sha256_file(again) == sha256_file(bundles["rpi4"])

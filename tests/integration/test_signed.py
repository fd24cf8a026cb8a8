"""Signed releases on a real device, from the build to the way back: who is taken, what is refused, what the board says of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from edgekit.bundle import open_bundle, write_bundle
from tests.integration.command import DEMO
from tests.unit.cli.commands import run
from tests.unit.keys import allow, make_key


class Bench:
    """A project whose board is this machine, two releases of one application, and three people's keys."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder / "project", folder / "root"
        shutil.copytree(DEMO, self.folder, ignore=shutil.ignore_patterns("build"))
        with (self.folder / "edgekit.toml").open("a") as file:
            file.write(f'\n[devices.board]\naddress = "local"\nroot = "{self.root}"\npython = "{sys.executable}"\n')
        for name in ("anna", "bert", "eve"):
            make_key(self.folder, name)
        self.allow("anna", "bert")
        self.old = self.run("build", "--target", "local").path("bundle")
        with open_bundle(self.old) as bundle:
            manifest = msgspec.structs.replace(bundle.manifest, threads=bundle.manifest.threads + 1)
            self.new = write_bundle(manifest, {entry.path: bundle.read(entry.path) for entry in manifest.files}, folder)

    def allow(self, *names: str) -> None:
        allow(self.folder, **{name: self.folder / name for name in names})

    def run(self, *words: str) -> Answer:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.folder)
            return Answer(*run(patch, *words, "--json"))

    def deploy(self, bundle: Path, *words: str) -> Answer:
        return self.run("deploy", "board", "--bundle", str(bundle), *words)

    def sign(self, bundle: Path, who: str, serial: int) -> None:
        assert self.run("sign", str(bundle), "--key", who, "--serial", str(serial)).code == 0

    def trust(self, *words: str) -> None:
        assert self.run("device", "trust", "board", "--allowed-signers", "allowed_signers", *words).code == 0

    def app(self) -> dict[str, object]:
        (found,) = self.run("status", "board").document["apps"]
        return dict(found)


class Answer:
    def __init__(self, text: str, code: int) -> None:
        self.document, self.code = json.loads(text), code

    def path(self, key: str) -> Path:
        assert self.code == 0, self.document
        return Path(self.document[key])

    def refused(self, code: int, words: Sequence[str]) -> None:
        assert self.code == code, self.document
        assert all(word in json.dumps(self.document["error"]) for word in words), self.document


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("bench"))


def test_from_the_first_signature_to_the_way_back(bench: Bench) -> None:
    bench.trust("--require-signature")
    bench.deploy(bench.old).refused(6, ["not signed", "nothing of the release was sent", "edgekit sign"])
    bench.sign(bench.old, "eve", 7)
    bench.deploy(bench.old).refused(6, ["not among the allowed signers"])
    bench.deploy(bench.old, "--allowed-signers", "allowed_signers").refused(3, ["not among the allowed signers"])
    assert not (bench.root / "apps").exists()
    assert not list((bench.root / "blobs").rglob("*"))

    bench.sign(bench.old, "anna", 7)
    first = bench.deploy(bench.old, "--allowed-signers", "allowed_signers")
    assert first.code == 0, first.document
    assert (first.document["signer"], first.document["serial"]) == ("anna", 7)
    assert (bench.app()["signer"], bench.app()["serial"], bench.app()["untrusted"]) == ("anna", 7, None)

    bench.sign(bench.new, "bert", 8)
    assert bench.deploy(bench.new).code == 0
    bench.deploy(bench.old).refused(6, ["older than what ran: serial 7 < 8", "rollback"])
    bench.sign(bench.old, "anna", 8)
    bench.deploy(bench.old).refused(6, ["serial 8 was release"])

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(bench.folder)
        shown = run(patch, "status", "board")[0]
        assert "by bert, 8" in shown
    assert bench.run("rollback", "board").code == 0
    assert bench.app()["current"] == first.document["release"]
    assert "serial 7 < 8" in str(bench.app()["untrusted"])
    assert bench.deploy(bench.new).code == 0  # the newest may come again

    bench.allow("anna")  # bert's key is lost
    bench.trust()
    assert "not among the allowed signers" in str(bench.app()["untrusted"])
    assert bench.app()["whole"] is True
    bench.sign(bench.new, "anna", 9)
    assert bench.deploy(bench.new).document["signer"] == "anna"
    assert (bench.app()["signer"], bench.app()["serial"], bench.app()["untrusted"]) == ("anna", 9, None)

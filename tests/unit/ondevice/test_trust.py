"""Trust on the device: who may sign, what policy asks, and that an old release does not come back."""

from __future__ import annotations

import base64
import errno
import json
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgekit.ondevice import disk, journal, trust
from edgekit.ondevice.wire import AgentError

from .conftest import Agent, bundle, entries

CONTENTS = {"model.tflite": b"weights" * 100, "plan.json": b"{}"}


class Signers:
    """Two keys, of which one is allowed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("anna", "eve"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
        self.allowed = 'anna@lab namespaces="edgekit" ' + (folder / "anna.pub").read_text()

    def sign(self, line: bytes, who: str = "anna", namespace: str = "edgekit") -> bytes:
        words = ["ssh-keygen", "-q", "-Y", "sign", "-f", str(self.folder / who), "-n", namespace]
        return subprocess.run(words, input=line, stdout=subprocess.PIPE, check=True).stdout

    def fields(self, app: str, release: str, serial: int, who: str = "anna") -> dict[str, Any]:
        line = trust.statement(app, release, serial)
        return {
            "app": app,
            "release": release,
            "statement": base64.b64encode(line).decode(),
            "signature": base64.b64encode(self.sign(line, who)).decode(),
        }


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Signers:
    return Signers(tmp_path_factory.mktemp("keys"))


def stage(agent: Agent, contents: dict[str, bytes], **signed: Any) -> str:
    release, files = bundle(contents)
    for data in files.values():
        agent.push(data)
    agent.ask("store.stage", **{"app": "meter", "release": release, "files": entries(files), **signed})
    return release


def test_policy_is_kept_and_shown(each_agent: Agent, signers: Signers) -> None:
    assert each_agent.ask("trust.show") == {"require_signature": False, "allowed_signers": None, "ssh_keygen": shutil.which("ssh-keygen")}
    assert "allowed signers" in each_agent.refuse("trust.set", require_signature=True)["message"]
    each_agent.ask("trust.set", allowed_signers=signers.allowed, require_signature=True)
    shown = each_agent.ask("trust.set", require_signature=None)
    assert (shown["require_signature"], shown["allowed_signers"]) == (True, signers.allowed)
    folder = each_agent.root / "trust"
    assert sorted(path.name for path in folder.iterdir()) == ["allowed_signers", "policy.json"]
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())] == [0o700, 0o600, 0o600]


def test_who_may_and_who_may_not(each_agent: Agent, signers: Signers) -> None:
    release = bundle(CONTENTS)[0]
    good, stranger = signers.fields("meter", release, 7), signers.fields("meter", release, 7, "eve")
    unknown = each_agent.ask("deploy.admit", **stranger)
    assert (unknown["signer"], unknown["serial"], unknown["key"][:7]) == (None, 7, "SHA256:")
    each_agent.ask("trust.set", allowed_signers=signers.allowed)
    assert each_agent.ask("deploy.admit", **good)["signer"] == "anna@lab"
    assert each_agent.ask("deploy.admit", app="meter", release=release) == {"signer": None, "key": None, "serial": None}
    refused = each_agent.refuse("deploy.admit", **stranger)
    assert (refused["kind"], "not among the allowed" in refused["message"]) == ("untrusted", True)
    each_agent.ask("trust.set", require_signature=True)
    assert each_agent.ask("deploy.admit", **good)["signer"] == "anna@lab"
    refused = each_agent.refuse("deploy.admit", app="meter", release=release)
    assert (refused["kind"], "not signed" in refused["message"]) == ("untrusted", True)


@pytest.mark.parametrize("change", [{"app": "valve"}, {"release": "0" * 64}])
def test_a_signature_is_for_one_release_of_one_application(change: dict[str, str], agent: Agent, signers: Signers) -> None:
    agent.ask("trust.set", allowed_signers=signers.allowed)
    refused = agent.refuse("deploy.admit", **{**signers.fields("meter", bundle(CONTENTS)[0], 7), **change})
    assert (refused["kind"], "is for release" in refused["message"]) == ("untrusted", True)


def test_a_signature_for_another_purpose_does_not_count(tmp_path: Path, signers: Signers) -> None:
    line, allowed = trust.statement("meter", "0" * 64, 1), tmp_path / "allowed"
    allowed.write_text(signers.allowed.replace('namespaces="edgekit" ', ""))
    assert trust.verify((line, signers.sign(line)), str(allowed))[0] == "anna@lab"
    for path in (str(allowed), None):
        with pytest.raises(AgentError, match="does not count"):
            trust.verify((line, signers.sign(line, namespace="file")), path)


@pytest.mark.parametrize(("names", "first"), [("anna,bert", "anna"), ("*@lab", "*@lab"), ('"anna"', "anna"), ("!eve,anna", "anna")])
def test_names_may_be_patterns(names: str, first: str, tmp_path: Path, signers: Signers) -> None:
    line, allowed = trust.statement("meter", "0" * 64, 1), tmp_path / "allowed"
    allowed.write_text(names + " " + (signers.folder / "anna.pub").read_text())
    assert trust.verify((line, signers.sign(line)), str(allowed))[0] == first


def test_nothing_is_staged_unsigned_where_policy_forbids(agent: Agent, signers: Signers) -> None:
    release, files = bundle(CONTENTS)
    for data in files.values():
        agent.push(data)
    agent.ask("trust.set", allowed_signers=signers.allowed, require_signature=True)
    for signed in ({}, signers.fields("meter", release, 7, "eve")):
        refused = agent.refuse("store.stage", **{"app": "meter", "release": release, "files": entries(files), **signed})
        assert refused["kind"] == "untrusted"
    assert not (agent.root / "apps").exists()
    assert stage(agent, CONTENTS, **signers.fields("meter", release, 7)) == release
    assert trust.standing(str(agent.root), "meter", release)["signer"] == "anna@lab"


def test_an_older_serial_does_not_come_back(agent: Agent, signers: Signers) -> None:
    root = str(agent.root)
    agent.ask("trust.set", allowed_signers=signers.allowed)
    first, second = bundle(CONTENTS)[0], bundle({"other": b"1"})[0]
    stage(agent, CONTENTS, **signers.fields("meter", first, 7))
    stage(agent, {"other": b"1"}, **signers.fields("meter", second, 8))
    trust.committed(root, "meter", second)
    assert json.loads((agent.root / "apps" / "meter" / "serial").read_bytes()) == {"serial": 8, "release": second}
    refused = agent.refuse("deploy.admit", **signers.fields("meter", first, 7))
    assert (refused["kind"], "serial 7 < 8" in refused["message"], "rollback" in refused["fix"]) == ("untrusted", True, True)
    assert "serial 8 was release" in agent.refuse("deploy.admit", **signers.fields("meter", first, 8))["message"]
    with pytest.raises(AgentError, match="7 < 8"):
        trust.standing(root, "meter", first)
    assert "7 < 8" in trust.describe(root, "meter", first)["untrusted"]
    assert agent.ask("deploy.admit", **signers.fields("meter", second, 8))["serial"] == 8
    assert agent.ask("deploy.admit", **signers.fields("valve", first, 7))["serial"] == 7  # another application's line
    stage(agent, CONTENTS, **signers.fields("meter", first, 9))  # signed again: the staged release takes the newer signature
    trust.committed(root, "meter", first)
    assert trust.describe(root, "meter", first)["serial"] == 9
    trust.committed(root, "meter", first)


def test_only_a_known_signers_serial_counts(agent: Agent, signers: Signers) -> None:
    release = bundle(CONTENTS)[0]
    stage(agent, CONTENTS, **signers.fields("meter", release, trust.SERIAL_MAX, "eve"))
    trust.committed(str(agent.root), "meter", release)
    assert not (agent.root / "apps" / "meter" / "serial").exists()


def test_a_full_disk_does_not_keep_a_serial_from_being_written(agent: Agent, signers: Signers, monkeypatch: pytest.MonkeyPatch) -> None:
    root, release = str(agent.root), bundle(CONTENTS)[0]
    agent.ask("trust.set", allowed_signers=signers.allowed)
    stage(agent, CONTENTS, **signers.fields("meter", release, 7))
    journal.reserve(root, "meter")
    reserve = agent.root / "apps" / "meter" / journal.RESERVE

    def write(path: str, data: bytes) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, "full")
        disk.write_file(path, data)

    monkeypatch.setattr(trust, "write_file", write)
    trust.committed(root, "meter", release)
    assert json.loads((agent.root / "apps" / "meter" / "serial").read_bytes())["serial"] == 7


@pytest.mark.parametrize("text", ["", "{", "[]", '{"require_signature": 1}', '{"require_signature": true, "x": 1}', "x" * 5000])
def test_a_damaged_policy_is_no_policy(text: str, agent: Agent) -> None:
    (agent.root / "trust").mkdir(parents=True)
    (agent.root / "trust" / "policy.json").write_text(text)
    assert agent.refuse("deploy.admit", app="meter", release="0" * 64)["kind"] == "state"


@pytest.mark.parametrize("text", ["", "{}", '{"serial": -1, "release": "%s"}' % ("0" * 64), '{"serial": 1e3}'])
def test_a_damaged_serial_lets_nothing_through(text: str, agent: Agent, signers: Signers) -> None:
    (agent.root / "apps" / "meter").mkdir(parents=True)
    (agent.root / "apps" / "meter" / "serial").write_text(text)
    refused = agent.refuse("deploy.admit", **signers.fields("meter", "0" * 64, 7))
    assert (refused["kind"], "serial" in refused["message"]) == ("state", True)


@pytest.mark.parametrize("program", ["", "echo 'unknown option -- Y' >&2; echo 'usage: ssh-keygen [-q]' >&2; exit 1"])
def test_without_a_fitting_ssh_keygen(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signers: Signers) -> None:
    """A board of before OpenSSH 8.2, or with no client's tools at all; the double is its answer."""
    root = tmp_path / "root"
    (root / "trust").mkdir(parents=True)
    (root / "trust" / "allowed_signers").write_text(signers.allowed)
    fields = signers.fields("meter", "0" * 64, 7)
    monkeypatch.setattr(trust, "find_keygen", lambda: None)
    if program:
        keygen = tmp_path / "ssh-keygen"
        keygen.write_text("#!/bin/sh\n" + program + "\n")
        keygen.chmod(0o755)
        monkeypatch.setattr(trust, "find_keygen", lambda: str(keygen))
    with pytest.raises(AgentError) as caught:
        trust.admit(fields, str(root), lambda *_: None)
    assert (caught.value.kind, "8.2" in str(caught.value.fix)) == ("untrusted", True)


STATEMENTS = [
    b"",
    b"\xff\n",
    b'{"app":"meter"}\n',
    b"[" * 100000,
    trust.statement("meter", "0" * 64, 1).replace(b":", b": ", 1),
    trust.statement("meter", "0" * 64, 1).strip(),
    trust.statement("meter", "0" * 64, 1).replace(b'":1', b'":1.0'),
    trust.statement("meter", "0" * 64, 1).replace(b'":1', b'":NaN'),
    trust.statement("meter", "0" * 64, 1).replace(b'{"app"', b'{"app":"meter","app"'),
    trust.statement("meter", "0" * 64, trust.SERIAL_MAX + 1),
    trust.statement("../x", "0" * 64, 1),
    trust.statement("meter", "0" * 63, 1),
]


@pytest.mark.parametrize("line", STATEMENTS, ids=range(len(STATEMENTS)))
def test_a_statement_has_one_spelling(line: bytes) -> None:
    with pytest.raises(AgentError):
        trust.read_statement(line)


def test_every_flipped_byte_of_what_is_signed_is_refused(tmp_path: Path, signers: Signers) -> None:
    root = tmp_path / "root"
    (root / "trust").mkdir(parents=True)
    (root / "trust" / "allowed_signers").write_text(signers.allowed)
    line = trust.statement("meter", "0" * 64, 7)
    signature = signers.sign(line)
    assert trust.check(str(root), "meter", "0" * 64, (line, signature))["signer"] == "anna@lab"
    answers = {}
    for which, data in enumerate((line, signature)):
        for place in range(len(data)):
            changed = data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :]
            pair = (changed, signature) if which == 0 else (line, changed)
            try:
                trust.check(str(root), "meter", "0" * 64, pair)
            except AgentError as error:
                answers[which, place] = error.kind
    assert answers == {(which, place): "untrusted" for which, data in enumerate((line, signature)) for place in range(len(data))}
    assert [path.name for path in root.iterdir()] == ["trust"]

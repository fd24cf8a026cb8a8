"""``edgekit sign``, ``device trust`` and the signature in ``inspect --verify``, as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.bundles import write_small_bundle
from tests.unit.cli.commands import run
from tests.unit.keys import allow, make_key


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("anna", "eve"):
        make_key(tmp_path, name)
    allow(tmp_path, anna=tmp_path / "anna")
    (tmp_path / "edgekit.toml").write_text(f'[devices.board]\naddress = "local"\nroot = "{tmp_path}/root"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_bundle_is_signed_and_verified(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = str(write_small_bundle(project))
    assert "signature    none" in run(monkeypatch, "inspect", bundle, "--verify")[0].splitlines()
    signed = json.loads(run(monkeypatch, "sign", bundle, "--key", "anna", "--serial", "7", "--json")[0])
    assert (signed["app"], signed["serial"], signed["key"][:7]) == ("meter", 7, "SHA256:")
    assert "serial 7, not verified here" in run(monkeypatch, "inspect", bundle)[0]
    assert "nobody vouches for" in run(monkeypatch, "inspect", bundle, "--verify")[0]
    (project / "edgekit.toml").write_text('[deploy]\nallowed_signers = "allowed_signers"\n')
    text, code = run(monkeypatch, "inspect", bundle, "--verify")
    assert (code, f"by anna, serial 7, key {signed['key']}" in text) == (0, True)
    document = json.loads(run(monkeypatch, "inspect", bundle, "--verify", "--json")[0])
    assert (document["signature"], document["serial"]) == ({"name": "anna", "key": signed["key"], "serial": 7}, 7)
    run(monkeypatch, "sign", bundle, "--key", "eve")
    error = json.loads(run(monkeypatch, "inspect", bundle, "--verify", "--json")[0])["error"]
    assert (error["exit_code"], "not among the allowed signers" in error["message"]) == (3, True)


def test_a_board_is_told_whom_to_believe(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, code = run(monkeypatch, "device", "trust", "board")
    assert (code, "nobody is vouched for" in text) == (0, True)
    error = json.loads(run(monkeypatch, "device", "trust", "board", "--require-signature", "--json")[0])["error"]
    assert (error["exit_code"], error["fix"]) == (2, "name them: --allowed-signers FILE")
    run(monkeypatch, "device", "trust", "board", "--allowed-signers", "allowed_signers", "--require-signature")
    found = json.loads(run(monkeypatch, "device", "trust", "board", "--json")[0])
    assert (found["require_signature"], [one["names"] for one in found["allowed_signers"]]) == (True, ["anna"])
    text, _ = run(monkeypatch, "device", "trust", "board", "--no-require-signature")
    assert "unsigned releases  taken" in text.splitlines()
    (project / "allowed_signers").write_text("nobody\n")
    assert run(monkeypatch, "device", "trust", "board", "--allowed-signers", "allowed_signers") == ("", 3)


def test_a_board_without_ssh_keygen_is_told_so(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board's Python looks for programs where there are none."""
    python = project / "python"
    blind = "import shutil, sys, runpy; shutil.which = lambda *_, **__: None; sys.argv = sys.argv[1:]; "
    blind += "runpy.run_path(sys.argv[0], run_name='__main__')"
    real = sys.executable
    python.write_text(f'#!/bin/sh\nif [ "$1" = -c ]; then exec {real} "$@"; fi\nexec {real} -c "{blind}" "$@"\n')
    python.chmod(0o755)
    with (project / "edgekit.toml").open("a") as file:
        file.write(f'python = "{python}"\n')
    assert "there is no ssh-keygen" in run(monkeypatch, "device", "trust", "board")[0]
    error = json.loads(run(monkeypatch, "device", "trust", "board", "--allowed-signers", "allowed_signers", "--json")[0])["error"]
    assert (error["exit_code"], error["fix"]) == (5, "on the board: sudo apt install openssh-client")

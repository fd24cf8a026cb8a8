"""Signed bundles: what signing adds, what it leaves, and who is believed."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import msgspec
import pytest

from edgekit.bundle import SEAL, damage, open_bundle, write_bundle
from edgekit.digest import sha256_file
from edgekit.errors import InputError
from edgekit.manifest import MANIFEST
from edgekit.ondevice.trust import statement
from edgekit.pipeline.sign import sign
from edgekit.pipeline.trust import read_signers, signer
from edgekit.signature import SIGNATURE, STATEMENT
from tests.unit.bundles import FILES, small_manifest, write_small_bundle
from tests.unit.keys import allow, make_key


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    for name in ("anna", "eve"):
        make_key(folder, name)
    return folder


def test_signing_adds_two_members_and_keeps_the_digest(tmp_path: Path, keys: Path) -> None:
    path = write_small_bundle(tmp_path)
    before = sha256_file(path)
    done = sign(path, keys / "anna", serial=7)
    with open_bundle(path) as bundle:
        assert (bundle.digest, done.serial, bundle.signed and bundle.signed.serial) == (done.release, 7, 7)
        assert bundle.signed
        assert bundle.signed.statement == statement("meter", bundle.digest, 7)
        assert damage(bundle) == []
    with tarfile.open(path) as tar:
        assert tar.getnames() == [MANIFEST, SEAL, STATEMENT, SIGNATURE, *sorted(FILES)]
    again = write_bundle(small_manifest(), FILES, tmp_path)  # a build of the same inputs
    assert (again, sha256_file(again)) == (path, before)


def test_signing_again_replaces(tmp_path: Path, keys: Path) -> None:
    path = write_small_bundle(tmp_path)
    size = path.stat().st_size
    for serial in (7, 8):
        sign(path, keys / "anna", serial=serial)
        with open_bundle(path) as bundle:
            assert bundle.signed
            assert bundle.signed.serial == serial
    assert path.stat().st_size <= size + 10240


def test_a_folder_is_signed_too_and_openssh_agrees(tmp_path: Path, keys: Path) -> None:
    copy = tmp_path / "folder"
    with open_bundle(write_small_bundle(tmp_path)) as bundle:
        shutil.copytree(bundle.folder, copy)
    sign(copy, keys / "anna")
    allowed = allow(tmp_path, anna=keys / "anna")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "anna", "-n", "edgekit", "-s", str(copy / SIGNATURE)]
    subprocess.run(words, input=(copy / STATEMENT).read_bytes(), check=True, capture_output=True)
    with open_bundle(copy) as bundle:
        found = signer(bundle, allowed)
    assert found
    assert found.name == "anna"
    (copy / SIGNATURE).unlink()
    with pytest.raises(InputError, match=r"no release\.json\.sig"), open_bundle(copy):
        pass


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_other_kinds_of_keys(kind: str, tmp_path: Path) -> None:
    key = make_key(tmp_path, "key", kind)
    path = write_small_bundle(tmp_path)
    done = sign(path, key)
    allowed = allow(tmp_path, anna=key)
    with open_bundle(path) as bundle:
        found = signer(bundle, allowed)
    assert found
    assert (found.name, found.key) == ("anna", done.key)
    assert [one.key for one in read_signers(allowed)] == [done.key]


def test_a_certified_key_signs_for_its_authority(tmp_path: Path) -> None:
    authority, key = make_key(tmp_path, "authority"), make_key(tmp_path, "key")
    certify = ["ssh-keygen", "-q", "-s", str(authority), "-I", "anna", "-n", "anna@lab", f"{key}.pub"]
    subprocess.run(certify, check=True, stderr=subprocess.DEVNULL)
    allowed = tmp_path / "allowed"
    allowed.write_text(f'*@lab cert-authority,namespaces="edgekit" {Path(f"{authority}.pub").read_text()}')
    path = write_small_bundle(tmp_path)
    sign(path, Path(f"{key}-cert.pub"))
    with open_bundle(path) as bundle:
        found = signer(bundle, allowed)
        assert found
        assert found.name == "anna@lab"
    sign(path, key)
    with open_bundle(path) as bundle, pytest.raises(InputError, match="not among the allowed signers"):
        signer(bundle, allowed)


def test_a_key_of_the_agent_signs_by_its_public_half(tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "agent"
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.PIPE)
    try:
        assert agent.stdout is not None
        agent.stdout.readline()
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        subprocess.run(["ssh-add", "-q", str(keys / "anna")], check=True, stderr=subprocess.DEVNULL)
        public = shutil.copy(keys / "anna.pub", tmp_path / "anna.pub")
        assert sign(write_small_bundle(tmp_path), Path(public), serial=7).serial == 7
    finally:
        agent.terminate()
        agent.communicate()


@pytest.mark.parametrize("key", ["missing", "secret", "anna.pub"])
def test_a_key_that_does_not_sign(key: str, tmp_path: Path, keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not there; with a passphrase and nobody to ask; a public half without agent."""
    monkeypatch.setenv("SSH_ASKPASS", "/bin/false")
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    make_key(tmp_path, "secret", passphrase="a passphrase")
    shutil.copy(keys / "anna.pub", tmp_path)
    path = write_small_bundle(tmp_path)
    before = sha256_file(path)
    with pytest.raises(InputError, match="did not sign") as caught:
        sign(path, tmp_path / key)
    assert "ssh-agent" in str(caught.value.fix)
    assert sha256_file(path) == before


def test_who_is_believed(tmp_path: Path, keys: Path) -> None:
    path, allowed = write_small_bundle(tmp_path), allow(tmp_path, anna=keys / "anna")
    with open_bundle(path) as bundle:
        assert signer(bundle, allowed) is None
    sign(path, keys / "eve")
    with open_bundle(path) as bundle:
        found = signer(bundle, None)
        assert found
        assert found.name is None
        with pytest.raises(InputError, match="not among the allowed signers"):
            signer(bundle, allowed)


def test_a_signature_of_another_bundle_is_refused(tmp_path: Path, keys: Path) -> None:
    path = write_small_bundle(tmp_path / "a")
    other = write_bundle(msgspec.structs.replace(small_manifest(), name="other"), FILES, tmp_path / "b")
    for one in (path, other):
        sign(one, keys / "anna")
    folder = tmp_path / "folder"
    with open_bundle(path) as bundle:
        shutil.copytree(bundle.folder, folder)
    with open_bundle(other) as bundle:
        for name in (STATEMENT, SIGNATURE):
            shutil.copy(bundle.folder / name, folder / name)
    with pytest.raises(InputError, match="for another bundle: other"), open_bundle(folder):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no key"),
        ("# only words\n", "names no key"),
        ("anna ssh-ed25519 AAAA\n", ":1: no public key"),
        ("ssh-ed25519 KEY\n", ":1: no public key"),
        ("# first\nanna ssh-ed25519 KEY\nanna ssh-rsa KEY\n", ":3: no public key"),
        ("anna ssh-ed25519 KEY\n" * 1000, "more than"),
    ],
)
def test_allowed_signers_that_are_none(text: str, message: str, tmp_path: Path, keys: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(text.replace("KEY", (keys / "anna.pub").read_text().split()[1]))
    with pytest.raises(InputError, match=message):
        read_signers(path)
    with pytest.raises(InputError):
        read_signers(tmp_path / "missing")
    assert [file.name for file in tmp_path.iterdir()] == ["allowed"]

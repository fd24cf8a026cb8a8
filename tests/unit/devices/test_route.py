from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from edgekit.device import Address
from edgekit.devices.route import Route, find_route
from edgekit.errors import InputError


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", str(path))
    monkeypatch.setenv("HOME", str(tmp_path))
    path.touch()
    return path


def _route(text: str) -> Route:
    return find_route(Address.parse(text))


@pytest.mark.usefixtures("config")
def test_without_a_word_in_the_config(tmp_path: Path) -> None:
    route = _route("board")
    assert (route.host, route.port, route.user, route.key_name) == ("board", 22, getpass.getuser(), "board")
    assert route.identity_files == tuple(tmp_path / ".ssh" / name for name in ("id_ed25519", "id_ecdsa", "id_rsa"))
    assert route.known_hosts[0] == tmp_path / ".ssh" / "known_hosts"
    assert Path("/etc/ssh/ssh_known_hosts") in route.known_hosts
    assert (route.identities_only, route.jumps, route.connect_timeout_s) == (False, (), None)


def test_what_the_config_says(config: Path, tmp_path: Path) -> None:
    config.write_text(
        'Host shed-*\n  HostName 10.1.2.3\n  Port 2222\n  User pi\n  IdentityFile ~/k1\n  IdentityFile "/k 2"\n  IdentitiesOnly yes\n'
        "  UserKnownHostsFile ~/kh1 /kh2\n  GlobalKnownHostsFile none\n  ConnectTimeout 7\n  ProxyJump u@one:22,two\n"
    )
    route = _route("shed-7")
    assert (route.host, route.port, route.user) == ("10.1.2.3", 2222, "pi")
    assert route.key_name == "[10.1.2.3]:2222"
    assert route.identity_files == (tmp_path / "k1", Path("/k 2"))
    assert route.identities_only
    assert route.known_hosts == (tmp_path / "kh1", Path("/kh2"))
    assert route.connect_timeout_s == 7
    assert route.jumps == (Address("one", "u", 22), Address("two"))


def test_the_address_comes_first(config: Path) -> None:
    config.write_text("Host board\n  Port 2222\n  User pi\n")
    route = _route("me@board:23")
    assert (route.user, route.port) == ("me", 23)
    assert route.ssh_options() == ["-F", str(config), "-p", "23"]


def test_host_key_alias(config: Path) -> None:
    config.write_text("Host board\n  HostName 10.0.0.7\n  Port 2222\n  HostKeyAlias rack-3\n")
    assert _route("board").key_name == "rack-3"


def test_proxy_command_and_none(config: Path) -> None:
    config.write_text("Host a\n  ProxyCommand nc %h %p\nHost b\n  ProxyJump none\nHost *\n  ProxyJump hop\n")
    assert _route("b").jumps == ()
    assert _route("c").jumps == (Address("hop"),)
    config.write_text("Host a\n  ProxyCommand nc %h %p\n")
    assert _route("a").proxy_command == "nc a 22"


def test_include_stays_in_its_block(config: Path, tmp_path: Path) -> None:
    (tmp_path / ".ssh" / "conf.d").mkdir(parents=True)
    (tmp_path / ".ssh" / "conf.d" / "a.conf").write_text("User one\n")
    config.write_text("Host board\n  Include conf.d/*.conf\nHost *\n  User two\n")
    assert _route("board").user == "one"
    assert _route("other").user == "two"


def test_what_the_address_says_reaches_the_whole_config(config: Path) -> None:
    config.write_text(
        "Match user me\n  HostName 10.0.0.9\nHost board\n  User pi\n  Port 2222\n  ProxyCommand nc -l %r %h %p\n"
        "Match user pi\n  HostName 10.0.0.8\n"
    )
    assert _route("me@board:23").proxy_command == "nc -l me 10.0.0.9 23"
    assert (_route("me@board:23").host, _route("me@board:23").user, _route("me@board:23").port) == ("10.0.0.9", "me", 23)
    assert _route("board").proxy_command == "nc -l pi 10.0.0.8 2222"


@pytest.mark.parametrize("include", ["Include\tmore", "include=more", "INCLUDE = more", "  Include  more"])
def test_include_however_it_is_written(config: Path, tmp_path: Path, include: str) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "more").write_text("User one\n")
    config.write_text(f"{include}\n")
    assert _route("board").user == "one"


def test_tokens_in_known_hosts(config: Path, tmp_path: Path) -> None:
    config.write_text('Host board\n  HostName 10.0.0.7\n  Port 2222\n  UserKnownHostsFile %d/kh-%h-%p-%r "~/100%% of %n"\n')
    assert _route("pi@board").known_hosts[:2] == (tmp_path / "kh-10.0.0.7-2222-pi", tmp_path / "100% of board")


@pytest.mark.parametrize(("time", "seconds"), [("7", 7), ("7s", 7), ("2m", 120), ("1M30", 90), ("1h5s", 3605), ("0", None), ("none", None)])
def test_connect_timeout(config: Path, time: str, seconds: float | None) -> None:
    config.write_text(f"ConnectTimeout {time}\n")
    assert _route("board").connect_timeout_s == seconds


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host *\n  Port ssh\n", "Port 'ssh' is not a number"),
        ("Host *\n  Port 70000\n", "Port '70000' is not a number from 1 to 65535"),
        ("Host *\n  ConnectTimeout 5x\n", "ConnectTimeout '5x' is not a time"),
        ("Host *\n  UserKnownHostsFile ~/%C\n", "edgekit does not know %C"),
        ("Host *\n  UserKnownHostsFile 'a\n", "No closing quotation"),
        ('Host "a\n', "config: "),
        ("Nonsense\n", "config: "),
        ("Include {config}\n", "goes deeper than 16"),
        ("Host *\n  ProxyJump a b\n", "is not a device address"),
    ],
)
def test_what_makes_no_sense(config: Path, text: str, message: str) -> None:
    config.write_text(text.replace("{config}", str(config)))
    with pytest.raises(InputError, match=message):
        _route("board")


def test_named_file_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_SSH_CONFIG", "/nowhere")
    with pytest.raises(InputError, match="EDGEKIT_SSH_CONFIG: /nowhere: no such file"):
        _route("board")

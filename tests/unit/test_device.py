from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.device import Address, Device, Facts
from edgekit.errors import InputError

FACTS: dict[str, Any] = {
    "machine": "aarch64",
    "system": "Debian GNU/Linux 12 (bookworm)",
    "kernel": "6.6.31+rpt-rpi-v8",
    "glibc": "2.36",
    "python": "3.11.2",
    "python_path": "/usr/bin/python3",
    "board": "Raspberry Pi 4 Model B Rev 1.4",
    "cpu": "Cortex-A72",
    "cpu_features": ["fp", "asimd"],
    "cores": 4,
    "memory_total_bytes": 3976990720,
    "memory_available_bytes": 3500000000,
    "disk_free_bytes": 20000000000,
    "runtimes": [{"kind": "tflite", "name": "ai-edge-litert", "version": "2.3.0", "lock": None, "error": None}],
    "numpy": None,
    "sensors": [{"name": "cpu-thermal", "kind": "temperature", "value": 48.2, "unit": "C"}],
    "simulated": False,
}


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("pi@10.0.0.7", Address("10.0.0.7", "pi")),
        ("board", Address("board")),
        ("user@host:2222", Address("host", "user", 2222)),
        ("[::1]:22", Address("::1", None, 22)),
        ("::1", Address("::1")),
        ("pi@[fe80::1%eth0]:2022", Address("fe80::1%eth0", "pi", 2022)),
        ("a@corp@jump-1.example", Address("jump-1.example", "a@corp")),
        ("local", Address("local")),
    ],
)
def test_address(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert str(address) == text


def test_brackets_without_a_port_are_dropped() -> None:
    assert str(Address.parse("pi@[::1]")) == "pi@::1"


def test_local_is_this_machine_only_without_user_and_port() -> None:
    assert Address.parse("local").is_local
    assert not Address.parse("pi@local").is_local
    assert not Address.parse("local:22").is_local
    assert not Address.parse("localhost").is_local


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@host",
        "pi@",
        "pi@host:",
        "pi@host:0",
        "pi@host:65536",
        "pi@host:ssh",
        "-oProxyCommand=x",
        "pi@-x",
        "-l@host",
        "a b",
        "pi@ho st",
        "pi@host\n",
        "[::1",
        "[::1]22",
        "[host]:22",
        "pi@[]:22",
        "host:٢٢",
        "pi@host;reboot",
        "pi;reboot@host",
        "$(reboot)@host",
        "a`b`@host",
        "p\u202ei@host",
        "p\x9bi@host",
        "$(x)@host\x00",
    ],
)
def test_refused_addresses(text: str) -> None:
    with pytest.raises(InputError, match="is not a device address"):
        Address.parse(text)


@given(st.text(max_size=40))
def test_an_address_that_is_accepted_reads_back_the_same(text: str) -> None:
    try:
        address = Address.parse(text)
    except InputError:
        return
    assert Address.parse(str(address)) == address
    assert not str(address).startswith("-")
    assert not any(letter.isspace() for letter in address.host)


@pytest.mark.parametrize("root", ["/var/lib/edgekit", "~/.edgekit", "~/größe x"])
def test_root(root: str) -> None:
    assert Device(name="x", address=Address("local"), root=root).root == root


@pytest.mark.parametrize("root", ["", "/", "~", "~/", "relative", "~root/x", "/a/../etc", "~/../x", "/a\nb"])
def test_refused_roots(root: str) -> None:
    with pytest.raises(InputError, match="root"):
        Device(name="x", address=Address("local"), root=root)


def test_facts_of_a_newer_agent_are_read() -> None:
    facts = msgspec.convert({**FACTS, "npu": "hailo"}, Facts)
    assert facts.runtimes[0].version == "2.3.0"
    assert facts.python_tag == "cp311"
    assert msgspec.json.decode(msgspec.json.encode(facts)) == {**FACTS, "gpu": None, "gpu_error": None, "jetson": None}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cores", 0),
        ("cores", 2.5),
        ("machine", ""),
        ("machine", "x" * 300),
        ("python", "three"),
        ("glibc", "new"),
        ("glibc", "2.36\n"),
        ("glibc", "2.36-x"),
        ("glibc", "2.x"),
        ("python", "3.11.2\n"),
        ("python", "3.11\x1b[2J"),
        ("simulated", "no"),
        ("disk_free_bytes", -1),
        ("sensors", [{}]),
        ("runtimes", [{"kind": "tflite", "name": "x", "version": "1"}] * 65),
        ("board", 4),
    ],
)
def test_refused_facts(key: str, value: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**FACTS, key: value}, Facts)


@pytest.mark.parametrize("key", sorted(FACTS))
def test_facts_are_all_needed(key: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=key):
        msgspec.convert({name: value for name, value in FACTS.items() if name != key}, Facts)


@pytest.mark.parametrize(("version", "tag"), [("3.8.18", "cp38"), ("3.14.0rc1", "cp314"), ("3.13+", "cp313")])
def test_python_tag(version: str, tag: str) -> None:
    assert msgspec.convert({**FACTS, "python": version}, Facts).python_tag == tag


def test_what_lasts_of_the_facts_is_the_same_from_one_moment_to_the_next() -> None:
    later = {**FACTS, "memory_available_bytes": 1, "disk_free_bytes": 2, "sensors": []}
    assert msgspec.convert(later, Facts).lasting == msgspec.convert(FACTS, Facts).lasting
    assert msgspec.convert({**FACTS, "kernel": "6.7"}, Facts).lasting != msgspec.convert(FACTS, Facts).lasting

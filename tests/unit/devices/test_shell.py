from __future__ import annotations

import subprocess

from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.devices.shell import command, quote


@settings(max_examples=60)
@given(st.lists(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])), max_size=5))
def test_a_shell_reads_back_the_words(words: list[str]) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", command(["printf", "%s\\0", *(f"x{word}" for word in words)])],
        capture_output=True,
        check=True,
        env={"HOME": "/home"},
    )
    assert done.stdout == b"".join(f"x{word}\0".encode() for word in words) or (not words and done.stdout == b"\0")


def test_home_is_left_to_the_shell() -> None:
    script = command(["printf", "%s|", "~/", "~/a b", "~/$(x)'", "~", "~root", "a~/b"])
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, env={"HOME": "/home/pi"})
    assert done.stdout == b"/home/pi/|/home/pi/a b|/home/pi/$(x)'|~|~root|a~/b|"


def test_an_empty_word_stays_a_word() -> None:
    assert quote("") == "''"

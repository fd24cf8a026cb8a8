from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.printable import markdown_words, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Gerät №7: 48 °C, 模型", "Gerät №7: 48 °C, 模型"),
        ("\x1b[2Jgone", "\ufffd[2Jgone"),
        ("a\x7fb\x9bc\x00", "a\ufffdb\ufffdc\ufffd"),
        ("user\u202egpj.exe\u2066", "user\ufffdgpj.exe\ufffd"),
        ("one\ntwo\r\tthree\u2028four", "one two  three four"),
        ("\ud800", "\ufffd"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_steers(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words, 3.5 ms", "plain words, 3.5 ms"),
        ("<b>&amp;", "&lt;b&gt;&amp;amp;"),
        ("a|b `c` *d* _e_ [f](g)", "a\\|b \\`c\\` \\*d\\* \\_e\\_ \\[f\\]\\(g\\)"),
        ("@octocat", "@\u200boctocat"),
        ("fixes #12, GH-3", "fixes \\#\u200b12, GH-\u200b3"),
        ("https://x.example www.y.example", "https://\u200bx.example www.\u200by.example"),
        ("a\n\x1b[2J", "a \N{REPLACEMENT CHARACTER}\\[2J"),
    ],
)
def test_words_in_markdown_do_nothing(text: str, shown: str) -> None:
    assert markdown_words(text) == shown

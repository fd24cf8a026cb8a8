"""Markdown for a pull request: verdicts first, the rest folded, and no word of others that does anything."""

from __future__ import annotations

import re

from edgekit.pages.contents import contents
from edgekit.pages.markdown import markdown
from tests.unit.pages.reports import HOSTILE, accuracy_report, build_report, explanation, hostile_report, latency_report, with_words


def test_verdicts_stand_open_and_figures_are_folded() -> None:
    text = markdown(contents([latency_report(), accuracy_report(), build_report(), explanation()]))
    lines = text.splitlines()
    assert lines[0] == "### meter-digits for rpi4 · release 0123456789ab · on gate-07 · 2026-11-24, 18:31 UTC"
    assert lines[2] == "**Of 3 verdicts 1 failed, 1 is inconclusive.**"
    assert lines[6].startswith("| ❌ fail | latency\\_p99 | p99 of invoke is at least 13.600 ms, budget 14 ms |")
    folded = text.index("<details>")
    assert text.index("| ✅ pass | accuracy |") < folded < text.index("| p99 |")
    assert text.count("<details>") == text.count("</details>") == 6


def test_every_table_is_one() -> None:
    text = markdown(contents([latency_report(), accuracy_report(), build_report(), explanation(), hostile_report()]))
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}
        assert len(widths) == 1, block


def test_invalid_stands_beside_its_figures() -> None:
    text = markdown(contents([latency_report(rule="throttled")]))
    assert "**invoke · latency.json** ⚠️ invalid: throttled" in text
    assert "| load ⚠️ invalid: throttled | 9.400 ms |" in text
    assert "| energy ⚠️ invalid: unsupported | none |" in text


def test_words_of_others_do_nothing() -> None:
    text = markdown(contents([hostile_report(), with_words(explanation(), HOSTILE)]))
    assert set(re.findall(r"<[^>]*>", text)) == {"<details>", "</details>", "<summary>", "</summary>"}
    assert not re.search(r"@octocat|#1\b|https://evil|\x1b|\u202e", text)
    assert "\\[2J" in text
    assert not re.search(r"(?<!\\)\$\\\\frac", text), "mathematics would be set"

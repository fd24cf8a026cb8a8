"""The HTML page: everything it is told stands in it as words, it asks for nothing, and it is built as a page should be."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise

import msgspec
import pytest

pytest.importorskip("jinja2", reason="pip install 'edgekit[report]'")
pytest.importorskip("matplotlib", reason="pip install 'edgekit[report]'")

from edgekit.pages.contents import contents
from edgekit.pages.html import html_page
from edgekit.pages.saved import Saved, SavedReport
from edgekit.printable import printable
from tests.unit.pages.reports import (
    HOSTILE,
    accuracy_report,
    build_report,
    comparison,
    explanation,
    hostile_report,
    latency_report,
    sliced_report,
    soak_report,
    with_words,
)

PAGE_BYTES_MAX = 1_000_000
VOID = {"meta", "link", "img", "br", "hr", "input"}

KINDS: dict[str, list[Saved]] = {
    "latency": [latency_report()],
    "throttled": [latency_report(rule="throttled")],
    "simulated": [latency_report(800, rule="simulated", simulated=True)],
    "accuracy": [accuracy_report()],
    "sliced": [sliced_report()],
    "soak": [soak_report(), soak_report(1), soak_report(9000)],
    "build": [build_report()],
    "explanation": [explanation()],
    "comparison": [comparison()],
    "hostile": [hostile_report(), with_words(explanation(), HOSTILE), with_words(comparison(), HOSTILE)],
    "all": [latency_report(900), accuracy_report(), build_report(), explanation()],
}


@dataclass
class Outline(HTMLParser):
    """What a page is made of."""

    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    headings: list[int] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@cache
def outline(name: str) -> tuple[str, Outline]:
    return read(html_page(contents(KINDS[name])).decode())


def read(text: str) -> tuple[str, Outline]:
    found = Outline()
    found.feed(text)
    found.close()
    assert not found.open
    return text, found


@pytest.mark.parametrize("name", KINDS)
def test_a_page_is_well_made_and_asks_for_nothing(name: str) -> None:
    text, found = outline(name)
    assert len(text.encode()) < PAGE_BYTES_MAX
    assert not set(found.tags) & {"script", "iframe", "object", "embed", "img", "form", "base", "foreignobject"}
    assert found.tags["style"] == 1, "a style inside a chart would reach the whole page"
    assert not [name for _, name, _ in found.attributes if name.startswith("on")]
    assert {value for value in found.values("href") if not value.startswith("#")} == {"data:,"}
    assert not found.values("src")
    assert "@import" not in text
    assert set(re.findall(r"url\(([^)]*)\)", text)) <= {f"#{name}" for name in found.values("id")}
    (policy,) = [value for value in found.values("content") if "default-src" in value]
    assert policy.startswith("default-src 'none';")
    assert "script-src" not in policy


@pytest.mark.parametrize("name", KINDS)
def test_a_page_can_be_heard(name: str) -> None:
    _, found = outline(name)
    assert found.headings[0] == 1
    assert found.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(found.headings)), found.headings
    assert [count for count in Counter(found.values("id")).values() if count > 1] == []
    assert {name for value in found.values("aria-labelledby") for name in value.split()} <= set(found.values("id"))
    scopes = [value for tag, name, value in found.attributes if tag == "th" and name == "scope"]
    assert len(scopes) == found.tags["th"]
    assert found.tags["desc"] == found.tags["svg"]
    assert found.tags["title"] == found.tags["svg"] + 1


def test_words_of_others_are_words() -> None:
    """Each stands there as it came, but for what no screen shows; none of it became markup."""
    text, found = outline("hostile")
    shown = printable(HOSTILE)
    said = "".join(found.words)
    assert said.count(shown) > 40
    assert all(sign not in text for sign in ("<script", "<img", "\x1b", "\u202e", "onerror=alert(2)>&{"))
    assert "49" not in found.words, "an expression was evaluated"


@pytest.mark.parametrize("name", ["all", "throttled"])
def test_the_same_reports_give_the_same_bytes(name: str) -> None:
    assert html_page(contents(KINDS[name])).decode() == outline(name)[0]


def test_many_samples_make_no_big_page() -> None:
    """200,000 of each series are what the agent keeps at most."""
    assert len(html_page(contents([latency_report(200_000, spread=0.4), explanation(500)]))) < PAGE_BYTES_MAX


def test_verdicts_come_first_and_the_gravest_first_of_them() -> None:
    text, found = outline("all")
    words = [word.strip() for word in found.words if word.strip()]
    places = [words.index(word) for word in ("fail", "inconclusive", "pass", "Latency", "Over time", "Accuracy", "Layers", "Provenance")]
    assert places == sorted(places)
    assert "Of 3 verdicts 1 failed, 1 is inconclusive." in text


def test_invalid_stands_where_the_figures_stand() -> None:
    """Above each series, in each chart, and beside the one figure that broke a rule of its own."""
    _, found = outline("throttled")
    words = [word.strip() for word in found.words]
    assert words.count("Invalid: throttled") == 4, "two series, their course, and the load time"
    assert words.count("INVALID: throttled") == 6, "three charts, each for a desk and for a phone"
    assert words.count("Invalid: unsupported") == 1


def test_simulated_is_said_at_the_top_and_beside_the_accuracy() -> None:
    report = msgspec.structs.replace(accuracy_report().report, simulated=True, environment={"board": "AMD EPYC"})
    text, _ = read(html_page(contents([SavedReport("accuracy.json", report)])).decode())
    assert "AMD EPYC stands in for rpi4" in text
    assert "INT8, on gate-07 (simulated)" in text


@pytest.mark.parametrize("values", [(0,), (7,), (5, 5, 5, 5), (0, 0, 9), (-3, 4), (1, 10**17), (10**17,) * 3])
def test_any_series_can_be_drawn(values: tuple[int, ...]) -> None:
    report = msgspec.structs.replace(latency_report(20).report, samples={"invoke_ns": values})
    assert b"<svg" in html_page(contents([SavedReport("odd.json", report)]))

"""Pages in a real headless Chromium: no complaint, no request, nothing beside the screen of a phone, words that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.pages.contents import contents
from edgekit.pages.saved import Saved
from tests.integration.browser import Browser, chromium, find_chromium
from tests.unit.pages.reports import HOSTILE, accuracy_report, build_report, explanation, hostile_report, latency_report, with_words

pytestmark = pytest.mark.browser

PAGES: dict[str, list[Saved]] = {
    "all": [latency_report(900), latency_report(300, rule="throttled", simulated=True), accuracy_report(), build_report(), explanation()],
    "hostile": [hostile_report(), with_words(explanation(), HOSTILE)],
    "no samples": [accuracy_report()],
}

# The contrast of each element that holds words of its own with the nearest ground behind it (WCAG 2.2, 1.4.3); the least comes first.
CONTRASTS = """
(() => {
  const parse = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, n) => sum + v * [0.2126, 0.7152, 0.0722][n], 0);
  const ground = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.body.querySelectorAll('*')) {
    const own = [...element.childNodes].some(node => node.nodeType === 3 && node.data.trim());
    if (!own || !element.getClientRects().length || ['title', 'desc'].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const [a, b] = [light(parse(element.tagName === 'text' ? style.fill : style.color)), light(ground(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), element.tagName, element.textContent.trim().slice(0, 40)]);
  }
  return found.sort((x, y) => x[0] - y[0]);
})()
"""
# What reaches beyond the window and is not in a box that scrolls.
OVERFLOW = """
[...document.querySelectorAll('body *')].filter(element => !element.closest('.scroll') && !element.closest('svg')
  && element.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(element => element.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium: apt-get install --no-install-recommends chromium")
    with chromium(executable, tmp_path_factory.mktemp("chromium") / "profile") as found:
        yield found


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("jinja2", reason="pip install 'edgekit[report]'")
    pytest.importorskip("matplotlib", reason="pip install 'edgekit[report]'")
    from edgekit.pages.html import html_page

    folder = tmp_path_factory.mktemp("pages")
    paths = {name: folder / f"{name}.html" for name in PAGES}
    for name, saved in PAGES.items():
        paths[name].write_bytes(html_page(contents(saved)))
    return paths


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_is_calm(name: str, dark: bool, width: int, browser: Browser, pages: dict[str, Path]) -> None:
    url = pages[name].as_uri()
    browser.open(url, width=width, dark=dark)
    assert browser.complaints() == []
    assert [asked for asked in browser.requests() if not asked.startswith("data:,")] == [url]
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    assert browser.evaluate(OVERFLOW) == []
    contrasts = browser.evaluate(CONTRASTS)
    assert len(contrasts) > 20
    assert contrasts[0][0] >= 4.5, contrasts[:5]
    ground = browser.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert ground == ("rgb(18, 22, 25)" if dark else "rgb(255, 255, 255)")


def test_a_chart_is_drawn_for_the_screen_it_is_on(browser: Browser, pages: dict[str, Path]) -> None:
    """Its letters are as large on a phone as on a desk."""
    shown = "[...document.querySelectorAll('figure svg')].filter(svg => svg.getClientRects().length)"
    size = f"Math.min(...{shown}.flatMap(svg => [...svg.querySelectorAll('text')].map(text => text.getBoundingClientRect().height)))"
    drawn = []
    for width in (360, 768, 1280):
        browser.open(pages["all"].as_uri(), width=width)
        assert browser.evaluate(size) >= 9
        drawn.append(browser.evaluate(f"{shown}.length"))
    assert drawn == [6, 6, 6], "three charts of each of two reports"


def test_what_a_hostile_device_says_runs_nowhere(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["hostile"].as_uri(), width=1280)
    assert browser.evaluate("document.querySelectorAll('script, img, iframe, object, form').length") == 0
    assert browser.evaluate("document.body.innerText.split('<script>alert(1)</script>').length") > 20
    assert not [event for event in browser.events if event.get("method") == "Page.javascriptDialogOpening"]


def test_the_browser_complains_and_tells_of_requests(browser: Browser, tmp_path: Path) -> None:
    """The yardstick itself: a page that logs an error, asks for a file and is too wide is seen to."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><p style='width:2000px;color:#999'>x</p><img src='no.png'><script>console.error('oh'); undefined_name()</script>"
    )
    browser.open(page.as_uri(), width=360)
    assert len(browser.complaints()) >= 2
    assert any(asked.endswith("no.png") for asked in browser.requests())
    assert browser.evaluate("document.documentElement.scrollWidth") > 360
    assert browser.evaluate(OVERFLOW)
    assert browser.evaluate(CONTRASTS)[0][0] < 4.5


def test_on_paper_nothing_is_folded(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["all"].as_uri(), width=1280)
    height = "document.querySelector('details').offsetHeight"
    assert 0 < browser.evaluate(height) < 60, "its summary alone"
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.evaluate(height) > 400
    browser.call("Emulation.setEmulatedMedia", media="")

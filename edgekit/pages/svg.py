"""A chart's SVG made part of a page: named for those who hear it, coloured by the page, without what the page has already.

The document comes from ``plot``, so it is parsed without suspicion.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from edgekit.pages.theme import LIGHT

__all__ = ["inline"]

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_FONT = re.compile(r"font-family: [^;]+(; |$)")
_LONG = re.compile(r"(\d+\.\d)\d+")
"""A tenth of a pixel is as fine as it need be drawn."""
_NO_TURN = re.compile(r"^rotate\(-?0 ")


def inline(document: str, key: str, title: str, text: str) -> str:
    """Return an ``<svg>`` element for a page.

    Parameters
    ----------
    key
        Makes the ids of its name and description; unique on the page.
    title, text
        What it shows in a few words, and what there is to see in a sentence.
    """
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    used = {found for element in root.iter() for found in _references(element)}
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        if element.get("id") not in used:
            element.attrib.pop("id", None)
        if href := element.attrib.pop(_HREF, None):
            element.set("href", href)
        if _NO_TURN.match(element.get("transform", "")):
            del element.attrib["transform"]
        for name in ("d", "x", "y", "points"):
            if value := element.get(name):
                element.set(name, _LONG.sub(r"\1", " ".join(value.split())))
        if style := element.get("style"):
            element.set("style", _coloured(style))
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{key}-title {key}-text")
    for place, (tag, words) in enumerate((("title", title), ("desc", text))):
        element = ElementTree.Element(tag, {"id": f"{key}-{'title' if tag == 'title' else 'text'}"})
        element.text = words
        root.insert(place, element)
    return ElementTree.tostring(root, encoding="unicode")


def _references(element: ElementTree.Element) -> list[str]:
    found = [name for value in element.attrib.values() for name in _REFERENCE.findall(value)]
    return [*found, element.get(_HREF, "").removeprefix("#")]


def _coloured(style: str) -> str:
    """Replace the light colours by the page's variables, and let the page choose the font."""
    for name, colour in LIGHT.items():
        style = style.replace(colour, f"var(--{name})")
    return _LONG.sub(r"\1", _FONT.sub("", style))

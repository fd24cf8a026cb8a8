"""The picture of layers: well-formed, in order, to scale, and safe whatever a layer is called."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from edgekit.cli.chart import layer_chart
from edgekit.explanation import Layer, Loss
from edgekit.plan import Precision, Range

SVG = "{http://www.w3.org/2000/svg}"


def layer(place: int, name: str, alone: float | None, whole: float | None, precision: Precision = "int8") -> Layer:
    return Layer(
        place=place,
        name=name,
        op="Conv",
        tensor=name,
        precision=precision,
        why="",
        range=Range(0.0, 1.0, "mse"),
        seen=(0.0, 1.0),
        saturation=0.0,
        alone=Loss(alone, 1.0),
        whole=Loss(whole, 1.0),
        gain_db=None,
    )


def rows(*layers: Layer) -> list[tuple[str, float, float, str]]:
    """Return name, length of the bar, place of the dot and colour of each row, lengths as parts of 60 dB."""
    root = ElementTree.fromstring(layer_chart("net for rpi4", layers))
    found = []
    for group in root.iter(f"{SVG}g"):
        (text,), (bar,), (dot,) = (list(group.iter(f"{SVG}{kind}")) for kind in ("text", "rect", "circle"))
        start, scale = float(bar.attrib["x"]), 520 / 60
        found.append((text.text or "", float(bar.attrib["width"]) / scale, (float(dot.attrib["cx"]) - start) / scale, bar.attrib["fill"]))
    return found


def test_rows_are_in_the_networks_order_and_to_scale() -> None:
    found = rows(layer(1, "second", 12.0, 6.0), layer(0, "first", 36.0, 33.0))
    assert [row[0] for row in found] == ["first", "second"]
    assert [row[1] for row in found] == pytest.approx([36.0, 12.0], abs=0.05)
    assert [row[2] for row in found] == pytest.approx([33.0, 6.0], abs=0.05)


def test_what_has_no_end_ends_at_the_edge() -> None:
    found = rows(layer(0, "kept", None, 90.0, "float32"), layer(1, "lost", -7.0, -3.0))
    assert [row[1] for row in found] == pytest.approx([60.0, 0.0])
    assert [row[2] for row in found] == pytest.approx([60.0, 0.0])
    assert found[0][3] != found[1][3], "what is float looks otherwise"


def test_names_of_any_kind() -> None:
    hostile = '</text><script>alert("x")</script>\x1b[2J&'
    text = layer_chart("a & b <c>", [layer(0, hostile, 30.0, 30.0), layer(1, "/features/" + 20 * "block/" + "Conv_7", 30.0, 30.0)])
    root = ElementTree.fromstring(text)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x1b" not in text
    words = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert "a & b <c>" in words
    assert any(word.startswith("…") and word.endswith("Conv_7") for word in words)
    assert any("block/block/block" in (node.text or "") for node in root.iter(f"{SVG}title")), "a shortened name is whole in its tooltip"


def test_no_layers_are_a_picture_too() -> None:
    assert rows() == []

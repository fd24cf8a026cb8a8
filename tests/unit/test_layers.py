from __future__ import annotations

import contextlib
import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.layers import layer_summary
from edgekit.parse import read_toml

CASES = sorted((Path(__file__).parents[1] / "cases" / "layers").glob("*.toml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_the_layers_of_a_case(case: Path) -> None:
    told = read_toml(case)
    found = layer_summary(told["layers"].encode("utf-8"), case.name)
    assert json.loads(msgspec.json.encode(found)) == told["expected"]
    assert told["origin"].strip()


def test_the_sentence() -> None:
    text = read_toml(next(case for case in CASES if case.stem.startswith("10-")))["layers"]
    assert layer_summary(text.encode(), "x").sentence == (
        "layers: 1 in float16, 1 in int8; 2 reformats: Reformatting CopyNode for Input Tensor 0 to conv, copy to float; "
        "2 Q/DQ not fused: quantize x, copy to int8"
    )


def test_the_sentence_is_bounded() -> None:
    layers = [{"Name": f"{'long' * 100}{number}", "LayerType": "Quantize"} for number in range(500)]
    sentence = layer_summary(json.dumps({"Layers": layers}).encode(), "x").sentence
    assert "and 495 more" in sentence
    assert len(sentence) < 600


def test_raw_control_characters_are_read_as_tensorrt_writes_them() -> None:
    assert layer_summary(b'{"Layers": [{"Name": "a\x1eb", "LayerType": "Quantize"}]}', "x").conversions == ("a\x1eb",)


@pytest.mark.parametrize(
    "data",
    [b"", b"no JSON", b"[]", b"{}", b'{"Layers": 3}', b'{"Layers": [3]}', b'{"Layers": [{"LayerType": "x"}]}', b"[" * 100_000],
)
def test_what_is_no_layer_information_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(InputError, match=r"^board:layers\.json"):
        layer_summary(data, "board:layers.json")


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda part: st.lists(part) | st.dictionaries(st.text(), part))


@given(JSON)
def test_any_json_is_summarised_or_refused(value: object) -> None:
    with contextlib.suppress(InputError):
        found = layer_summary(json.dumps({"Layers": [value]}).encode(), "x")
        assert not found.detailed or sum(found.computing.values()) + len(found.reformats) + len(found.conversions) <= 1

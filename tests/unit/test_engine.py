"""An engine's key: the same on host and board, its name changed by whatever an engine depends on."""

from __future__ import annotations

import msgspec
import pytest

from edgekit.engine import EngineKey, Recipe
from edgekit.ondevice.tensorrt.key import FIELDS, digest_of, key_of, source_of, typing_of

RECIPE = Recipe(precision="mixed", files={"weak": "model.onnx", "strong": "mixed.onnx"}, workspace_mib=512, float32_nodes=("b", "a"))
BOARD = {"tensorrt": "10.3.0.30", "compute_capability": "8.7", "board": "NVIDIA Jetson Orin Nano", "l4t": "36.4.0", "cuda": "12.6"}


def key() -> EngineKey:
    return msgspec.convert(key_of(msgspec.to_builtins(RECIPE), "0" * 64, BOARD), EngineKey)


def test_host_and_board_give_an_engine_one_name() -> None:
    assert key().digest == digest_of(key_of(msgspec.to_builtins(RECIPE), "0" * 64, BOARD))
    assert tuple(EngineKey.__struct_fields__) == FIELDS


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_changes_the_name(field: str) -> None:
    other = {"onnx_sha256": "1" * 64, "precision": "int8", "workspace_mib": None, "dla_core": 0, "float32_nodes": ("a",)}
    changed = msgspec.structs.replace(key(), **{field: other.get(field, "9.9")})
    assert changed.digest != key().digest


def test_other_networks_on_the_same_board_share_a_timing_cache() -> None:
    other = msgspec.structs.replace(key(), onnx_sha256="1" * 64, precision="int8")
    assert other.timing_digest == key().timing_digest
    assert msgspec.structs.replace(key(), l4t="36.3.0").timing_digest != key().timing_digest


def test_from_11_on_the_file_says_all_types() -> None:
    assert [typing_of(version) for version in ("8.5.2.2", "10.13.3", "11.0.0")] == ["weak", "weak", "strong"]
    assert source_of("mixed", "10.3.0") == "model.onnx"
    assert source_of("mixed", "11.4.1") == "mixed.onnx"
    assert source_of("fp16", "8.6.1") == "float.onnx"

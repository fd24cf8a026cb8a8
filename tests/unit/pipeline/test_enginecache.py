"""The host's cache of engines: whole and of the very key, or as good as not there."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from edgekit.digest import sha256_bytes
from edgekit.engine import EngineKey
from edgekit.pipeline.enginecache import ENGINE, FILES, CachedEngine, EngineAccount, EngineCache, FileAccount

KEY = EngineKey(
    onnx_sha256="a" * 64,
    tensorrt="10.3.0.30",
    compute_capability="8.7",
    board="NVIDIA Jetson Orin Nano Developer Kit",
    l4t="36.4.0",
    cuda="12.6",
    precision="mixed",
    workspace_mib=None,
    dla_core=None,
    float32_nodes=(),
)


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "cache")


def store(cache: EngineCache, key: EngineKey = KEY, engine: bytes = b"engine") -> CachedEngine:
    folder = cache.workplace()
    contents = {name: engine if name == ENGINE else name.encode() for name in FILES}
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    files = {name: FileAccount(sha256_bytes(data), len(data)) for name, data in contents.items()}
    return cache.store(EngineAccount(key=key, files=files, seconds=12.5, builder="tensorrt"), folder)


def test_an_engine_is_found_again_by_its_key(cache: EngineCache) -> None:
    stored = store(cache)
    found = cache.find(KEY)
    assert found == stored
    assert found.read(ENGINE) == b"engine"
    assert stat.S_IMODE(found.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("field", "value"),
    [("tensorrt", "10.3.0.31"), ("compute_capability", "7.2"), ("board", "another"), ("l4t", None), ("cuda", "12.2"), ("dla_core", 0)],
)
def test_an_engine_of_another_key_never_stands_in(cache: EngineCache, field: str, value: str | int | None) -> None:
    store(cache)
    assert cache.find(msgspec.structs.replace(KEY, **{field: value})) is None


def test_an_account_moved_to_another_key_is_not_believed(cache: EngineCache) -> None:
    stored = store(cache)
    other = msgspec.structs.replace(KEY, cuda="12.2")
    stored.folder.rename(stored.folder.with_name(other.digest))
    assert cache.find(other) is None


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: b"X" + data[1:], lambda data: b""], ids=["short", "flipped", "empty"]
)
@pytest.mark.parametrize("name", [*FILES, "engine.json"])
def test_a_damaged_engine_is_as_good_as_none_and_is_replaced(cache: EngineCache, name: str, damage: object) -> None:
    path = store(cache).folder / name
    assert callable(damage)
    path.write_bytes(damage(path.read_bytes()))
    assert cache.find(KEY) is None
    store(cache, engine=b"the next")
    found = cache.find(KEY)
    assert found is not None
    assert found.read(ENGINE) == b"the next"


def test_the_oldest_engines_go(cache: EngineCache) -> None:
    keys = [msgspec.structs.replace(KEY, workspace_mib=size) for size in range(1, 36)]
    for key in keys:
        store(cache, key)
    assert cache.find(keys[-1]) is not None
    assert 1 < sum(cache.find(key) is not None for key in keys) < len(keys)


def test_what_boards_have_timed_is_shared_by_networks_on_one_kind_of_board(cache: EngineCache) -> None:
    assert cache.timing(KEY) is None
    cache.store_timing(KEY, b"first")
    cache.store_timing(msgspec.structs.replace(KEY, onnx_sha256="b" * 64, precision="int8"), b"first and second")
    found = cache.timing(KEY)
    assert found is not None
    assert (found.read_bytes(), found.name) == (b"first and second", sha256_bytes(b"first and second"))
    assert len(list(found.parent.iterdir())) == 1
    assert cache.timing(msgspec.structs.replace(KEY, tensorrt="10.7.0")) is None
    found.write_bytes(b"damaged")
    assert cache.timing(KEY) is None

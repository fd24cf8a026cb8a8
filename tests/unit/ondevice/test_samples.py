from __future__ import annotations

import contextlib
import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.ondevice import samples
from edgekit.ondevice.wire import AgentError

np = pytest.importorskip("numpy")

TYPES = ["uint8", "int8", "int64", "float32", "float64", "bool"]


@given(st.lists(st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 5), max_size=4)), max_size=5), st.booleans())
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, kinds: list[tuple[str, list[int]]], labelled: bool) -> None:
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    arrays = [(np.arange(int(np.prod(shape))) % 2).reshape(shape).astype(kind) for kind, shape in kinds]
    assert samples.write(path, iter(arrays), range(len(arrays)) if labelled else None) == len(arrays)
    with samples.Samples(path) as container:
        assert len(container) == len(arrays)
        labels = container.labels()
        assert (labels is None) is not labelled
        assert labels is None or labels.tolist() == list(range(len(arrays)))
    for written, found in zip(arrays, samples.read(path)):
        assert (written.dtype, written.shape) == (found.dtype, found.shape)
        assert np.array_equal(written, found)
    with np.load(path, allow_pickle=False) as plain:  # it is an .npz like any other
        assert len(plain.files) == len(arrays) + labelled


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        samples.write(tmp_path / name, [np.arange(6).reshape(2, 3).T], [1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpys_own_files_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x000000=np.asfortranarray(np.arange(6).reshape(2, 3)), y=np.array([3], np.uint8))
    with samples.Samples(tmp_path / "s.npz") as container:
        assert container[0].tolist() == [[0, 1, 2], [3, 4, 5]]
        labels = container.labels()
        assert labels is not None
        assert (labels.dtype, labels.tolist()) == (np.int64, [3])


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    samples.write(path, [np.zeros(1)])
    old = path.read_bytes()

    def broken() -> Any:
        yield np.zeros(2)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError):
        samples.write(path, broken())
    with pytest.raises(ValueError, match="Object arrays"):
        samples.write(path, [np.array([object()])])
    with pytest.raises(AgentError, match="2 labels for 1"):
        samples.write(path, [np.zeros(2)], [1, 2])
    assert path.read_bytes() == old
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.npz"]


def entry(array: Any, header: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=True)
    data = buffer.getvalue()
    return data.replace(b"(2,), ", header) if header else data


GOOD = entry(np.zeros(2, np.uint8))


@pytest.mark.parametrize(
    ("entries", "compression"),
    [
        ({"x000000.npy": GOOD}, zipfile.ZIP_DEFLATED),
        ({"x000001.npy": GOOD}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD, "z.npy": GOOD}, zipfile.ZIP_STORED),
        ({"../x000000.npy": GOOD}, zipfile.ZIP_STORED),
        ({"x000000.npy": b"no array"}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD[:-1]}, zipfile.ZIP_STORED),
        ({"x000000.npy": entry(np.array([{}], object))}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), }         ", b"(2222222222,), }")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), ", b"(-2,),")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"|u1", b"|O8")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), }", b"(2,),  ")}, zipfile.ZIP_STORED),
    ],
    ids=["compressed", "gap", "other name", "climbing", "no array", "short", "pickle", "huge", "negative", "objects", "open brace"],
)
def test_what_is_no_container_is_refused(tmp_path: Path, entries: dict[str, bytes], compression: int) -> None:
    path = tmp_path / "s.npz"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(AgentError) as refused:
        list(samples.read(path))
    assert refused.value.kind == "input"


@given(st.integers(0, 400), st.binary(min_size=1, max_size=4))
def test_damage_is_refused_or_harmless(tmp_path_factory: pytest.TempPathFactory, place: int, damage: bytes) -> None:
    path = tmp_path_factory.mktemp("samples") / "s.npz"
    samples.write(path, [np.arange(8, dtype=np.uint8)], [1])
    data = bytearray(path.read_bytes())
    data[place : place + len(damage)] = damage
    path.write_bytes(data)
    with contextlib.suppress(AgentError), samples.Samples(path) as container:
        for index in range(len(container)):
            assert container[index].nbytes < 1000
        container.labels()


@pytest.mark.parametrize("labels", [[1.5], [[1]], [1, 2]])
def test_labels_are_one_whole_number_per_sample(tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "s.npz", x000000=np.zeros(1), y=np.array(labels))
    with samples.Samples(tmp_path / "s.npz") as container, pytest.raises(AgentError, match="whole numbers"):
        container.labels()

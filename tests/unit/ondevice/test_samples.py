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
        assert container.arrays == ("x",)
    for written, found in zip(arrays, (sample["x"] for sample in samples.read(path))):
        assert (written.dtype, written.shape) == (found.dtype, found.shape)
        assert np.array_equal(written, found)
    with np.load(path, allow_pickle=False) as plain:  # it is an .npz like any other
        assert len(plain.files) == len(arrays) + labelled


NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)


@given(st.sets(NAMES, min_size=1, max_size=4), st.integers(1, 4))
def test_named_arrays_keep_their_names(tmp_path_factory: pytest.TempPathFactory, names: set[str], count: int) -> None:
    path = tmp_path_factory.mktemp("samples") / "samples.npz"
    written = [{name: np.full(place, index) for place, name in enumerate(sorted(names))} for index in range(count)]
    samples.write(path, written, range(count))
    with samples.Samples(path) as container:
        assert (len(container), container.arrays) == (count, tuple(sorted(names)))
    for wanted, found in zip(written, samples.read(path)):
        assert wanted.keys() == found.keys()
        assert all(np.array_equal(wanted[name], found[name]) for name in names)


@pytest.mark.parametrize("second", [{"ids": np.zeros(2)}, {"ids": np.zeros(2), "mask": np.zeros(2), "more": np.zeros(2)}, np.zeros(2), {}])
def test_all_samples_hold_the_same_arrays(tmp_path: Path, second: Any) -> None:
    with pytest.raises(AgentError, match=r"sample 1 holds the arrays \[.*\], the first \['ids', 'mask'\]"):
        samples.write(tmp_path / "s.npz", [{"ids": np.zeros(2), "mask": np.zeros(2)}, second])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", "a\nb", "a\0b", "n" * 201])
def test_a_name_that_a_zip_would_change_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(AgentError):
        samples.write(tmp_path / "s.npz", [{name: np.zeros(1)}])


def test_equal_samples_give_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        samples.write(tmp_path / name, [np.arange(6).reshape(2, 3).T], [1])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_numpys_own_files_are_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", x000000=np.asfortranarray(np.arange(6).reshape(2, 3)), y=np.array([3], np.uint8))
    with samples.Samples(tmp_path / "s.npz") as container:
        assert container[0]["x"].tolist() == [[0, 1, 2], [3, 4, 5]]
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
        ({"x000000/a.npy": GOOD, "x000000/b.npy": GOOD, "x000001/a.npy": GOOD}, zipfile.ZIP_STORED),
        ({"x000000/a.npy": GOOD, "x000001/b.npy": GOOD}, zipfile.ZIP_STORED),
        ({"x000000/a.npy": GOOD, "x000001.npy": GOOD}, zipfile.ZIP_STORED),
        ({"x000000.npy": b"no array"}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD[:-1]}, zipfile.ZIP_STORED),
        ({"x000000.npy": entry(np.array([{}], object))}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), }         ", b"(2222222222,), }")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), ", b"(-2,),")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"|u1", b"|O8")}, zipfile.ZIP_STORED),
        ({"x000000.npy": GOOD.replace(b"(2,), }", b"(2,),  ")}, zipfile.ZIP_STORED),
    ],
    ids=[
        "compressed",
        "gap",
        "other name",
        "climbing",
        "odd",
        "renamed",
        "mixed",
        "no array",
        "short",
        "pickle",
        "huge",
        "negative",
        "objects",
        "open brace",
    ],
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
            assert sum(array.nbytes for array in container[index].values()) < 1000
        container.labels()


@pytest.mark.parametrize("labels", [[1.5], [[1]], [1, 2]])
def test_labels_are_one_whole_number_per_sample(tmp_path: Path, labels: Any) -> None:
    np.savez(tmp_path / "s.npz", x000000=np.zeros(1), y=np.array(labels))
    with samples.Samples(tmp_path / "s.npz") as container, pytest.raises(AgentError, match="whole numbers"):
        container.labels()

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.ondevice import preprocess
from edgekit.ondevice.wire import AgentError

np = pytest.importorskip("numpy")
Image = pytest.importorskip("PIL.Image")

SIDES = st.integers(1, 90)


def noise(seed: int, height: int, width: int, channels: int = 3) -> Any:
    """Bytes with runs of pure black and white, where filters with negative lobes overshoot."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return np.where(random.random(image.shape) < 0.3, image // 128 * 255, image).astype(np.uint8)


def pillow(image: Any, height: int, width: int, kernel: str) -> Any:
    """Across, then down: the order of Pillow up to 12, which one call of Pillow 13 does not keep in every case."""
    picture = Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0])
    resampling = Image.Resampling[kernel.upper()]
    across = picture.resize((width, image.shape[0]), resampling)
    return np.asarray(across.resize((width, height), resampling)).reshape(height, width, image.shape[2])


@given(st.integers(0, 1000), SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from(["bilinear", "bicubic", "nearest"]))
@settings(max_examples=300)
def test_resize_is_pillow_byte_for_byte(seed: int, h: int, w: int, height: int, width: int, channels: int, kernel: str) -> None:
    image = noise(seed, h, w, channels)
    assert np.array_equal(preprocess.resize(image, height, width, kernel), pillow(image, height, width, kernel))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("size", "wanted"), [((480, 640), (224, 224)), ((32, 32), (128, 128)), ((375, 500), (256, 341))])
def test_resize_as_networks_use_it_is_one_call_of_pillow(kernel: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
    image = noise(7, *size)
    expected = Image.fromarray(image).resize(wanted[::-1], Image.Resampling[kernel.upper()])
    assert np.array_equal(preprocess.resize(image, *wanted, kernel), np.asarray(expected))


@given(st.integers(0, 1000))
@settings(max_examples=20)
def test_gray_is_pillows(seed: int) -> None:
    image = noise(seed, 20, 30)
    ours = preprocess.apply({"color": "gray", "layout": "nhwc"}, image)
    assert ours.shape == (1, 20, 30, 1)
    assert np.array_equal(ours[0, :, :, 0], np.asarray(Image.fromarray(image).convert("L"), np.float32))


def test_the_steps_come_in_their_order() -> None:
    image = noise(1, 40, 60)
    declared = {"resize": 20, "crop": [16, 18], "color": "bgr", "scale": 1 / 255, "mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]}
    small = pillow(image, 20, 30, "bilinear")[2:18, 6:24, ::-1].astype(np.float32)
    expected = (small * np.float32(1 / 255) - np.float32([0.1, 0.2, 0.3])) / np.float32([0.5, 0.6, 0.7])
    for layout, wanted in (("nhwc", expected[None]), ("nchw", expected.transpose(2, 0, 1)[None])):
        value = preprocess.apply({**declared, "layout": layout}, image)
        assert value.dtype == np.float32
        assert value.flags["C_CONTIGUOUS"]
        assert np.array_equal(value, wanted)


def test_the_sample_itself_is_left_alone() -> None:
    vector = np.ones(4, np.float32)
    preprocess.apply({"scale": 2.0, "mean": [1.0]}, vector)
    assert vector.tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [(30, 40), (40, 30), (33, 33), (224, 225)])
def test_one_number_is_the_shorter_side(size: tuple[int, int]) -> None:
    value = preprocess.apply({"resize": 20, "layout": "nhwc"}, noise(0, *size))
    assert min(value.shape[1:3]) == 20
    assert value.shape[1:3] == tuple(20 * side // min(size) for side in size)


def test_what_is_no_image_skips_the_image_steps() -> None:
    declared = {"resize": [8, 8], "crop": [4, 4], "color": "gray", "scale": 0.5, "mean": [1.0], "std": [2.0]}
    assert preprocess.apply(declared, np.arange(4, dtype=np.int64)).tolist() == [[-0.5, -0.25, 0.0, 0.25]]
    assert preprocess.apply({}, np.float64(3)).tolist() == [3.0]


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"sise": 1}, "sise"),
        ({"resize": 0}, "resize"),
        ({"resize": True}, "resize"),
        ({"resize": [1, 2, 3]}, "resize"),
        ({"resize": [1 << 40, 1]}, "resize"),
        ({"crop": 5}, "crop"),
        ({"crop": [50, 5]}, "larger than the image"),
        ({"filter": "lanczos"}, "filter"),
        ({"color": ["rgb"]}, "color"),
        ({"layout": None}, "layout"),
        ({"scale": "1"}, "scale"),
        ({"mean": [1.0, 2.0]}, "2 numbers"),
        ({"mean": [float("inf")]}, "mean"),
        ({"std": [0.0]}, "must not hold 0"),
        ({"std": "1"}, "std"),
        ({"inputs": "x"}, "inputs"),
        ({"pad": 0}, "pad"),
        ({"pad": {"ids": "0"}}, "pad"),
        ({"pad": {"ids": float("nan")}}, "pad"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_key(declared: dict[str, Any], why: str) -> None:
    with pytest.raises(AgentError, match=why) as refused:
        preprocess.apply(declared, noise(0, 10, 10))
    assert refused.value.kind == "input"


def test_an_image_of_another_type_is_not_resized() -> None:
    with pytest.raises(AgentError, match="uint8"):
        preprocess.apply({"resize": 4}, np.zeros((8, 8, 3), np.float32))
    with pytest.raises(AgentError, match="RGB"):
        preprocess.apply({"color": "bgr"}, np.zeros((8, 8, 4), np.uint8))
    with pytest.raises(AgentError, match="sides go up to"):
        preprocess.apply({"resize": 16384}, np.zeros((2, 8, 3), np.uint8))


def fed(declared: dict[str, Any], shapes: dict[str, list[int]], **sample: Any) -> dict[str, Any]:
    return preprocess.feed(preprocess.check(declared), sample, shapes)


def test_the_steps_are_for_the_inputs_they_name() -> None:
    image, ids = noise(0, 4, 4), np.arange(3)
    shapes = {"image": [1, 3, 4, 4], "ids": [1, 3]}
    inputs = fed({"inputs": ["image"], "scale": 0.5}, shapes, image=image, ids=ids)
    assert np.array_equal(inputs["image"], preprocess.apply({"scale": 0.5}, image))
    assert (inputs["ids"].dtype, inputs["ids"].tolist()) == (np.int64, [[0, 1, 2]])
    assert np.array_equal(fed({"scale": 0.5}, {"x": [1, 3, 4, 4]}, x=image)["x"], inputs["image"])
    plain = fed({"inputs": [], "scale": 0.5}, {"x": [1, 4, 4, 3]}, x=image)["x"]
    assert (plain.dtype, plain.shape) == (np.uint8, (1, 4, 4, 3))


def test_a_short_sample_is_padded_at_its_end_where_declared() -> None:
    declared = {"inputs": [], "pad": {"ids": 7, "mask": 0}}
    inputs = fed(declared, {"ids": [1, 5], "mask": [1, 5], "kinds": [1, 5]}, ids=np.arange(3), mask=np.ones(5, bool), kinds=np.zeros(3))
    assert inputs["ids"].tolist() == [[0, 1, 2, 7, 7]]
    assert inputs["ids"].dtype == np.int64
    assert inputs["mask"].all()
    assert inputs["kinds"].shape == (1, 3), "nothing is declared for it"
    table = fed({"scale": 2.0, "pad": {"x": -1.0}}, {"x": [1, 3, 3]}, x=np.ones((2, 2), np.float32))["x"]
    assert table.tolist() == [[[2, 2, -1], [2, 2, -1], [-1, -1, -1]]]
    assert fed(declared, {"ids": [1, 2]}, ids=np.arange(3))["ids"].shape == (1, 3), "nothing is cut off"
    assert fed(declared, {"ids": [1, 4, 4]}, ids=np.arange(3))["ids"].shape == (1, 3), "no axis is made up"


def test_padding_must_be_of_the_arrays_own_type() -> None:
    with pytest.raises(AgentError, match=r"pad: ids is int64, which 0\.5 is not"):
        fed({"inputs": [], "pad": {"ids": 0.5}}, {"ids": [1, 5]}, ids=np.arange(3))

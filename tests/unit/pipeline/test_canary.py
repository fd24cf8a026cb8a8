"""The canary on a network that reads colours, right and wrong preprocessing, and on what it cannot judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgekit.dataset import Dataset, open_dataset
from edgekit.explanation import Preprocessing
from edgekit.feed import bind
from edgekit.graph import Array, Graph
from edgekit.pipeline.canary import canary, finding
from edgekit.preprocess import Preprocess
from edgekit.quantize.normalise import normalise
from tests.unit.quantize.networks import model

RIGHT = Preprocess(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
SIDE, CLASSES = 6, 5
# A class is a colour; scores are the negative squared distances to it, written as a linear layer of the mean colour.
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [128, 128, 128], [210, 190, 90]], np.float64)


def network(right: Preprocess = RIGHT, body: str = "") -> Graph:
    centres = np.stack([right.apply(np.full((1, 1, 3), c, np.uint8)).reshape(3) for c in COLOURS]).astype(np.float64)
    weights = {"w": (2 * centres).astype(np.float32), "b": (-(centres**2).sum(axis=1)).astype(np.float32)}
    text = body or "p = GlobalAveragePool(x) f = Flatten(p) y = Gemm<transB=1>(f, w, b)"
    return normalise(model(text, weights, x=f"float[N,3,{SIDE},{SIDE}] x"))


def images(count: int, seed: int = 3) -> tuple[Array, Array]:
    generator = np.random.default_rng(seed)
    labels = np.sort(generator.integers(0, CLASSES, count))  # sorted by class, as a folder of images often is
    noise = generator.normal(scale=28, size=(count, 1, 1, 3)) + generator.normal(scale=10, size=(count, SIDE, SIDE, 3))
    return np.clip(COLOURS[labels][:, None, None] + noise, 0, 255).astype(np.uint8), labels


def dataset(folder: Path, x: Array, y: Array | None) -> Dataset:
    if y is None:
        np.savez(folder / "set.npz", x=x)
    else:
        np.savez(folder / "set.npz", x=x, y=y)
    return open_dataset("set.npz", folder, folder / "container.npz")


def checked(folder: Path, declared: Preprocess, graph: Graph, *, samples_max: int = 200, count: int = 400) -> Preprocessing:
    evaluation = dataset(folder, *images(count))
    found = canary(graph, bind(declared, graph.inputs, evaluation), evaluation, samples_max=samples_max)
    assert found is not None
    return found


@pytest.mark.parametrize("softmax", [False, True])
def test_the_right_way_raises_no_alarm(softmax: bool, tmp_path: Path) -> None:
    body = "p = GlobalAveragePool(x) f = Flatten(p) g = Gemm<transB=1>(f, w, b) y = Softmax(g)" if softmax else ""
    found = checked(tmp_path, RIGHT, network(body=body))
    assert found.better is None
    assert found.low is None
    assert finding(found) is None
    assert found.declared.settings == ""
    assert found.declared.right / found.declared.n > 0.9
    assert found.tried >= 8


@pytest.mark.parametrize(
    ("slip", "cure"),
    [
        ({"color": "bgr"}, 'color = "rgb"'),
        ({"scale": 1.0}, "scale = 0.00392156862745098"),
        ({"mean": (), "std": ()}, "mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]"),
        (
            {"color": "bgr", "scale": 1.0, "mean": (), "std": ()},
            'color = "rgb", scale = 0.00392156862745098, mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]',
        ),
    ],
)
def test_a_slip_is_found_and_its_cure_named(slip: dict[str, Any], cure: str, tmp_path: Path) -> None:
    found = checked(tmp_path, msgspec.structs.replace(RIGHT, **slip), network())
    assert found.better is not None
    assert found.better.settings == cure
    assert found.low is not None
    assert found.low > 0
    told = finding(found)
    assert told is not None
    assert (told.rule, told.layer, told.fix) == ("preprocessing", None, f"{cure} under [preprocess]")
    assert f"with {cure} (200 samples)" in told.text


def test_it_stops_when_no_variant_is_left(tmp_path: Path) -> None:
    """And so costs little where all is well."""
    ran: list[int] = []
    evaluation = dataset(tmp_path, *images(400))
    graph = network()
    found = canary(
        graph, bind(RIGHT, graph.inputs, evaluation), evaluation, samples_max=400, progress=lambda _, done, total: ran.append(done)
    )
    assert found is not None
    assert found.declared.n < 400
    assert ran[-1] == 400, "a bar that stands still looks like a hang"


def test_few_samples_prove_nothing(tmp_path: Path) -> None:
    found = checked(tmp_path, msgspec.structs.replace(RIGHT, color="bgr"), network(), samples_max=8)
    assert found.better is None
    assert found.declared.n == 8


def test_it_is_deterministic(tmp_path: Path) -> None:
    declared = msgspec.structs.replace(RIGHT, color="bgr")
    assert checked(tmp_path, declared, network()) == checked(tmp_path, declared, network())


def nothing(folder: Path, x: Array, y: Array | None, graph: Graph) -> bool:
    evaluation = dataset(folder, x, y)
    return canary(graph, bind(RIGHT, graph.inputs, evaluation), evaluation, samples_max=50) is None


def test_what_it_cannot_judge(tmp_path: Path) -> None:
    x, y = images(60)
    assert nothing(tmp_path, x, None, network()), "no labels"
    assert nothing(tmp_path, x, y, network(body="y = Sin(x)")), "no classes"
    assert nothing(tmp_path, x.astype(np.float32), y, network()), "no bytes: nobody knows what 1/255 would be of"
    vectors = normalise(model("y = Gemm<transB=1>(x, w)", {"w": np.eye(3, dtype=np.float32)}, x="float[N,3] x"))
    assert nothing(tmp_path, x[:, 0, 0], np.minimum(y, 2), vectors), "no images"

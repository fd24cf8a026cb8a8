from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgekit.errors import InputError
from edgekit.graph import Array, Graph
from edgekit.plan import QuantPlan
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import equivalents, observe
from tests.unit.quantize.networks import model, normal, run

BODY = "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) f = Flatten(r) y = Gemm(f, v)"
SAMPLES = normal(24, 4, 8, 8, scale=1.0)


@pytest.fixture(scope="module")
def graph() -> Graph:
    return normalise(model(BODY, w=normal(6, 4, 3, 3), b=normal(6), v=normal(384, 10)))


def batches(sizes: list[int], samples: Array = SAMPLES) -> Iterator[dict[str, Array]]:
    for part in np.split(samples, np.cumsum(sizes)[:-1]):
        yield {"x": part}


def test_histograms_hold_exactly_what_the_network_computes(graph: Graph) -> None:
    seen = observe(graph, batches([24]), total=24)
    assert set(seen) == {"x", "r", "y"}
    exposed = graph.to_onnx(["r"])
    outputs = [run(exposed, x=SAMPLES[i : i + 1]) for i in range(24)]
    for name, values in {"x": SAMPLES, "y": np.concatenate([o[0] for o in outputs]), "r": np.concatenate([o[1] for o in outputs])}.items():
        direct = Histogram.of(values)
        assert seen[name].total == direct.total
        np.testing.assert_allclose([seen[name].lo, seen[name].hi], [direct.lo, direct.hi], rtol=1e-5)


def test_batch_sizes_and_order_change_nothing_at_all(graph: Graph) -> None:
    plans = [
        calibrate(graph, given, total=24, dataset_sha256=None)
        for given in (batches([24]), batches([1] * 24), batches([5, 7, 12]), batches([10, 14], SAMPLES[::-1]))
    ]
    assert all(msgspec.json.encode(plan) == msgspec.json.encode(plans[0]) for plan in plans)


def test_a_plan_speaks_of_every_float_activation_and_every_weight(graph: Graph) -> None:
    stages = []
    plan = calibrate(graph, batches([24]), total=24, method="minmax", dataset_sha256="ab" * 32, progress=lambda *step: stages.append(step))
    assert set(plan.ranges) == set(graph.activations)
    assert set(plan.weights) == {name for node in graph.nodes if node.op in ("Conv", "Gemm") for name in node.inputs[1:2]}
    assert (plan.graph_sha256, plan.dataset_sha256, plan.samples, plan.method) == (graph.sha256, "ab" * 32, 24, "minmax")
    assert stages[0] == ("calibrate", 0, 24)
    assert ("calibrate", 24, 24) in stages
    assert msgspec.json.decode(msgspec.json.encode(plan), type=QuantPlan) == plan


def test_a_tensor_before_a_relu_takes_the_range_behind_it(graph: Graph) -> None:
    plan = calibrate(graph, batches([24]), total=24, dataset_sha256=None)
    assert plan.ranges["c"] == plan.ranges["r"] == plan.ranges["f"]
    assert plan.ranges["c"].lo == 0.0


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ("a = Sin(x) y = Relu(a)", {"a": "y"}),
        ("a = Sin(x) b = Relu(a) y = Add(a, b)", {}),  # a is read twice
        ("y = Relu(x)", {}),  # the input is not ours to cut
        ("a = Sin(x) y = Transpose(a)", {"y": "a"}),
        ("a = Sin(x) t = Transpose(a) y = Relu(t)", {"t": "a"}),
        ("a = Sin(x) y = Clip(a, one, two)", {}),  # such a range would not hold zero
    ],
)
def test_which_tensors_share_a_histogram(body: str, wanted: dict[str, str]) -> None:
    weights = {"one": np.array(1, np.float32), "two": np.array(2, np.float32)} if "one" in body else {}
    assert equivalents(normalise(model(body, weights))) == wanted


def test_a_tensor_read_only_by_a_relu_but_also_an_output_keeps_its_own_range() -> None:
    graph = normalise(model("a = Sin(x) y = Relu(a)", y="float[] a, float[] y"))
    assert equivalents(graph) == {}


def test_what_is_observed_is_handed_out_as_it_grows(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.quantize.observe._CHUNK_SAMPLES", 4)
    seen: list[tuple[int, dict[str, Histogram]]] = []
    whole = observe(graph, batches([24]), total=24, kept=lambda histograms, done: seen.append((done, dict(histograms))))
    assert [done for done, _ in seen] == [4, 8, 12, 16, 20, 24]
    assert seen[-1][1] == whole
    for done, histograms in seen:
        assert histograms == observe(graph, batches([done], SAMPLES[:done]), total=done)


def test_what_was_under_way_is_handed_out_when_the_work_ends_early(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.quantize.observe._CHUNK_SAMPLES", 4)
    seen: list[tuple[int, dict[str, Histogram]]] = []

    def broken() -> Iterator[dict[str, Array]]:
        yield from batches([1] * 14, SAMPLES[:14])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        observe(graph, broken(), total=24, kept=lambda histograms, done: seen.append((done, dict(histograms))))
    done, histograms = seen[-1]
    assert done <= 12
    assert histograms == observe(graph, batches([done], SAMPLES[:done]), total=done)


def test_samples_that_do_not_fit(graph: Graph) -> None:
    with pytest.raises(InputError, match=r"shape \[4, 8, 9\], the model wants \[4, 8, 8\]"):
        observe(graph, [{"x": normal(2, 4, 8, 9)}], total=2)
    with pytest.raises(InputError, match="no 'x'"):
        observe(graph, [{"image": SAMPLES}], total=2)
    with pytest.raises(InputError, match="no calibration samples"):
        observe(graph, [], total=0)


def test_values_that_are_not_finite_name_the_tensor() -> None:
    graph = normalise(model("a = Log(x) y = Sin(a)"))
    with pytest.raises(InputError, match="tensor 'a' takes a value that is not finite"):
        observe(graph, [{"x": -(SAMPLES**2)}], total=24)


MEMORY = """
import re, sys
import numpy as np
from tests.unit.quantize.networks import model, normal
from edgekit.quantize.normalise import normalise
from edgekit.quantize.observe import observe

graph = normalise(model("a = Sqrt(x) b = Mul(a, a) c = Add(a, b) y = Mul(b, c)", x="float[N,16,96,96] x"))
sample = abs(normal(1, 16, 96, 96))

def peak_mib(count):
    observe(graph, ({"x": sample * (i + 1)} for i in range(count)), total=count)
    return int(re.search(r'VmHWM:\\s+([0-9]+)', open('/proc/self/status').read())[1]) / 1024

print(peak_mib(100), peak_mib(1000))
"""


def test_memory_does_not_grow_with_the_samples() -> None:
    """Keeping the activations of 900 samples more, 2.8 MiB each, would show as 2.5 GiB."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", MEMORY], cwd=root, capture_output=True, text=True, check=True)
    few, many = (float(word) for word in done.stdout.split())
    assert many <= 1.1 * few
    assert few < 200

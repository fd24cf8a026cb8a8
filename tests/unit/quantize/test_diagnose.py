"""Each diagnosis on a network that has just that disease, and none on healthy networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import pytest

from edgekit.explanation import Finding
from edgekit.graph import Array, Graph, from_onnx
from edgekit.plan import NodePrecision, QuantPlan, Range, WeightScale
from edgekit.quantize.calibrate import calibrate
from edgekit.quantize.compare import compare
from edgekit.quantize.diagnose import Gain, cause, diagnose, dominates
from edgekit.quantize.normalise import normalise
from edgekit.quantize.ranges import Method
from tests.unit.quantize.networks import model

RNG = np.random.default_rng(11)
Feeds = Sequence[dict[str, Array]]


@pytest.fixture(autouse=True)
def _same_values_in_any_order() -> None:
    global RNG
    RNG = np.random.default_rng(11)


def images(count: int, shape: tuple[int, ...] = (4, 8, 8)) -> list[dict[str, Array]]:
    return [{"x": RNG.standard_normal((1, *shape)).astype(np.float32)} for _ in range(count)]


def kernel(*shape: int) -> Array:
    """Return weights that keep the power of what they read: He et al. 2015, without the gain for Relu."""
    values: Array = (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    return values


def ill(
    body: str,
    weights: dict[str, Array],
    *,
    calibrated: Feeds | None = None,
    seen: Feeds | None = None,
    method: Method = "mse",
    off: Sequence[str] = (),
    change: Callable[[QuantPlan, Graph], QuantPlan] = lambda plan, _: plan,
    **io: str,
) -> tuple[Graph, tuple[Finding, ...]]:
    graph = normalise(model(body, weights, **io))  # type: ignore[arg-type]
    known = calibrated or images(64)
    plan = change(calibrate(graph, known, total=len(known), method=method, dataset_sha256=None), graph)
    fresh = seen or images(16)
    return graph, diagnose(graph, plan, compare(graph, graph, plan, fresh, total=len(fresh)), {}, off)


def rules(findings: Sequence[Finding]) -> list[str]:
    return [finding.rule for finding in findings]


HEALTHY = {
    "convolutions": (
        "c = Conv<pads=[1,1,1,1]>(x, w) r = Relu(c) y = Conv<pads=[1,1,1,1]>(r, v)",
        {"w": kernel(8, 4, 3, 3), "v": kernel(6, 8, 3, 3)},
    ),
    "depthwise and a residual": (
        "c = Conv(x, w) d = Conv<pads=[1,1,1,1], group=8>(c, v) r = Relu(d) s = Add(r, c) y = GlobalAveragePool(s)",
        {"w": kernel(8, 4, 1, 1), "v": kernel(8, 1, 3, 3)},
    ),
    "a classifier": (
        "f = Flatten(x) h = Gemm(f, w) r = Relu(h) y = Gemm(r, v)",
        {"w": kernel(32, 256).T.copy(), "v": kernel(10, 32).T.copy()},
    ),
    "gates": ("c = Conv(x, w) s = Sigmoid(c) m = Mul(c, s) y = Tanh(m)", {"w": kernel(8, 4, 1, 1)}),
    "parts alike": ("a = Conv(x, w) b = Conv(x, v) y = Concat<axis=1>(a, b)", {"w": kernel(4, 4, 1, 1), "v": 2 * kernel(4, 4, 1, 1)}),
}


@pytest.mark.parametrize("method", ["mse", "minmax"])
@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_networks_have_no_finding(name: str, method: Method) -> None:
    body, weights = HEALTHY[name]
    assert ill(body, weights, method=method)[1] == ()


def test_an_outlier_channel() -> None:
    weights = {"w": kernel(8, 4, 3, 3), "v": kernel(6, 8, 1, 1)}
    weights["w"][5] *= 60
    weights["v"][:, 5] /= 60
    graph, findings = ill("c = Conv(x, w) y = Conv(c, v)", weights)
    assert ("outlier-channel", graph.producers["c"].name) in [(f.rule, f.layer) for f in findings]
    (found,) = [f for f in findings if f.rule == "outlier-channel"]
    assert found.text.startswith("channel 5 is ")
    assert "accuracy_drop_max" in found.fix
    # What an eighth costs is no disease yet.
    weights["w"][5] /= 12
    assert "outlier-channel" not in rules(ill("c = Conv(x, w) y = Conv(c, v)", weights)[1])


def test_a_weight_outlier() -> None:
    """One huge weight per output meets an input that is zero: it takes the scale and gives nothing."""
    weights = {"w": kernel(8, 4, 1, 1), "k": np.ones((1, 4, 1, 1), np.float32)}
    weights["w"][:, 2] = 80.0
    weights["k"][:, 2] = 0.0
    graph, findings = ill("m = Sin(x) z = Mul(m, k) y = Conv(z, w)", weights)
    assert [(f.rule, f.layer) for f in findings] == [("weight-outlier", graph.producers["y"].name)]
    assert "of its error is the rounding of its weights; the largest is 2 times" in findings[0].text
    assert findings[0].fix.startswith("accuracy_drop_max")
    assert ill("m = Sin(x) z = Mul(m, k) y = Conv(z, w)", weights, off=("rounding",))[1][0].fix == "rounding = true under [quantize]"


def test_saturation() -> None:
    def narrow(plan: QuantPlan, _: Graph) -> QuantPlan:
        return msgspec.structs.replace(plan, ranges={**plan.ranges, "c": Range(-0.4, 0.4, "entropy")})

    weights = {"w": kernel(8, 4, 3, 3), "v": kernel(6, 8, 1, 1), "u": kernel(6, 6, 1, 1), "t": kernel(6, 6, 1, 1)}
    body = "c = Conv(x, w) d = Conv(c, v) e = Conv(d, u) f = Conv(e, t) y = Sin(f)"
    graph, findings = ill(body, weights, change=narrow)
    assert [(f.rule, f.layer) for f in findings] == [("saturation", graph.producers["c"].name)]
    assert "-0.4..0.4 (entropy)" in findings[0].text
    assert findings[0].fix.startswith('method = "mse"')


def test_far_values() -> None:
    """Rare spikes, a hundred times the rest, stretch the range where each counts."""

    def spiky(count: int) -> list[dict[str, Array]]:
        feeds = images(count)
        for feed in feeds:
            feed["x"][0, :, 3, 3] = 100.0 * np.sign(feed["x"][0, :, 3, 3])
        return feeds

    body, weights = "c = Conv(x, w) y = Tanh(c)", {"w": kernel(8, 4, 1, 1)}
    graph, findings = ill(body, weights, calibrated=spiky(64), method="minmax")
    assert sorted((f.rule, f.layer) for f in findings) == [("far-values", graph.producers["c"].name), ("far-values", "x")]
    assert findings[0].fix.startswith('method = "mse"')


def test_amplified_rounding() -> None:
    """The difference of two sums that are nearly the same."""
    first = kernel(8, 4, 1, 1)
    weights = {"w": first, "v": first + np.float32(0.01) * kernel(8, 4, 1, 1)}
    graph, findings = ill("a = Conv(x, w) b = Conv(x, v) y = Sub(a, b)", weights)
    assert [(f.rule, f.layer) for f in findings] == [("amplified-rounding", graph.producers["y"].name)]


ATTENTION = "q = MatMul(x, w) k = MatMul(x, v) t = Transpose<perm=[0,1,3,2]>(k) s = MatMul(q, t) m = Add(s, mask) y = Softmax(m)"


@pytest.mark.parametrize("masked", [-1e6, -30.0])
def test_a_wide_mask_constant(masked: float) -> None:
    """As a graph that `normalise` has not seen, and with its range as observed: rewriting the one or cutting off the other is the cure."""
    mask = np.array([0, 0, 0, 0, 0, masked, masked, masked], np.float32)
    weights = {"w": kernel(8, 8), "v": kernel(8, 8), "mask": mask}
    graph = from_onnx(model(ATTENTION, weights, x="float[1,4,8,8] x"))
    plan = calibrate(graph, images(64), total=64, method="minmax", dataset_sha256=None)
    plan = msgspec.structs.replace(plan, ranges={**plan.ranges, "m": Range(masked - 10.0, 10.0, "minmax")})
    found = [f for f in diagnose(graph, plan, compare(graph, graph, plan, images(16), total=16), {}) if f.rule == "wide-constant"]
    if masked == -30.0:
        assert found == []
    else:
        assert [f.layer for f in found] == [graph.producers["m"].name]
        assert "the constant 'mask' (-1e+06)" in found[0].text


def test_mixed_outputs() -> None:
    weights = {"w": 300 * kernel(4, 4, 1, 1), "v": kernel(2, 4, 1, 1)}
    graph, findings = ill("b = Conv(x, w) c = Conv(x, v) s = Sigmoid(c) y = Concat<axis=1>(b, s)", weights)
    assert [(f.rule, f.layer) for f in findings] == [("mixed-parts", graph.producers["y"].name)]
    assert "one output for each part" in findings[0].fix
    inside = ill("b = Conv(x, w) c = Conv(x, v) s = Sigmoid(c) j = Concat<axis=1>(b, s) y = Sin(j)", weights)[1]
    (found,) = [f for f in inside if f.rule == "mixed-parts"]
    assert "accuracy_drop_max" in found.fix


BODY = "c = Conv(x, w) r = Relu(c) d = Conv(r, v) e = Relu(d) g = Conv(e, u) y = Sin(g)"


def bright(feeds: Feeds, gain: float) -> Feeds:
    return [{"x": feed["x"] * np.float32(gain)} for feed in feeds]


def test_too_few_samples() -> None:
    weights = {"w": kernel(8, 4, 3, 3), "v": kernel(8, 8, 3, 3), "u": kernel(8, 8, 3, 3)}
    few = ill(BODY, weights, calibrated=bright(images(2), 0.5), seen=images(16))[1]
    assert few[0].rule == "few-samples"
    assert few[0].layer is None
    assert "they come from 2 samples" in few[0].text
    other = ill(BODY, weights, calibrated=bright(images(64), 0.5), seen=images(16))[1]
    assert "not like those of the evaluation set" in other[0].text
    assert "few-samples" not in rules(ill(BODY, weights, calibrated=images(64))[1])


def test_a_dead_layer() -> None:
    weights = {"w": -np.abs(kernel(8, 4, 1, 1)), "v": kernel(6, 8, 1, 1)}
    graph, findings = ill("p = Relu(x) c = Conv(p, w) r = Relu(c) y = Conv(r, v)", weights)
    dead = [f for f in findings if f.rule == "constant"]
    assert [f.layer for f in dead] == [graph.producers["c"].name, graph.producers["y"].name]
    assert "0, for all samples" in dead[0].text


def test_one_layer_dominates() -> None:
    assert dominates("c", Gain(2.9, ())) is None
    found = dominates("c", Gain(6.02, ("d", "e")))
    assert found is not None
    assert found.text.startswith("75% of the output's error comes from here: with it and d, e in float")
    assert found.fix.startswith("accuracy_drop_max under [budget]")


def test_what_stays_float_is_not_diagnosed() -> None:
    weights = {"w": kernel(8, 4, 3, 3), "v": kernel(6, 8, 1, 1)}
    weights["w"][5] *= 60
    weights["v"][:, 5] /= 60

    def keep(plan: QuantPlan, graph: Graph) -> QuantPlan:
        return msgspec.structs.replace(plan, nodes={node.name: NodePrecision("float32", "kept") for node in graph.nodes})

    assert ill("c = Conv(x, w) y = Conv(c, v)", weights, change=keep)[1] == ()


def test_what_an_error_comes_from() -> None:
    """Of a layer whose weights are exact, one that reads what is exact, and one whose result is."""
    weights = {"w": kernel(8, 4, 1, 1), "o": np.ones((8, 8, 1, 1), np.float32)}
    graph = normalise(model("c = Conv(x, w) y = Conv(c, o)", weights))
    plan = calibrate(graph, images(64), total=64, dataset_sha256=None)
    fine, coarse = Range(-4.0, 4.0, "mse"), Range(-400.0, 400.0, "mse")
    for changes, wanted in [
        ({"c": coarse, "y": fine}, {"c": "stored", "y": "read"}),
        ({"x": coarse, "c": fine, "y": Range(-16.0, 16.0, "mse")}, {"c": "read"}),
    ]:
        changed = msgspec.structs.replace(plan, ranges={**plan.ranges, **changes})
        found = {layer.tensor: cause(layer) for layer in compare(graph, graph, changed, images(8), total=8)}
        assert {name: found[name] for name in wanted} == wanted
    halved = msgspec.structs.replace(plan, weights={**plan.weights, "w": WeightScale(None, (0.5,))})
    found = {layer.tensor: cause(layer) for layer in compare(graph, graph, halved, images(8), total=8)}
    assert found["c"] == "weights"


def test_the_gravest_comes_first() -> None:
    weights = {"w": kernel(8, 4, 3, 3), "v": kernel(8, 8, 3, 3), "u": kernel(8, 8, 3, 3)}
    graph = normalise(model(BODY, weights))
    known = bright(images(2), 0.5)
    plan = calibrate(graph, known, total=2, dataset_sha256=None)
    fresh = images(8)
    first, second = graph.nodes[0].name, graph.nodes[2].name
    findings = diagnose(graph, plan, compare(graph, graph, plan, fresh, total=8), {first: Gain(3.5, ()), second: Gain(9.0, ())})
    assert [(f.rule, f.layer) for f in findings][:3] == [("few-samples", None), ("dominates", second), ("dominates", first)]

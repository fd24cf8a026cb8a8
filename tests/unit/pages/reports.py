"""Saved reports of every kind, made of seeds: what a board that runs well says, one that slows down, and one that lies."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from edgekit.attribution import Compared, attribute
from edgekit.explanation import Explanation, Finding, Layer, Loss, Preprocessing, Variant
from edgekit.measurement import Measurement, Outcome, Verdict
from edgekit.pages.saved import Saved, SavedComparison, SavedExplanation, SavedReport
from edgekit.plan import Range
from edgekit.report import BundleName, DeviceName, Report
from edgekit.throttle import BoardState, GpuClock
from edgekit.trial import Trial

__all__ = [
    "HOSTILE",
    "accuracy_report",
    "board_state",
    "build_report",
    "comparison",
    "explanation",
    "hostile_report",
    "latency_report",
    "sliced_report",
    "soak_report",
    "with_words",
]

DIGEST = "0123456789abcdef" * 4
HOSTILE = (
    "\"'><script>alert(1)</script><img src=x onerror=alert(2)>&{{7*7}}$\\frac{a}{b}$@octocat #1 https://evil.example \x1b[2J\u202e日本"
)
_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}


def board_state(second: float, celsius: float, mhz: float, throttled: str = "0x0", gpu: float | None = None) -> BoardState:
    return BoardState(
        time=1_790_000_000.0 + second,
        temperature_c={"cpu-thermal": celsius, "board": celsius - 9},
        cpu_mhz=[mhz, mhz, mhz - 300, mhz],
        governor=["performance"],
        gpu=None if gpu is None else GpuClock(gpu, 300, 1000, "nvhost_podgov"),
        throttle_events={},
        alarms=[],
        throttled=throttled,
        load1=0.1,
        power_mode=None,
    )


def _series(name: str, values: Any, rule: str | None) -> list[Measurement]:
    def measured(suffix: str, value: float, **details: float | None) -> Measurement:
        return Measurement(f"{name}_{suffix}", float(value), "ms", len(values), rule is None, rule, details)

    milliseconds = np.sort(values) / 1e6
    found = [measured("min", milliseconds[0])]
    for key, p in _QUANTILES.items():
        enough = len(values) > 8 / (1 - p)
        estimate = float(np.quantile(milliseconds, p))
        bounds = {"lower_ms": estimate * 0.98, "upper_ms": estimate * 1.03 if enough else None, "needs": 0 if enough else 5_000}
        found.append(measured(key, estimate, **bounds))
    found.append(measured("max", milliseconds[-1]))
    return [*found, measured("mean", float(milliseconds.mean()), cov=0.031, n_eff=len(values) * 0.8, drift=-0.004)]


def latency_report(
    count: int = 3000, *, seed: int = 1, rule: str | None = None, simulated: bool = False, spread: float = 0.03
) -> SavedReport:
    """Return what a board measured; with a rule, it slowed down half-way."""
    rng = np.random.default_rng(1)
    invoke = (11.8e6 * np.exp(spread * rng.gamma(1.5, 1, count))).astype(int)
    if rule == "throttled":
        invoke[count // 2 :] = invoke[count // 2 :] * 5 // 4
    whole = (invoke * 1.2).astype(int)
    states = [
        board_state(0.5 * n, 48 + 0.4 * n, 1200 if rule and n > 60 else 1800, "0x4" if rule and n > 60 else "0x0") for n in range(120)
    ]
    budget = {"p99_ms": 13.9, "lower_ms": 13.6, "upper_ms": 14.3, "budget_ms": 14.0, "n": count, "needs": 0}
    verdict = (
        Verdict("latency", "invalid", "the board slowed itself down: throttling", {rule: "throttling"})
        if rule
        else Verdict("latency_p99", "fail", "p99 of invoke is at least 13.600 ms, budget 14 ms", budget)
    )
    report = Report(
        bundle=BundleName("meter-digits", "rpi4", DIGEST),
        device=DeviceName("gate-07", "pi@gate-07.example", DIGEST),
        simulated=simulated,
        measurements=(
            *_series("invoke", invoke, rule),
            *_series("end_to_end", whole, rule),
            Measurement("load", 9.4, "ms", 1, rule is None, rule),
            Measurement("temperature_after", 61.5, "degC", 1, details={"cpu-thermal": 61.5}),
            Measurement("energy", None, "mJ", 0, False, "unsupported"),
        ),
        verdicts=(verdict,),
        samples={"invoke_ns": tuple(map(int, invoke)), "end_to_end_ns": tuple(map(int, whole))},
        environment={"time": "2026-11-24T18:27:54+00:00", "runtime": "ai-edge-litert 2.3.0", "threads": "4", "board": "Raspberry Pi 4"},
        states=tuple(states),
    )
    return SavedReport("latency.json", report)


def _accuracy(top1: float) -> tuple[Measurement, ...]:
    def rate(name: str, value: float, low: float, high: float) -> Measurement:
        return Measurement(name, value, "1", 1000, details={"low": low, "high": high, "confidence": 0.95})

    return (
        rate("disagreement", 0.004, 0.0016, 0.0102),
        rate("top1_float", 0.985, 0.9754, 0.9909),
        rate("top1_artifact", top1, top1 - 0.01, top1 + 0.006),
        rate("top1_delta", top1 - 0.985, top1 - 0.985 - 0.005, top1 - 0.985 + 0.003),
    )


def accuracy_report() -> SavedReport:
    """Return what a board says of accuracy: no raw series, no state."""
    report = Report(
        bundle=BundleName("meter-digits", "rpi4", DIGEST),
        device=DeviceName("gate-07", "pi@gate-07.example", DIGEST),
        simulated=False,
        measurements=_accuracy(0.983),
        verdicts=(Verdict("accuracy", "inconclusive", "top-1 changed by -0.20%: about 800 more samples are needed"),),
        samples={},
        environment={"time": "2026-11-24T18:31:02+00:00"},
    )
    return SavedReport("accuracy.json", report)


def sliced_report() -> SavedReport:
    """Return an accuracy of boxes, sliced by a column."""

    def rate(name: str, value: float, n: int, **details: float | str | bool) -> Measurement:
        return Measurement(name, value, "1", n, details={"low": value - 0.02, "high": value + 0.02, "confidence": 0.95, **details})

    found = [rate("changed", 0.2, 400), rate("map_float", 0.41, 400), rate("map_artifact", 0.39, 400), rate("map_delta", -0.02, 400)]
    for chosen, n in (("light=day", 380), ("light=night", 20)):
        found.append(rate(f"map_artifact[{chosen}]", 0.3, n, slice=chosen, too_small=n < 30))
        found.append(rate(f"map_delta[{chosen}]", -0.03, n, slice=chosen, too_small=n < 30))
    report = msgspec.structs.replace(accuracy_report().report, measurements=tuple(found), verdicts=())
    return SavedReport("boxes.json", report)


def soak_report(windows: int = 60) -> SavedReport:
    """Return an hour of inference, of which only windows are kept."""
    median = [12_000_000 + 2_000 * n for n in range(windows)]
    samples = {
        "window_p50_ns": tuple(median),
        "window_p99_ns": tuple(value + 900_000 for value in median),
        "window_max_ns": tuple(value * 2 for value in median),
        "window_start_ms": tuple(60_000 * n for n in range(windows)),
        "window_count": (5_000,) * windows,
    }
    states = [msgspec.structs.replace(board_state(60.0 * n, 50 + 0.1 * n, 1800), phase="soak" if n else "before") for n in range(windows)]
    report = msgspec.structs.replace(
        latency_report(50).report,
        measurements=(Measurement("window_p50", 12.06, "ms", 300_000), Measurement("drift", 0.01, "1", windows)),
        verdicts=(Verdict("soak", "pass", "drifted by +1.0% (at most +1.2%) in 60.0 min"),),
        samples=samples,
        states=tuple(states),
    )
    return SavedReport("soak.json", report)


def build_report() -> SavedReport:
    """Return what stands inside a bundle: the host's accuracy, what stays in float, the trials of the budget's search."""

    def trial(kept: tuple[str, ...], low: float, size: int, share: float) -> Trial:
        return Trial(
            kept=kept,
            outcome="pass",
            delta=-0.001,
            delta_low=low,
            disagreement=0.004,
            sqnr_db=31.0,
            artifact_bytes=size,
            float_macs=share,
        )

    report = Report(
        bundle=BundleName("meter-digits", "rpi4", None),
        device=None,
        simulated=False,
        measurements=(*_accuracy(0.984), Measurement("size_float", 0.21, "MB", 1), Measurement("size_artifact", 0.106, "MB", 1)),
        verdicts=(Verdict("accuracy", "pass", "top-1 changed by -0.10%, budget 1.00%"),),
        samples={},
        environment={"edgekit": "0.1.0", "onnx": "1.22.0"},
        float_nodes={f"node{n}": "its operator has no int8 kernel" for n in range(9)},
        trials=(trial((), -0.012, 106_000, 0.0), trial(("conv1",), -0.006, 118_000, 0.04)),
    )
    return SavedReport("meter-digits-rpi4-0123456789ab.edge", report)


def explanation(layers: int = 46) -> SavedExplanation:
    def layer(n: int) -> Layer:
        return Layer(
            place=n,
            name=f"/backbone/layers.{n}/conv/Conv",
            op="Conv",
            tensor=f"t{n}",
            precision="int8",
            why="",
            range=Range(0, 6, "mse"),
            seen=(-0.1, 6.3),
            saturation=0.0004 * n,
            alone=Loss(22 + n / 2, 0.999),
            whole=Loss(None if n == 3 else 21 + n / 3, 0.998),
            gain_db=None,
        )

    rows = [layer(n) for n in range(layers)]
    found = Explanation(
        samples=32,
        outputs={"digits": Loss(30.4, 0.9996)},
        layers=tuple(rows),
        findings=(Finding("outlier-channel", rows[0].name, "one channel of 16 takes 92 % of the range", 'method = "percentile"'),),
        preprocessing=Preprocessing(declared=Variant("", 496, 500), better=None, low=None, confidence=0.95, tried=12),
        notes=("calibration was read from the cache",),
    )
    return SavedExplanation("why.json", "meter-digits", "rpi4", found)


def comparison() -> SavedComparison:
    """Return where a loss on a board comes from: two samples by quantization, one by the board's preprocessing."""
    labels = [n % 10 for n in range(200)]
    exact, int8, board = list(labels), list(labels), list(labels)
    int8[3] = int8[4] = board[3] = board[4] = board[5] = 9
    alike = [n != 5 for n in range(200)]
    told = attribute(labels, exact, int8, board, fed_alike=alike, device_as_host_fed=int8)
    found = Compared(
        bundle=BundleName("meter-digits", "rpi4", DIGEST),
        device="gate-07",
        simulated=False,
        host_runtime="ai-edge-litert 2.3.0",
        device_runtime="ai-edge-litert 2.1.0",
        attribution=told,
        notes=("the board decodes JPEG by another library",),
    )
    return SavedComparison("compare.json", found)


def with_words(saved: SavedReport | SavedExplanation | SavedComparison, words: str) -> Saved:
    """Return the same with every text in it replaced, as far as its type lets it."""
    if isinstance(saved, SavedExplanation):
        layer = msgspec.structs.replace(saved.explanation.layers[0], name=words, op=words, tensor=words, why=words)
        finding = Finding(words, words, words, words)
        silent = {words: Loss(None, None)}
        found = msgspec.structs.replace(saved.explanation, layers=(layer,), findings=(finding,), outputs=silent, notes=(words,))
        return SavedExplanation(words, words, words, found)
    if isinstance(saved, SavedComparison):
        bundle = BundleName(words, words, DIGEST)
        return SavedComparison(
            words, msgspec.structs.replace(saved.comparison, bundle=bundle, device=words, host_runtime=words, notes=(words,))
        )
    report = saved.report
    outcomes: tuple[Outcome, ...] = ("pass", "fail", "inconclusive", "invalid")
    doubtful = [
        Measurement(words, 1.0, words, 1, False, words, {words: words, "low": 0.1, "high": 0.2, "n": 3}),
        Measurement(f"{words}_p50", 1.0, "ms", 1, False, words, {}),
        Measurement(f"{words}_float", 1.0, "1", 1, False, words, {}),
        Measurement(f"{words}_artifact", 1.0, "1", 1, False, words, {}),
    ]
    changed = msgspec.structs.replace(
        report,
        bundle=BundleName(words, words, DIGEST),
        device=DeviceName(words, words, DIGEST),
        simulated=True,
        measurements=(*report.measurements, *doubtful),
        verdicts=tuple(Verdict(words, outcome, words, {words: words, "budget_ms": 3}) for outcome in outcomes),
        samples={**report.samples, f"{words}_ns": (1, 2, 3), words: (1,)},
        environment={words: words, "time": words, "board": words},
        float_nodes={words: words},
    )
    return SavedReport(words, changed)


def hostile_report() -> Saved:
    """Return a report in which every word is an attack."""
    return with_words(latency_report(50), HOSTILE)

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.report import BundleName, DeviceName, Measurement, Outcome, Report, Verdict, decode_report, encode_report, worst

DIGEST = "ab" * 32

numbers = st.floats(allow_nan=False, allow_infinity=False)
words = st.text(max_size=20)
figures = st.dictionaries(words, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | words, max_size=4)
measurements = st.builds(
    lambda name, value, rule, details: Measurement(name, value, "ms", 3, rule is None, rule, details),
    words,
    st.none() | numbers,
    st.none() | words,
    figures,
)
verdicts = st.builds(Verdict, words, st.sampled_from(["pass", "fail", "inconclusive", "invalid"]), words, figures)
reports = st.builds(
    Report,
    bundle=st.builds(BundleName, words, words, st.sampled_from([DIGEST, None])),
    device=st.none() | st.builds(DeviceName, words, words, st.just(DIGEST)),
    simulated=st.booleans(),
    measurements=st.lists(measurements, max_size=4).map(tuple),
    verdicts=st.lists(verdicts, max_size=4).map(tuple),
    samples=st.dictionaries(words, st.lists(st.integers(0, 2**60), max_size=5).map(tuple), max_size=3),
    environment=st.dictionaries(words, words, max_size=3),
)


def report(outcomes: list[Outcome], *, valid: bool = True) -> Report:
    return Report(
        bundle=BundleName("meter", "rpi4", DIGEST),
        device=DeviceName("bench", "pi@192.0.2.7", DIGEST),
        simulated=False,
        measurements=(Measurement("invoke_p99", 12.5, "ms", 1000, valid, None if valid else "throttled"),),
        verdicts=tuple(Verdict("gate", outcome, "why") for outcome in outcomes),
        samples={"invoke_ns": (1, 2, 3)},
        environment={"edgekit": "0.1.0", "time": "2026-01-01T00:00:00Z"},
    )


@settings(max_examples=40)
@given(reports)
def test_a_report_survives_json(made: Report) -> None:
    data = encode_report(made)
    again = decode_report(data, "report.json")
    assert again == made
    assert encode_report(again) == data


@pytest.mark.parametrize(
    ("outcomes", "valid", "code"),
    [
        ([], True, 0),
        (["pass", "pass"], True, 0),
        (["pass", "fail"], True, 1),
        (["invalid", "fail", "inconclusive"], False, 1),
        (["pass", "inconclusive"], True, 8),
        (["invalid"], True, 8),
        (["pass"], False, 8),
    ],
)
def test_worst_is_the_exit_code(outcomes: list[Outcome], valid: bool, code: int) -> None:
    assert worst(report(outcomes, valid=valid)) == code


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "edgekit.report/2"}, "schema"),
        ({"surprise": 1}, "surprise"),
        ({"bundle": {"name": "m", "target": "t", "digest": "../../etc"}}, "digest"),
        (
            {"measurements": [{"name": "x", "value": 1.0, "unit": "ms", "n": 1, "valid": True, "rule": "drifting"}]},
            "exactly when it is not valid",
        ),
        ({"measurements": [{"name": "x", "value": 1.0, "unit": "ms", "n": 1, "valid": False}]}, "exactly when it is not valid"),
        ({"verdicts": [{"name": "x", "outcome": "perhaps", "text": ""}]}, "outcome"),
    ],
)
def test_a_wrong_report_is_refused_with_its_file_and_key(change: dict[str, object], message: str) -> None:
    data = msgspec.json.encode({**msgspec.json.decode(encode_report(report([]))), **change})
    with pytest.raises(InputError, match=message) as caught:
        decode_report(data, "saved/report.json")
    assert "saved/report.json" in str(caught.value)


@given(st.binary(max_size=200))
def test_no_bytes_do_worse_than_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        decode_report(data, "report.json")


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_a_measurement_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match="without an end"):
        Measurement("sqnr", value, "dB", 1)


def test_what_an_older_edgekit_wrote_is_refused_with_the_keys_there_are() -> None:
    trial = {"kept": [], "outcome": "pass", "top1_delta": 0.0}
    old = {**msgspec.to_builtins(report(["pass"])), "trials": [trial]}
    with pytest.raises(InputError, match=r"unknown key 'trials\[0\]\.top1_delta'") as refused:
        decode_report(msgspec.json.encode(old), "old.json")
    assert "delta" in (refused.value.fix or "")

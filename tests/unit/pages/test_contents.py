"""What a page says of saved files, before anyone writes it down."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from edgekit.measurement import Measurement, Outcome, Verdict
from edgekit.pages.contents import contents
from edgekit.pages.number import amount, bounds, count, decimals, fixed, signed
from edgekit.pages.outline import Table
from edgekit.pages.saved import Saved, SavedReport
from tests.unit.pages.reports import accuracy_report, build_report, comparison, latency_report, sliced_report, soak_report


def judged(*outcomes: Outcome) -> SavedReport:
    verdicts = tuple(Verdict(f"gate{number}", outcome, "why") for number, outcome in enumerate(outcomes))
    return SavedReport("r.json", msgspec.structs.replace(accuracy_report().report, verdicts=verdicts))


@pytest.mark.parametrize(
    ("outcomes", "lead"),
    [
        (("pass",), "The gate passed."),
        (("fail",), "The gate failed."),
        (("invalid",), "The measurement is invalid: not to be acted on."),
        (("pass", "pass"), "All 2 gates passed."),
        (("pass", "fail", "fail"), "Of 3 verdicts 2 failed."),
        (("invalid", "fail", "pass"), "Of 3 verdicts 1 failed, 1 is invalid."),
        (("inconclusive", "invalid", "invalid"), "Of 3 verdicts 2 are invalid, 1 is inconclusive: not to be acted on."),
        ((), "No gate was set: figures without a verdict."),
    ],
)
def test_the_lead_says_what_became_of_the_gates(outcomes: tuple[Outcome, ...], lead: str) -> None:
    assert contents([judged(*outcomes)]).lead == lead


def test_the_lead_says_that_figures_are_invalid_where_no_gate_does() -> None:
    report = msgspec.structs.replace(latency_report(50, rule="throttled").report, verdicts=())
    assert contents([SavedReport("r.json", report)]).lead == "No gate was set, and some figures are invalid."


def tables(saved: Sequence[Saved], section: str) -> list[Table]:
    (found,) = [one for one in contents(saved).sections if one.key == section]
    return [table for block in found.blocks for table in block.tables]


def test_host_and_board_stand_below_float() -> None:
    (table,) = tables([accuracy_report(), build_report()], "accuracy")
    assert [row.cells[:2] for row in table.rows] == [
        ("float, on the host", "98.50 %"),
        ("INT8, on the host", "98.40 %"),
        ("INT8, on gate-07", "98.30 %"),
    ]


def test_slices_have_a_table_and_small_ones_say_so() -> None:
    whole, slices = tables([sliced_report()], "accuracy")
    assert whole.columns[1] == "mAP"
    assert [row.cells for row in slices.rows] == [
        ("light=day", "30.00 %", "28.00 to 32.00 %", "−3.00", "−5.00 to −1.00", "380", ""),
        ("light=night", "30.00 %", "28.00 to 32.00 %", "−3.00", "−5.00 to −1.00", "20", "too few samples"),
    ]
    assert "figures" not in {section.key for section in contents([sliced_report()]).sections}, "said twice"


def test_every_measurement_stands_somewhere_once() -> None:
    for saved in (latency_report(50), accuracy_report(), build_report(), sliced_report(), soak_report()):
        said = [
            cell for section in contents([saved]).sections if section.key != "provenance" for table in tables([saved], section.key)
            for row in table.rows for cell in row.cells
        ]  # fmt: skip
        for measurement in saved.report.measurements:
            figure = fixed(measurement.value, 2)
            wanted = {figure, amount(measurement.value, measurement.unit), signed(measurement.value or 0)}
            assert wanted & set(said), measurement.name


def test_parts_of_an_inference_share_a_table() -> None:
    report = latency_report(50).report
    parts = tuple(
        msgspec.structs.replace(one, name=one.name.replace("invoke", part))
        for part in ("preprocess", "get") for one in report.measurements if one.name.startswith("invoke")
    )  # fmt: skip
    changed = SavedReport("r.json", msgspec.structs.replace(report, measurements=(*report.measurements, *parts)))
    table = tables([changed], "latency")[-1]
    assert [row.cells[0] for row in table.rows] == ["preprocess", "get"]
    assert table.columns == ("Milliseconds", "min", "p50", "p90", "p95", "p99", "p99.9", "max")


def test_files_of_one_name_are_told_apart() -> None:
    found = contents([judged("pass"), judged("fail"), judged("pass")])
    assert [verdict.source for verdict in found.verdicts] == ["r.json (2)", "r.json", "r.json (3)"]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "1", "1.23 %"),
        (None, "mJ", "none"),
        (0.4123, "ms", "0.412 ms"),
        (12.3456, "ms", "12.35 ms"),
        (123456.7, "ms", "123 457 ms"),
        (0.0, "ms", "0 ms"),
        (61.5, "degC", "61.50 °C"),
        (-3.2, "dB", "−3.200 dB"),
        (0.0, "steps", "0 steps"),
        (2523.4, "1/s", "2 523 per s"),
    ],
)
def test_a_figure_has_the_digits_it_carries(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text


def test_numbers() -> None:
    assert count(1234567) == "1 234 567"
    assert [decimals(value) for value in (0.0977, 1.5, 12.3, 999.9, 54321)] == [5, 3, 2, 1, 0]
    assert signed(-0.0123) == "−1.23"
    assert bounds(Measurement("x_p99", 1.0, "ms", 9, details={"upper_ms": None, "needs": 653})) == "needs 653 more samples"
    assert bounds(Measurement("x_p99", 1.0, "ms", 9, details={"lower_ms": 0.9, "upper_ms": 1.2})) == "0.900 ms to 1.200 ms"
    assert bounds(Measurement("energy", 3.0, "mJ", 9, details={"low": 2.5, "high": 3.5})) == "2.500 mJ to 3.500 mJ"


def test_operators_have_their_share_as_a_bar() -> None:
    found = (
        Measurement("op CONV_2D", 0.75, "1", 50, details={"ms": 1.5, "nodes": 12}),
        Measurement("node conv/1", 0.4, "ms", 50, False, "simulated", {"op": "CONV_2D", "share": 0.2, "max_ms": 0.6}),
    )
    types, nodes = tables([SavedReport("ops.json", msgspec.structs.replace(accuracy_report().report, measurements=found))], "operators")
    assert (types.rows[0].cells, types.rows[0].shares) == (("CONV_2D", "75.00 %", "1.500 ms", "12"), {1: 0.75})
    assert (nodes.rows[0].cells, nodes.rows[0].mark) == (("conv/1", "20.00 %", "0.400 ms", "CONV_2D"), "simulated")


def test_a_comparison_says_which_step_lost() -> None:
    scores, steps, changed = tables([comparison()], "accuracy")
    right = [(row.cells[0], row.cells[3]) for row in scores.rows]
    assert right == [("float, on the host", "200"), ("INT8, on the host", "198"), ("INT8, on the board", "197")]
    lost = {row.cells[0]: row.cells[1:5] for row in steps.rows}
    assert lost["quantization"] == ("2", "2", "0", "−1.00")
    assert lost["preprocessing"] == ("1", "1", "0", "−0.50")
    assert lost["total"] == ("3", "3", "0", "−1.50")
    assert [(row.cells[0], row.cells[-1]) for row in changed.rows] == [("3", "quantization"), ("4", "quantization"), ("5", "preprocessing")]
    assert contents([comparison()]).about == ("for rpi4", "release 0123456789ab", "on gate-07")


def test_what_all_files_share_is_said_once() -> None:
    (section,) = [one for one in contents([latency_report(50), accuracy_report()]).sections if one.key == "provenance"]
    everyone, latency, accuracy = ({row.cells[0] for table in block.tables for row in table.rows} for block in section.blocks)
    assert {"name", "target", "bundle digest", "device", "address", "facts digest"} <= everyone
    assert {"time", "runtime", "raw series"} <= latency
    assert accuracy == {"time"}
    (section,) = [one for one in contents([latency_report(50)]).sections if one.key == "provenance"]
    assert [block.source for block in section.blocks] == ["latency.json"]

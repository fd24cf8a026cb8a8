from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.attribution import attribute
from edgekit.comparison import tango

LABELS = [0, 1, 2, 3, 4, 5]
FLOAT = [0, 1, 2, 3, 4, 0]
HOST = [0, 1, 2, 3, 0, 5]  # quantization loses sample 4 and wins sample 5
AS_FED = [0, 1, 2, 0, 0, 5]  # kernels lose sample 3
BOARD = [0, 1, 0, 0, 0, 5]  # preprocessing loses sample 2
ALIKE = [True, True, False, True, True, True]


def test_a_loss_is_taken_apart_sample_by_sample() -> None:
    found = attribute(LABELS, FLOAT, HOST, BOARD, fed_alike=ALIKE, device_as_host_fed=AS_FED)
    assert [(s.name, s.changed, s.losses, s.gains) for s in found.steps] == [
        ("quantization", 2, 1, 1),
        ("kernels", 1, 1, 0),
        ("preprocessing", 1, 1, 0),
        ("total", 4, 3, 1),
    ]
    assert [(s.name, s.right) for s in found.scores] == [("float-host", 5), ("int8-host", 5), ("int8-device", 3)]
    assert [(one.number, one.causes, one.fed_alike) for one in found.changed] == [
        (2, ("preprocessing",), False),
        (3, ("kernels",), True),
        (4, ("quantization",), True),
        (5, ("quantization",), True),
    ]
    assert (found.changed[0].label, found.changed[0].float_host, found.changed[0].int8_device) == (2, 2, 0)
    assert found.fed_otherwise == 1
    assert (found.steps[3].delta, found.steps[3].low, found.steps[3].high) == (-2 / 6, *tango(1, 3, 6, 0.95))


def test_without_labels_only_what_changed_is_told() -> None:
    found = attribute(None, FLOAT, HOST, BOARD, fed_alike=ALIKE, device_as_host_fed=AS_FED)
    assert found.scores == ()
    assert [(s.changed, s.delta) for s in found.steps] == [(2, None), (1, None), (1, None), (4, None)]
    assert {one.label for one in found.changed} == {None}


classes = st.integers(0, 3)


@given(st.lists(st.tuples(classes, classes, classes, classes, classes, st.booleans()), min_size=1, max_size=50))
def test_the_steps_add_up_to_the_whole(rows: list[tuple[int, int, int, int, int, bool]]) -> None:
    labels, whole, host, as_fed, board, alike = map(list, zip(*rows, strict=True))
    board = [fed if same else own for fed, own, same in zip(as_fed, board, alike, strict=True)]
    found = attribute(labels, whole, host, board, fed_alike=[bool(same) for same in alike], device_as_host_fed=as_fed)
    *steps, total = found.steps
    assert sum((step.gains or 0) - (step.losses or 0) for step in steps) == (total.gains or 0) - (total.losses or 0)
    assert {one.number for one in found.changed} >= {n for n, (a, b) in enumerate(zip(whole, board, strict=True)) if a != b}
    assert sum(len(one.causes) for one in found.changed) == sum(step.changed for step in steps)


def test_what_is_no_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match="not of the same samples"):
        attribute(LABELS, FLOAT[:5], HOST, BOARD, fed_alike=ALIKE, device_as_host_fed=AS_FED)
    with pytest.raises(ValueError, match="not of the same samples"):
        attribute(None, [], [], [], fed_alike=[], device_as_host_fed=[])
    with pytest.raises(ValueError, match="has two answers"):
        attribute(LABELS, FLOAT, HOST, BOARD, fed_alike=[True] * 6, device_as_host_fed=AS_FED)

"""Where a loss comes from: the float model, INT8 on the host and INT8 on the board, side by side on the same samples.

``pipeline.compare`` asks them and calls ``attribute``. Nothing here knows a board.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgekit.comparison import tango, wilson
from edgekit.report import BundleName

__all__ = ["Attribution", "Changed", "Compared", "Score", "Step", "attribute"]

_CONFIDENCE = 0.95

StepName = Literal["quantization", "kernels", "preprocessing", "total"]


class Score(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many of the samples one of the three got right, with its two-sided interval at 95 %."""

    name: Literal["float-host", "int8-host", "int8-device"]
    right: int
    top1: float
    low: float
    high: float


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one thing that was changed made of the answers, the others held as they were.

    Attributes
    ----------
    name
        ``quantization``: float to INT8 on the host. ``kernels``: the host's runtime to the board's, fed alike. ``preprocessing``: what
        the host makes of a sample to what the board makes of it, by the board's kernels. ``total``: float on the host to INT8 on
        the board. The first three add up to it, sample by sample.
    changed
        Samples with another answer after it than before.
    gains, losses
        Samples that became right, and wrong; None without labels.
    delta, low, high
        Of top-1, with its two-sided paired interval at 95 %; None without labels.
    """

    name: StepName
    changed: int
    gains: int | None
    losses: int | None
    delta: float | None
    low: float | None
    high: float | None


class Changed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A sample on which not all three agree.

    Attributes
    ----------
    number
        Its place in the evaluation set, from 0.
    fed_alike
        Whether the board fed the network the very bytes that the host fed it.
    causes
        The steps at which the answer changed.
    """

    number: int
    label: int | None
    float_host: int
    int8_host: int
    int8_device: int
    fed_alike: bool
    causes: tuple[StepName, ...]


class Attribution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole comparison.

    Attributes
    ----------
    scores
        Empty without labels.
    fed_otherwise
        On how many samples the board fed the network other bytes than the host: 0 proves that preprocessing costs nothing.
    """

    n: int
    scores: tuple[Score, ...]
    steps: tuple[Step, ...]
    fed_otherwise: int
    changed: tuple[Changed, ...]


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """What ``edgekit compare`` found.

    Attributes
    ----------
    host_runtime, device_runtime
        What INT8 ran on, with its version.
    notes
        What a reader must know besides, in words.
    """

    bundle: BundleName
    device: str
    simulated: bool
    host_runtime: str
    device_runtime: str
    attribution: Attribution
    notes: tuple[str, ...]


def attribute(
    labels: Sequence[int] | None,
    float_host: Sequence[int],
    int8_host: Sequence[int],
    int8_device: Sequence[int],
    *,
    fed_alike: Sequence[bool],
    device_as_host_fed: Sequence[int],
) -> Attribution:
    """Take a change of the answers apart.

    Intervals are `edgekit.comparison.tango`'s for differences, as the samples are the same, and `edgekit.comparison.wilson`'s for rates.

    Parameters
    ----------
    labels
        True classes, int [n]; None when the samples carry none.
    float_host, int8_host, int8_device
        Predicted classes, int [n], of the same samples in the same order.
    fed_alike
        Whether host and board fed the network the same bytes, bool [n].
    device_as_host_fed
        What the board answers, int [n], when it is fed what the host feeds; equal to ``int8_device`` where they are fed alike.

    Raises
    ------
    ValueError
        They are not of the same n samples, n is 0, or a sample that was fed alike has two answers.
    """
    answers = [np.asarray(one) for one in (float_host, int8_host, device_as_host_fed, int8_device)]
    alike, truth = np.asarray(fed_alike, bool), None if labels is None else np.asarray(labels)
    n = len(alike)
    if n == 0 or any(one.shape != (n,) for one in (*answers, *([] if truth is None else [truth]))):
        raise ValueError("the answers are not of the same samples")
    if np.any(alike & (answers[2] != answers[3])):
        raise ValueError("a sample that was fed alike has two answers")
    whole, exact, as_fed, board = answers
    pairs: dict[StepName, tuple[NDArray[np.int64], NDArray[np.int64]]] = {
        "quantization": (whole, exact),
        "kernels": (exact, as_fed),
        "preprocessing": (as_fed, board),
        "total": (whole, board),
    }
    causes = [(name, before != after) for name, (before, after) in pairs.items() if name != "total"]
    numbers = np.flatnonzero(np.any([moved for _, moved in causes], axis=0))
    return Attribution(
        n=n,
        scores=() if truth is None else tuple(_score(name, one == truth) for name, one in _named(whole, exact, board)),
        steps=tuple(_step(name, before, after, truth) for name, (before, after) in pairs.items()),
        fed_otherwise=int(np.count_nonzero(~alike)),
        changed=tuple(
            Changed(
                number=int(number),
                label=None if truth is None else int(truth[number]),
                float_host=int(whole[number]),
                int8_host=int(exact[number]),
                int8_device=int(board[number]),
                fed_alike=bool(alike[number]),
                causes=tuple(name for name, moved in causes if moved[number]),
            )
            for number in numbers
        ),
    )


def _named(
    whole: NDArray[np.int64], exact: NDArray[np.int64], board: NDArray[np.int64]
) -> tuple[tuple[Literal["float-host", "int8-host", "int8-device"], NDArray[np.int64]], ...]:
    return ("float-host", whole), ("int8-host", exact), ("int8-device", board)


def _score(name: Literal["float-host", "int8-host", "int8-device"], right: NDArray[np.bool_]) -> Score:
    count, n = int(np.count_nonzero(right)), len(right)
    return Score(name, count, count / n, *wilson(count, n, _CONFIDENCE))


def _step(name: StepName, before: NDArray[np.int64], after: NDArray[np.int64], truth: NDArray[np.int64] | None) -> Step:
    changed, n = int(np.count_nonzero(before != after)), len(before)
    if truth is None:
        return Step(name, changed, None, None, None, None, None)
    was, now = before == truth, after == truth
    gains, losses = int(np.count_nonzero(~was & now)), int(np.count_nonzero(was & ~now))
    return Step(name, changed, gains, losses, (gains - losses) / n, *tango(gains, losses, n, _CONFIDENCE))

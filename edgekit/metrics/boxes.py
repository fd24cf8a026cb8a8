"""Mean average precision of boxes by COCO's protocol. Boxes are ``[x, y, width, height]`` in the image's own pixels.

Decoded outputs hold ``boxes``, ``scores`` and ``classes``; the truth ``boxes``, ``classes`` and, where there are any, ``crowd`` and
``area``. The protocol is that of pycocotools, cocoeval.py (T.-Y. Lin et al., ECCV 2014): IoU thresholds 0.50 to 0.95, precision at 101
recalls, 100 boxes an image and class, areas by the squares of 32 and 96 pixels, crowds match any number and count neither way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edgekit.metrics import Array, Metric, Statistics, Total

__all__ = ["MAP"]

_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALLS = np.linspace(0.0, 1.0, 101)
_BOXES_MAX = 100
_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
_COLUMNS = 3 + 2 * len(_AREAS)
# Columns of a statistic. A row is a true box (1) or one that was found (0), its class and score; then for each range of areas, of a true
# box whether it counts, of one found two masks of ten bits: at which thresholds it is right, and at which it counts neither way.
_BITS = 1 << np.arange(len(_THRESHOLDS))
_NOTHING = np.full((len(_THRESHOLDS), len(_RECALLS)), np.nan)


def _match(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
    """Return the statistic of one image: each box, and where it is right."""
    found, score, said = (np.asarray(outputs[key], np.float64) for key in ("boxes", "scores", "classes"))
    true, kind = np.asarray(truth["boxes"], np.float64).reshape(-1, 4), np.asarray(truth["classes"], np.float64)
    crowd = np.asarray(truth.get("crowd", np.zeros(len(true))), bool)
    area = np.asarray(truth.get("area", true[:, 2] * true[:, 3]), np.float64)
    found = found.reshape(-1, 4)
    rows = [np.zeros((0, _COLUMNS))]
    for number in np.unique(np.concatenate([said, kind])):
        mine, theirs = np.flatnonzero(said == number), np.flatnonzero(kind == number)
        mine = mine[np.argsort(-score[mine], kind="stable")][:_BOXES_MAX]
        overlap = _overlap(found[mine], true[theirs], crowd[theirs])
        block = np.zeros((len(theirs) + len(mine), _COLUMNS))
        block[: len(theirs), 0], block[:, 1], block[len(theirs) :, 2] = 1, number, score[mine]
        for place, (low, high) in enumerate(_AREAS.values()):
            ignored = crowd[theirs] | (area[theirs] < low) | (area[theirs] > high)
            sizes = found[mine, 2] * found[mine, 3]
            right, neither = _matched(overlap, crowd[theirs], ignored, (sizes < low) | (sizes > high))
            block[: len(theirs), 3 + 2 * place] = ~ignored
            block[len(theirs) :, 3 + 2 * place] = right @ _BITS
            block[len(theirs) :, 4 + 2 * place] = neither @ _BITS
        rows.append(block)
    return np.concatenate(rows)


def _overlap(found: Array, true: Array, crowd: Array) -> Array:
    """Return intersection over union, [found, true]; over the found box alone where the true one is a crowd."""
    ends = np.minimum((found[:, :2] + found[:, 2:])[:, None], (true[:, :2] + true[:, 2:])[None])
    sides = np.maximum(ends - np.maximum(found[:, None, :2], true[None, :, :2]), 0)
    inside, own, other = sides.prod(axis=2), found[:, 2] * found[:, 3], true[:, 2] * true[:, 3]
    union = np.where(crowd[None], own[:, None], own[:, None] + other[None] - inside)
    shares: Array = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return shares


def _matched(overlap: Array, crowd: Array, ignored: Array, outside: Array) -> tuple[Array, Array]:
    """Give each found box, best score first, the true one it overlaps most that is left; return right and neither, [found, thresholds].

    Boxes that count come before those that do not, and of equal overlaps the later wins, as in cocoeval.py, evaluateImg.
    """
    order = np.argsort(ignored, kind="stable")
    overlap, crowd, ignored = overlap[:, order], crowd[order], ignored[order]
    right = np.zeros((len(overlap), len(_THRESHOLDS)), bool)
    neither = np.zeros_like(right)
    counting = int(np.count_nonzero(~ignored))
    for column, threshold in enumerate(_THRESHOLDS):
        taken = np.zeros(len(order), bool)
        for row, overlaps in enumerate(overlap):
            able = (overlaps >= min(threshold, 1 - 1e-10)) & (~taken | crowd)
            group = able[:counting] if able[:counting].any() else able
            if not group.any():
                neither[row, column] = outside[row]
                continue
            values = np.where(group, overlaps[: len(group)], -1.0)
            best = len(values) - 1 - int(values[::-1].argmax())
            taken[best] = True
            (neither if ignored[best] else right)[row, column] = True
    return right, neither


def _precisions(statistics: Statistics, area: str) -> Callable[[Array], Array]:
    """Return a function of the samples' weights to the precisions [classes, thresholds, recalls], NaN for a class without a true box."""
    column = 3 + 2 * list(_AREAS).index(area)
    values, owners = statistics.values, statistics.owners
    is_true = values[:, 0] == 1
    counts = is_true & (values[:, column] > 0)
    curves = []
    for number in np.unique(values[counts, 1]):
        of_class = values[:, 1] == number
        rows = np.flatnonzero(of_class & ~is_true)
        rows = rows[np.argsort(-values[rows, 2], kind="stable")]
        right = (values[rows, column].astype(np.int64)[None] & _BITS[:, None]) > 0
        neither = (values[rows, column + 1].astype(np.int64)[None] & _BITS[:, None]) > 0
        curves.append((owners[of_class & counts], owners[rows], right, ~right & ~neither))

    def precisions(weights: Array) -> Array:
        return np.stack([_curve(weights, *curve) for curve in curves] or [_NOTHING])

    return precisions


def _curve(weights: Array, counting: Array, owners: Array, right: Array, wrong: Array) -> Array:
    """Return the precision at each threshold and recall: the best at that recall or beyond it."""
    there = float(weights[counting].sum())
    if not there:
        return _NOTHING
    drawn = weights[owners]
    hits, misses = np.cumsum(right * drawn, axis=1), np.cumsum(wrong * drawn, axis=1)
    precision = hits / (hits + misses + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([precision, np.zeros((len(precision), 1))], axis=1)
    return np.stack([line[np.searchsorted(recall, _RECALLS)] for line, recall in zip(padded, hits / there, strict=True)])


def _mean(precisions: Array) -> float:
    known = precisions[~np.isnan(precisions)]
    return float(known.mean()) if known.size else float("nan")


def _total(statistics: Statistics) -> Total:
    precisions = _precisions(statistics, "all")
    return lambda weights: _mean(precisions(weights))


def _parts(statistics: Statistics) -> dict[str, float]:
    weights = np.ones(len(statistics))
    at = _precisions(statistics, "all")(weights)
    sizes = {area: _mean(_precisions(statistics, area)(weights)) for area in _AREAS if area != "all"}
    return {"iou_50": _mean(at[:, 0]), "iou_75": _mean(at[:, 5]), **sizes}


MAP = Metric("map", "boxes", _match, _total, parts=_parts)

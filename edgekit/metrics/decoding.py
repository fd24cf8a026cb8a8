"""From a network's outputs to what a metric reads: scores, boxes, a class map, a text.

The same code reads the outputs of the float network, of the artifact on the host and of the board: all three come here as real
numbers, in the layout of the float network. ``scoring`` asks `decoder_for` once and calls what it gets for each sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgekit.errors import InputError
from edgekit.metrics import Truth
from edgekit.metrics.frame import Frame
from edgekit.metrics.masks import IGNORED
from edgekit.metrics.postprocess import Postprocess

__all__ = ["Decoder", "decoder_for", "nms"]

Array = np.ndarray[Any, np.dtype[Any]]
Outputs = Mapping[str, Array]
Decoder = Callable[[Outputs, "Frame | None"], dict[str, Array]]

_BOXES_MAX = 300
"""Boxes kept of an image: as many as ultralytics keeps when it validates (``max_det``); COCO's protocol looks at 100 of each class."""

_OF_TRUTH: dict[Truth, tuple[str | None, ...]] = {
    "class": (None, "softmax", "sigmoid"),
    "vector": (None,),
    "mask": (None,),
    "boxes": ("yolo", "boxes"),
    "text": ("ctc", "argmax"),
    "any": (None, "softmax", "sigmoid", "yolo", "boxes", "ctc", "argmax"),
    "none": (),
}


def decoder_for(declared: Postprocess, truth: Truth, names: Sequence[str], vocabulary: Sequence[str] = ()) -> Decoder:
    """Return what reads the outputs of these names, for a metric that is held against such a truth.

    Parameters
    ----------
    names
        The network's outputs, in its order.
    vocabulary
        The tokens of ``[postprocess] vocabulary``.

    Raises
    ------
    InputError
        ``[postprocess]`` does not fit the metric, names an output that is none, or lacks what its decoder needs.
    """
    if declared.decode not in _OF_TRUTH[truth]:
        able = " or ".join(f'"{word}"' for word in _OF_TRUTH[truth] if word) or "none"
        raise InputError(
            f"[postprocess] decode: the metric reads {truth}, and {declared.decode or 'none'} is declared",
            fix=f"decode for it: {able}",
        )
    for key in ("output", "boxes", "scores", "classes"):
        name = getattr(declared, key)
        if name is not None and name not in names:
            raise InputError(f"[postprocess] {key}: the model has no output {name!r}", fix=f"its outputs are {', '.join(names)}")
    output = declared.output or names[0]
    if declared.decode == "yolo":
        return lambda outputs, frame: _kept(*_yolo(outputs[output]), declared, _needed(frame))
    if declared.decode == "boxes":
        if declared.boxes is None or declared.scores is None:
            raise InputError("[postprocess] decode: boxes reads two outputs or three", fix='boxes = "...", scores = "..." by name')
        return lambda outputs, frame: _kept(*_boxes(outputs, declared, _needed(frame)), declared, _needed(frame))
    if declared.decode in ("ctc", "argmax"):
        if not vocabulary:
            raise InputError("[postprocess] vocabulary: text is made of tokens", fix='vocabulary = "tokens.txt", a token on each line')
        return lambda outputs, _: _text(outputs[output], declared, vocabulary)
    if truth == "mask":
        return lambda outputs, frame: {"map": _needed(frame).spread(_class_map(outputs[output], declared), IGNORED)}
    if truth == "any" and declared.decode is None:
        return lambda outputs, _: dict(outputs)
    return lambda outputs, _: {"scores": _scores(outputs[output], declared.decode)}


def _needed(frame: Frame | None) -> Frame:
    if frame is None:
        raise InputError("boxes and masks are of images, and the samples are none", fix="give images, uint8 [height, width, 3]")
    return frame


def _scores(output: Array, decode: str | None) -> Array:
    scores: Array = output.ravel().astype(np.float64)
    if decode == "softmax":
        powers = np.exp(scores - scores.max())
        scores = powers / powers.sum()
    elif decode == "sigmoid":
        scores = 0.5 * (1 + np.tanh(scores / 2))
    return scores


def _class_map(output: Array, declared: Postprocess) -> Array:
    """Return the class of each place, from scores [1, classes, height, width] or classes [1, height, width]."""
    planes: Array = output[0] if output.ndim == 4 else output
    if planes.ndim == 2:
        planes = planes[None]
    if planes.ndim != 3:
        raise InputError(f"a class map is [1, classes, height, width] or [1, height, width], the output is {list(output.shape)}")
    if len(planes) > 1:
        planes = planes.argmax(axis=0)[None]
    elif planes.dtype.kind == "f":
        planes = planes >= (0.5 if declared.score_min is None else declared.score_min)
    classes: Array = planes[0].astype(np.int64)
    return classes


def _yolo(output: Array) -> tuple[Array, Array]:
    """Return corners and scores of YOLOv8's head: ``[1, 4 + classes, boxes]``, or with the last two axes turned."""
    rows = output.reshape(output.shape[-2:])
    if output.size != rows.size or min(rows.shape) < 5:
        raise InputError(f"decode = yolo reads [1, 4 + classes, boxes], the output is {list(output.shape)}")
    rows = rows.T if rows.shape[0] < rows.shape[1] else rows
    centre, half = rows[:, :2].astype(np.float64), rows[:, 2:4].astype(np.float64) / 2
    return np.concatenate([centre - half, centre + half], axis=1), rows[:, 4:]


def _boxes(outputs: Outputs, declared: Postprocess, frame: Frame) -> tuple[Array, Array]:
    corners = outputs[str(declared.boxes)].reshape(-1, 4).astype(np.float64)
    scores = outputs[str(declared.scores)].reshape(len(corners), -1)
    if declared.units == "fractions":
        height, width = frame.network
        corners = corners * np.array([width, height, width, height])
    if declared.classes is None:
        return corners, scores
    kinds = np.rint(outputs[declared.classes].ravel()).astype(np.int64)
    if len(kinds) != len(corners) or scores.shape[1] != 1 or kinds.min(initial=0) < 0 or kinds.max(initial=0) > 1 << 16:
        raise InputError(f"{len(corners)} boxes, {list(scores.shape)} scores and {len(kinds)} classes do not belong together")
    table = np.full((len(corners), int(kinds.max(initial=0)) + 1), -np.inf)
    table[np.arange(len(corners)), kinds] = scores[:, 0]
    return corners, table


def _kept(corners: Array, scores: Array, declared: Postprocess, frame: Frame) -> dict[str, Array]:
    """Keep the likely boxes, of those that overlap the best, and the best of all, in the image's pixels."""
    least = 0.001 if declared.score_min is None else declared.score_min
    rows, classes = np.nonzero(scores >= least)
    values = scores[rows, classes].astype(np.float64)
    order = np.argsort(-values, kind="stable")
    rows, classes, values = rows[order], classes[order], values[order]
    if declared.nms_iou is not None:
        keep = nms(corners[rows], classes, declared.nms_iou)
        rows, classes, values = rows[keep], classes[keep], values[keep]
    best = slice(0, _BOXES_MAX)
    return {"boxes": frame.boxes(corners[rows[best]]), "scores": values[best], "classes": classes[best]}


def nms(corners: Array, classes: Array, iou_max: float) -> Array:
    """Return the boxes that no better one of their class overlaps by more, as numbers; they come best first."""
    areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    left = np.arange(len(corners))
    kept: list[int] = []
    while len(left) and len(kept) < _BOXES_MAX:
        first, rest = left[0], left[1:]
        kept.append(first)
        sides = np.minimum(corners[rest, 2:], corners[first, 2:]) - np.maximum(corners[rest, :2], corners[first, :2])
        inside = np.maximum(sides, 0).prod(axis=1)
        union = areas[rest] + areas[first] - inside
        left = rest[(classes[rest] != classes[first]) | (inside <= iou_max * union)]
    return np.array(kept, np.int64)


def _text(output: Array, declared: Postprocess, vocabulary: Sequence[str]) -> dict[str, Array]:
    """Return the text of the likeliest tokens, from scores [steps, tokens] or ids [steps]."""
    sides = [side for side in output.shape if side > 1]
    if output.dtype.kind == "f":
        steps = output.reshape(sides) if len(sides) == 2 else output.reshape(output.shape[-2:])
        ids, count = steps.argmax(axis=1), steps.shape[1]
    else:
        ids, count = output.ravel().astype(np.int64), len(vocabulary)
    tokens = list(vocabulary)
    if declared.decode == "ctc":
        ids = ids[np.diff(ids, prepend=-1) != 0]
        ids = ids[ids != declared.blank]
        if len(tokens) == count - 1:
            tokens.insert(declared.blank, "")
    elif declared.end is not None and (ids == declared.end).any():
        ids = ids[: int(np.argmax(ids == declared.end))]
    if len(tokens) < count or ids.min(initial=0) < 0 or ids.max(initial=0) >= len(tokens):
        raise InputError(f"[postprocess] vocabulary: it has {len(vocabulary)} tokens, the output tells {count} apart")
    return {"text": np.frombuffer("".join(tokens[number] for number in ids).encode("utf-8"), np.uint8)}

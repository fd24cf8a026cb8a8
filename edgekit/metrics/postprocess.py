"""``Postprocess``: what a network's outputs mean, declared once in ``[postprocess]``. Its arithmetic is ``edgekit.metrics.decoding``."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

__all__ = ["Postprocess"]

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Token = Annotated[int, msgspec.Meta(ge=0, le=1 << 24)]


class Postprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How outputs are read; by default the first output as it is.

    Attributes
    ----------
    decode
        Scores: ``softmax`` or ``sigmoid`` makes probabilities of them. Boxes: ``yolo``, one output ``[4 + classes, boxes]`` of centres and
        sizes in the network's pixels (YOLOv8 and later), or ``boxes``, outputs with corners, scores and perhaps classes. Text: ``ctc``
        or ``argmax``, the likeliest token of each step. Class maps and vectors need none.
    output
        Which output is read where it is one; None is the first.
    boxes, scores, classes
        The outputs of ``boxes``: corners ``[boxes, 4]`` left, top, right, bottom; scores ``[boxes]`` or ``[boxes, classes]``; classes
        ``[boxes]``, which scores of several classes make needless.
    units
        Whether corners are in the network's pixels or fractions of its width and height.
    score_min
        Boxes below it are dropped; a class map of one channel is class 1 from it up. By default 0.001, which keeps the low end of the
        precision's curve, and 0.5.
    nms_iou
        Of two boxes of one class that overlap more, the better is kept; None keeps all.
    vocabulary
        A file with a token on each line, in the order of the ids. With ``ctc`` it may leave out the blank.
    blank
        The id of CTC's blank.
    end
        With ``argmax``: the id at which the text ends.
    """

    decode: Literal["softmax", "sigmoid", "yolo", "boxes", "ctc", "argmax"] | None = None
    output: str | None = None
    boxes: str | None = None
    scores: str | None = None
    classes: str | None = None
    units: Literal["pixels", "fractions"] = "pixels"
    score_min: Fraction | None = None
    nms_iou: Fraction | None = None
    vocabulary: str | None = None
    blank: Token = 0
    end: Token | None = None

"""``Preprocess``: how a raw sample becomes the network's input, declared once.

The arithmetic is `edgekit.ondevice.preprocess`, the same file on host and device; this is the noun.
`edgekit.feed` says what it means for the inputs of one network.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from edgekit.errors import InputError
from edgekit.ondevice import preprocess as arithmetic
from edgekit.ondevice.wire import AgentError

__all__ = ["Preprocess"]

Side = Annotated[int, msgspec.Meta(ge=1, le=16384)]
# Not tuple[Side, Side]: beside an annotated int in a union that crashes msgspec up to 0.22 in the garbage collector.
Size = Annotated[tuple[Side, ...], msgspec.Meta(min_length=2, max_length=2)]


class Preprocess(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Steps in their order: resize, crop, colour, float32, ``(x * scale - mean) / std``, layout.

    A sample that is no image (not three-dimensional) skips the image steps.

    Attributes
    ----------
    resize
        ``[height, width]``, or one number for the shorter side; byte for byte what Pillow does.
    crop
        ``[height, width]`` out of the centre.
    color
        What the network wants; samples are RGB.
    layout
        The network's own: ``nchw`` or ``nhwc``.
    inputs
        Of a network with several inputs: those the steps are for. None means its images, the real-valued
        inputs of four dimensions. All others go in as they are.
    pad
        By input: a number that fills up samples which are shorter than what the network takes, at the
        end of each axis, after all other steps. Without one, a short sample is an error.
    """

    resize: Side | Size | None = None
    filter: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    crop: Size | None = None
    color: Literal["rgb", "bgr", "gray"] = "rgb"
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    layout: Literal["nchw", "nhwc"] = "nchw"
    inputs: tuple[str, ...] | None = None
    pad: dict[str, float] = {}

    @property
    def has_steps(self) -> bool:
        """Whether anything is declared that changes values: all but the layout, which only images have, and padding."""
        return msgspec.structs.replace(self, inputs=None, pad={}, layout="nchw") != Preprocess()

    def to_wire(self, *, layout: str | None = None) -> dict[str, Any]:
        """Return the steps in the plain form that the manifest carries and the device reads."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        plain = {key: value for key, value in plain.items() if value is not None and key not in ("inputs", "pad")}
        return {**plain, "layout": layout or self.layout}

    def apply(self, sample: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Turn one raw sample into the network's float32 input, with a leading batch axis of 1.

        Raises
        ------
        InputError
            The steps do not fit the sample.
        """
        try:
            result: np.ndarray[Any, np.dtype[np.float32]] = arithmetic.apply(self.to_wire(), sample)
        except AgentError as error:
            raise InputError(f"[preprocess]: {error}", fix="edit [preprocess] in edgekit.toml") from error
        return result

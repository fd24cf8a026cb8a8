"""``Explanation``: why a network in int8 answers otherwise than in float, layer by layer, as a plain value.

``quantize.compare`` measures, ``quantize.diagnose`` and ``pipeline.canary`` judge, ``pipeline.debug`` puts one
together, the command line shows it.
"""

from __future__ import annotations

import math

import msgspec

from edgekit.plan import Precision, Range

__all__ = ["Explanation", "Finding", "Layer", "Loss", "Preprocessing", "Variant"]


class Loss(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far int8 values are from float ones.

    Attributes
    ----------
    sqnr_db
        Power of the float values over that of the error; None where there is no finite figure: nothing moved,
        or all values are zero.
    cosine
        Of the angle between the two, all values of all samples taken as one vector; None where one has no length.
    """

    sqnr_db: float | None
    cosine: float | None

    @classmethod
    def of(cls, signal: float, power: float, error: float) -> Loss:
        """Make one of sums of squares: of the float values, of the int8 ones and of their difference."""
        sqnr_db = 10 * math.log10(signal / error) if math.isfinite(signal / error if error else math.inf) and signal else None
        length = math.sqrt(signal) * math.sqrt(power)
        cosine = (signal + power - error) / (2 * length) if length and math.isfinite(length) else None
        return cls(sqnr_db, None if cosine is None else max(-1.0, min(1.0, cosine)))


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One layer: a node with the clamp that is fused with it.

    Attributes
    ----------
    place
        Its number in the network's order, from 0.
    tensor
        What the last of its nodes makes.
    why
        The reason for a precision other than int8.
    range
        What the tensor may take in int8, and the method that chose it.
    seen
        The least and the greatest float value of these samples.
    saturation
        Share of the float values outside the range.
    alone
        Only this layer is int8: what it reads, its weights, what it writes.
    whole
        Every layer before it is int8 too.
    gain_db
        By how much the SQNR of the network's output rises when this layer stays float; None where that was not tried.
    gain_with
        The layers that stayed float with it: those which write what it reads, or read what it writes, whichever
        rounding its error comes from. A rounding goes only when both of its ends are float.
    """

    place: int
    name: str
    op: str
    tensor: str
    precision: Precision
    why: str
    range: Range
    seen: tuple[float, float]
    saturation: float
    alone: Loss
    whole: Loss
    gain_db: float | None
    gain_with: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One diagnosis.

    Attributes
    ----------
    rule
        Which rule says so: ``"outlier-channel"``.
    layer
        The layer it speaks of; None when it is about the whole.
    text, fix
        What is wrong, with the figures it rests on, and the option or setting that treats it.
    """

    rule: str
    layer: str | None
    text: str
    fix: str


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to preprocess, and what the float model makes of it.

    Attributes
    ----------
    settings
        The keys of ``[preprocess]`` that differ from the declared ones, as TOML: ``color = "bgr"``. Empty for these.
    right
        How many of the ``n`` samples the float model gets right.
    """

    settings: str
    right: int
    n: int


class Preprocessing(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the canary found.

    Attributes
    ----------
    declared
        As the project says.
    better
        A variant that scores clearly better; None when there is none.
    low
        The least that ``better`` gains in top-1 as a fraction, at ``confidence``.
    tried
        How many other variants there were.
    """

    declared: Variant
    better: Variant | None
    low: float | None
    confidence: float
    tried: int


class Explanation(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of it.

    Attributes
    ----------
    samples
        How many samples, of the evaluation set, the layers were compared on.
    outputs
        Of the network, by name.
    layers
        The worst first: by what each loses alone.
    findings
        The gravest first.
    preprocessing
        None when it could not be checked: no labels, or no images.
    notes
        What the user should know of how this was made: calibration files that could not be used or written.
    """

    samples: int
    outputs: dict[str, Loss]
    layers: tuple[Layer, ...]
    findings: tuple[Finding, ...]
    preprocessing: Preprocessing | None
    notes: tuple[str, ...] = ()

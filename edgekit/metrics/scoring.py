"""``Scorer``: from the outputs of a network and the truth of a set to a metric's statistics, sample by sample.

``pipeline.verify`` calls it for the float network and the artifact on the host, ``pipeline.probes.accuracy`` for the board.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgekit.errors import InputError
from edgekit.lazy import load
from edgekit.metrics import METRICS, Array, Metric, Statistics, Truth, collect, ratio, ratio_total
from edgekit.metrics.decoding import Decoder, decoder_for
from edgekit.metrics.frame import Frame
from edgekit.metrics.postprocess import Postprocess
from edgekit.nearest import did_you_mean
from edgekit.plugin import own_function

__all__ = ["Scorer", "find_metric", "unjudged"]

_VOCABULARY_BYTES_MAX = 16 << 20


def find_metric(word: str, folder: Path) -> Metric:
    """Return a metric by its name, or made of the project's ``module:function``.

    Such a function gets a sample's outputs and its truth, and returns its score, or a pair (part, whole); the metric is the mean,
    or the parts' sum over the wholes'. More is better.

    Raises
    ------
    InputError
        There is none of that name; the message offers the nearest.
    """
    if ":" in word:
        return _own(word, own_function(word, folder, "f(outputs, truth) must return a number, or a pair (part, whole)"))
    if word not in METRICS:
        near = did_you_mean(word, METRICS)
        fix = f"did you mean {near!r}?" if near else f"use one of {', '.join(METRICS)}, or module:function"
        raise InputError(f"[evaluation] metric: none is called {word!r}", fix=fix)
    metric: Metric = load(METRICS[word][0])
    return metric


def unjudged(metric: Metric) -> Truth:
    """Return how a set is read that no output is held against: calibration sees inputs, and only classes may stand beside them."""
    return "class" if metric.truth == "class" else "none"


def _own(word: str, function: Callable[..., Any]) -> Metric:
    def statistic(outputs: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
        known: Any = dict(truth)
        if len(truth) == 1:
            ((key, array),) = truth.items()
            known = array.tobytes().decode("utf-8") if key == "text" else array
        try:
            said = function(dict(outputs), known)
            part, whole = (float(said[0]), float(said[1])) if isinstance(said, (tuple, list)) else (float(said), 1.0)
        except Exception as error:
            raise InputError(f"{word}: {type(error).__name__}: {error}", fix="mend the function; it gets (outputs, truth)") from error
        if not (np.isfinite(part) and np.isfinite(whole) and whole >= 0):
            raise InputError(f"{word} returned {said!r}", fix="return a finite number, or a pair (part, whole) with whole >= 0")
        return ratio(part, whole)

    return Metric(word, "any", statistic, ratio_total)


@dataclass(frozen=True)
class Scorer:
    """A metric, bound to a network's outputs and its preprocessing.

    Attributes
    ----------
    output
        Name of the network's output that is judged, or of the first of several.
    method_sha256
        Digest of all that decides a score but outputs and truth: figures with different ones are of different things.
    """

    metric: Metric
    preprocess: Mapping[str, Any]
    output: str
    decode: Decoder
    method_sha256: str

    @classmethod
    def of(cls, word: str, declared: Postprocess, folder: Path, preprocess: Mapping[str, Any], outputs: Sequence[str]) -> Scorer:
        """Bind what a project declares.

        Parameters
        ----------
        preprocess
            In its wire form: boxes and masks go back through it.
        outputs
            Names of the network's outputs, in its order.

        Raises
        ------
        InputError
            The metric, or what ``[postprocess]`` names, is unknown or does not fit.
        """
        metric = find_metric(word, folder)
        vocabulary = _vocabulary(folder / declared.vocabulary) if declared.vocabulary else ()
        parts = [word.encode(), msgspec.json.encode(declared, order="sorted"), *(token.encode() for token in vocabulary)]
        if ":" in word:
            fix = "it must be a Python function"
            try:
                source = inspect.getsourcefile(own_function(word, folder, fix))
            except TypeError as error:
                raise InputError(f"{word} has no source to tell it by: {error}", fix=fix) from error
            parts.append(Path(source).read_bytes() if source else b"")
        digest = hashlib.sha256()
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        decode = decoder_for(declared, metric.truth, outputs, vocabulary)
        return cls(metric, preprocess, declared.output or outputs[0], decode, digest.hexdigest())

    def __call__(self, outputs: Iterable[Mapping[str, Array]], truths: Iterable[Mapping[str, Array]]) -> Statistics:
        """Score samples, one at a time.

        Parameters
        ----------
        outputs
            Real numbers by the output's name, in the float network's layout.
        truths
            Of the same samples, by what the metric reads (`edgekit.truth`), and ``size``, the height and width of an image.

        Raises
        ------
        InputError
            Outputs or truth are not what the metric reads; the sample is named by its number.
        """
        return collect(list(self._rows(outputs, truths)))

    def _rows(self, outputs: Iterable[Mapping[str, Array]], truths: Iterable[Mapping[str, Array]]) -> Iterator[Array]:
        for number, (said, truth) in enumerate(zip(outputs, truths, strict=True)):
            try:
                yield self._row(said, truth)
            except InputError as error:
                raise InputError(f"sample {number}: {error.message}", fix=error.fix) from error

    def _row(self, said: Mapping[str, Array], truth: Mapping[str, Array]) -> Array:
        for name, values in said.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise InputError(f"the output {name!r} holds values that are not finite numbers")
        frame = Frame.of(self.preprocess, (int(truth["size"][0]), int(truth["size"][1]))) if "size" in truth else None
        known = {key: value for key, value in truth.items() if key != "size"}
        try:
            decoded = self.decode(said, frame)
        except (ValueError, IndexError) as error:
            shapes = ", ".join(f"{name} {list(values.shape)}" for name, values in said.items())
            raise InputError(
                f"[postprocess] does not fit the outputs {shapes}: {error}", fix="docs/metrics.md says what decode reads"
            ) from error
        return self.metric.statistic(decoded, known)


def _vocabulary(path: Path) -> tuple[str, ...]:
    try:
        if path.stat().st_size > _VOCABULARY_BYTES_MAX:
            raise InputError(f"{path}: too large for a vocabulary")
        return tuple(line.rstrip("\r") for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"[postprocess] vocabulary: {path}: {error}", fix="a UTF-8 file with a token on each line") from error

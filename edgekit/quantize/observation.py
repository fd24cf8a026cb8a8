"""``Observations``: what a calibration set did to a graph's activations, as a value that merges, travels and can be trusted.

``observe`` counts, the pipeline keeps these in its cache and in part files. One is made for some samples of
a set; those of disjoint samples add up exactly, whatever the cuts, so that the work can stop and go on, or be
shared out to processes and machines. No method of choosing ranges takes part: histograms serve them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
import numpy as np

from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.graph import Graph
from edgekit.parse import Sha256
from edgekit.quantize.counter import counted_values
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.observe import observed

__all__ = ["FILE_BYTES_MAX", "Identity", "Observations", "Spans", "decode", "encode", "without"]

FILE_BYTES_MAX = 256 << 20

Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
Span = tuple[Count, Count]
Spans = tuple[Span, ...]
"""Samples by number: from each start up to, and without, its end; in order, and with gaps between."""

_WIDTHS: tuple[Literal[1, 2, 4, 8], ...] = (1, 2, 4, 8)
_MAGIC = b"edgekit.observations/1\n"


class Identity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What observations are of. Two that differ in anything here have nothing to do with each other.

    Attributes
    ----------
    graph_sha256
        The graph whose activations were counted.
    dataset_sha256, samples
        The whole set, and how many samples it has.
    feed_sha256
        How samples become inputs.
    tools
        The versions of what computed them: another one may round otherwise, or count other things.
    """

    graph_sha256: Sha256
    dataset_sha256: Sha256
    samples: Count
    feed_sha256: Sha256
    tools: dict[str, str]

    @property
    def sha256(self) -> str:
        """One name for all of it."""
        return sha256_bytes(msgspec.json.encode(self, order="sorted"))


@dataclass(frozen=True)
class Observations:
    """Histograms of some samples of a set.

    Attributes
    ----------
    spans
        The samples that are in.
    histograms
        By activation; empty when no sample is in.
    """

    identity: Identity
    spans: Spans = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    def __add__(self, other: Observations) -> Observations:
        """Return the observations of both sets of samples: exact, commutative, associative.

        Raises
        ------
        InputError
            They are of different things, or a sample is in both.
        """
        if self.identity != other.identity:
            raise InputError(f"observations of different things cannot be merged: {self.difference(other.identity)}")
        if not (self.spans and other.spans):
            return self if self.spans else other
        spans = sorted((*self.spans, *other.spans))
        joined = [spans[0]]
        for start, end in spans[1:]:
            if start < joined[-1][1]:
                raise InputError(f"calibration sample {start} is in both of the observations to be merged")
            touches = start == joined[-1][1]
            joined[-1:] = [(joined[-1][0], end)] if touches else [joined[-1], (start, end)]
        merged = {name: histogram + other.histograms[name] for name, histogram in self.histograms.items()}
        return Observations(self.identity, tuple(joined), merged)

    @property
    def count(self) -> int:
        """How many samples are in."""
        return sum(end - start for start, end in self.spans)

    @property
    def missing(self) -> Spans:
        """The samples of the set that are not in."""
        return without(((0, self.identity.samples),), self.spans)

    def difference(self, identity: Identity) -> str:
        """Say in words what these observations are not of."""
        words = {
            "graph_sha256": "another graph (the model, its shapes or the target changed)",
            "dataset_sha256": "another calibration set",
            "samples": "another number of samples",
            "feed_sha256": "another preprocessing",
            "tools": f"other versions ({_versions(self.identity)}, here {_versions(identity)})",
        }
        return ", ".join(text for name, text in words.items() if getattr(self.identity, name) != getattr(identity, name))

    def check(self, graph: Graph) -> None:
        """Refuse observations that cannot have come from this graph, whatever they say of themselves.

        Raises
        ------
        InputError
            An activation is missing or unknown, or has another number of values than so many samples give.
        """
        wanted = {name: self.count * counted_values(int(np.prod(graph.shapes[name])))[0] for name in observed(graph)} if self.spans else {}
        if wanted != {name: histogram.total for name, histogram in self.histograms.items()}:
            raise InputError("the observations do not fit the graph they name")


def without(spans: Spans, taken: Spans) -> Spans:
    """Return the samples of ``spans`` that are not in ``taken``."""
    left: list[Span] = []
    for start, end in spans:
        for low, high in taken:
            if low < end and high > start:
                if low > start:
                    left.append((start, low))
                start = max(start, high)
        if start < end:
            left.append((start, end))
    return tuple(left)


class _Tensor(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A histogram as it travels; ``counts`` are unsigned, little-endian, ``width`` bytes each, as few as hold them."""

    name: Annotated[str, msgspec.Meta(max_length=4096)]
    exponent: int
    first: int
    lo: float
    hi: float
    zeros: Count
    width: Literal[1, 2, 4, 8]
    counts: bytes


class _Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    identity: Identity
    spans: Spans
    tensors: tuple[_Tensor, ...]


def encode(observations: Observations) -> bytes:
    """Return observations as bytes: a line that names the format, a digest, and a body."""
    tensors = []
    for name, h in observations.histograms.items():
        width = next(width for width in _WIDTHS if width == 8 or h.counts.max() < 1 << 8 * width)
        tensors.append(_Tensor(name, h.exponent, h.first, h.lo, h.hi, h.zeros, width, h.counts.astype(f"<u{width}").tobytes()))
    body = msgspec.msgpack.encode(_Body(observations.identity, observations.spans, tuple(tensors)), order="sorted")
    return _MAGIC + hashlib.sha256(body).digest() + body


def decode(data: bytes, origin: str) -> Observations:
    """Read what `encode` wrote. Nothing in it is taken on trust, and it takes memory by its length alone.

    Raises
    ------
    InputError
        The bytes are of another format or version, damaged, or say what cannot be; ``origin`` names them.
    """
    start = len(_MAGIC) + hashlib.sha256().digest_size
    try:
        if not data.startswith(_MAGIC):
            raise ValueError("they are of another format, or another version's")
        body = data[start:]
        if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
            raise ValueError("their digest does not fit")
        parsed = msgspec.msgpack.decode(body, type=_Body)
        _check_spans(parsed.spans, parsed.identity.samples)
        if len({tensor.name for tensor in parsed.tensors}) != len(parsed.tensors) or bool(parsed.tensors) != bool(parsed.spans):
            raise ValueError("their tensors are not as they must be")
        return Observations(parsed.identity, parsed.spans, {tensor.name: _histogram(tensor) for tensor in parsed.tensors})
    except (ValueError, msgspec.MsgspecError) as error:
        raise InputError(f"{origin}: no observations that edgekit can use: {error}", fix="edgekit calibrate makes them anew") from error


def _check_spans(spans: Iterable[Span], samples: int) -> None:
    last = -1
    for start, end in spans:
        if not last < start < end <= samples:
            raise ValueError("their samples are not in order")
        last = end


def _histogram(tensor: _Tensor) -> Histogram:
    if not tensor.counts or len(tensor.counts) % tensor.width:
        raise ValueError(f"the counts of {tensor.name!r} are torn")
    counts = np.frombuffer(tensor.counts, f"<u{tensor.width}").astype(np.int64)
    return Histogram.checked(tensor.exponent, tensor.first, counts, tensor.lo, tensor.hi, tensor.zeros)


def _versions(identity: Identity) -> str:
    return " ".join(f"{name} {version}" for name, version in identity.tools.items())

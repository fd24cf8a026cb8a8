"""``Feed``: how the arrays of a sample become the inputs of one network, on the host and, as its wire form says, on the device.

The pipeline binds one per build, and feeds from it all that runs on the host: calibration, the
float reference, analysis. The arithmetic is `edgekit.ondevice.preprocess`, as on a board.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from edgekit.dataset import Dataset
from edgekit.digest import sha256_bytes
from edgekit.errors import InputError
from edgekit.model import TensorSpec
from edgekit.ondevice import preprocess as arithmetic
from edgekit.ondevice.inputs import whole
from edgekit.ondevice.samples import ALONE
from edgekit.ondevice.wire import AgentError
from edgekit.preprocess import Preprocess

__all__ = ["Feed", "bind", "check_samples"]

Array = np.ndarray[Any, np.dtype[Any]]

_IMAGE_RANK = 4


@dataclass(frozen=True)
class Feed:
    """A network's inputs, each with the array that it comes from.

    Attributes
    ----------
    inputs
        The network's own, in its order, with static shapes and a batch of 1.
    arrays
        The sample's array for each of them.
    preprocess
        The declaration.
    processed
        The arrays that its steps are for; the others go in as they are.
    """

    inputs: tuple[TensorSpec, ...]
    arrays: tuple[str, ...]
    preprocess: Preprocess
    processed: tuple[str, ...]

    def __call__(self, sample: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the network takes, by input name, each array with a leading batch axis of 1.

        Raises
        ------
        InputError
            The steps do not fit the sample, or the sample not the input's type.
        """
        try:
            fed = arithmetic.feed(self._steps, dict(sample), self._shapes)
            return {spec.name: _typed(fed[array], spec) for spec, array in zip(self.inputs, self.arrays, strict=True)}
        except AgentError as error:
            raise InputError(f"[preprocess]: {error}", fix="edit [preprocess] in edgekit.toml") from error

    def to_wire(self, *, layout: str | None = None) -> dict[str, Any]:
        """Return the plain form that the manifest carries and the device reads; what it takes for granted is left out."""
        wire = self.preprocess.to_wire(layout=layout)
        if self.processed != (ALONE,):
            wire["inputs"] = list(self.processed)
        if self.preprocess.pad:
            of = dict(zip((spec.name for spec in self.inputs), self.arrays, strict=True))
            wire["pad"] = {of.get(name, name): value for name, value in self.preprocess.pad.items()}
        return wire

    @cached_property
    def sha256(self) -> str:
        """Digest of all that decides what a sample becomes: names it in the calibration cache."""
        inputs = [[spec.name, spec.dtype, spec.shape, array] for spec, array in zip(self.inputs, self.arrays, strict=True)]
        return sha256_bytes(json.dumps([self.to_wire(), inputs], sort_keys=True).encode())

    @property
    def images(self) -> tuple[str, ...]:
        """The inputs that the steps are for."""
        return tuple(spec.name for spec, array in zip(self.inputs, self.arrays, strict=True) if array in self.processed)

    @cached_property
    def _steps(self) -> dict[str, Any]:
        return arithmetic.check(self.to_wire())

    @cached_property
    def _shapes(self) -> dict[str, list[int]]:
        return {array: list(spec.shape) for spec, array in zip(self.inputs, self.arrays, strict=True)}


def bind(preprocess: Preprocess, inputs: tuple[TensorSpec, ...], dataset: Dataset) -> Feed:
    """Pair a network's inputs with the arrays of a dataset, by name; one array for one input may have any.

    Raises
    ------
    InputError
        The dataset lacks an input or holds something else, or ``[preprocess]`` names what is none.
    """
    names = [spec.name for spec in inputs]
    alone = len(inputs) == len(dataset.arrays) == 1
    if not alone and sorted(dataset.arrays) != sorted(names):
        raise InputError(
            f"{dataset.name} holds the arrays {_listed(dataset.arrays)}; the model's inputs are {_listed(names)}",
            fix="give one array for each input, by its name (a model with one input: x), and labels as y",
        )
    arrays = dataset.arrays if alone else tuple(names)
    known = dict(zip([*names, *arrays], [*arrays, *arrays], strict=True))
    for key, found in (("inputs", preprocess.inputs or ()), ("pad", preprocess.pad)):
        for name in found:
            if name not in known:
                raise InputError(f"[preprocess] {key}: the model has no input {name!r}; its inputs are {_listed(names)}")
    of = dict(zip(names, arrays, strict=True))
    return Feed(inputs, arrays, preprocess, tuple(of[spec.name] for spec in _processed(preprocess, inputs, of)))


def _processed(preprocess: Preprocess, inputs: tuple[TensorSpec, ...], of: Mapping[str, str]) -> list[TensorSpec]:
    """Choose the inputs that the steps are for."""
    real = [spec for spec in inputs if spec.dtype == "float32"]
    images = [spec for spec in real if len(spec.shape) == _IMAGE_RANK]
    if preprocess.inputs is not None:
        named = [spec for spec in inputs if {spec.name, of[spec.name]} & set(preprocess.inputs)]
        for spec in named:
            if spec not in real:
                raise InputError(f"[preprocess] inputs: {spec.name!r} is {spec.dtype}; the steps are for real values")
        return named
    if images or len(real) == len(inputs) == 1:
        return images or real
    if not preprocess.has_steps:
        return []
    if not real:
        raise InputError("[preprocess] has steps, and the model takes whole numbers alone", fix="remove them: these go in as they are")
    if len(real) > 1:
        names = _listed(spec.name for spec in real)
        raise InputError(f"[preprocess] has steps; for which of {names}?", fix=f'inputs = ["{real[0].name}"] under [preprocess]')
    return real


def check_samples(feed: Feed, dataset: Dataset) -> None:
    """Refuse samples that do not become what the network takes.

    Raises
    ------
    InputError
        A shape differs from the input's, or whole numbers are wanted and the sample has others.
    """
    for example in dataset.examples:
        fed = feed(example.arrays)
        for spec, array in zip(feed.inputs, feed.arrays, strict=True):
            got = fed[spec.name].shape
            if got != spec.shape:
                raw = example.arrays[array].shape
                after = "after [preprocess] its shape is" if array in feed.processed else f"the shape of its {array} is"
                raise InputError(
                    f"{example.origin}: {after} {list(got)}, the model's input {spec.name!r} takes {list(spec.shape)}",
                    fix=_shape_fix(raw, got, spec) if array in feed.processed else _length_fix(got, spec),
                )


def _shape_fix(raw: tuple[int, ...], got: tuple[int, ...], spec: TensorSpec) -> str:
    """Say what mends the commonest mismatches between a sample and a network of so many dimensions."""
    rank = len(spec.shape)
    if rank == _IMAGE_RANK and len(raw) == 2:
        return "a gray image needs its channel axis: save x[..., None] instead of x"
    if rank == _IMAGE_RANK and len(raw) == 3 and raw[0] in (1, 3) and raw[2] not in (1, 3):
        return "samples are [height, width, channels]: save x.transpose(1, 2, 0) instead of x"
    if rank == _IMAGE_RANK:
        return "set resize, crop or layout under [preprocess]"
    return _length_fix(got, spec)


def _length_fix(got: tuple[int, ...], spec: TensorSpec) -> str:
    if len(got) == len(spec.shape) and all(have <= want for have, want in zip(got, spec.shape, strict=True)):
        return f"pad = {{ {spec.name} = 0 }} under [preprocess] fills short samples up"
    return f"a sample of {spec.name} must have the shape {list(spec.shape[1:])}, or shapes under [model] another"


def _typed(value: Array, spec: TensorSpec) -> Array:
    if spec.dtype.startswith("float"):
        return np.ascontiguousarray(value, dtype=spec.dtype)
    if value.dtype.kind not in "biu":
        raise AgentError("input", f"the model's input {spec.name!r} is {spec.dtype}, the sample holds {value.dtype}")
    return whole(value, spec.dtype, spec.name)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)

"""``Counter``: runs samples through the float network and counts what its activations take. ``observe`` has one per thread.

Its output arrays are made once and written over by each sample, so that memory stays what it is.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.errors import InputError
from edgekit.graph import Array, Graph
from edgekit.quantize.histogram import Histogram

__all__ = ["FAILURES", "Counter", "counted_values"]

FAILURES = (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException)
"""What ONNX Runtime raises when it does not run."""

_COUNTED_MAX = 1 << 15


class Counter:
    """Counts the values of some activations.

    Parameters
    ----------
    runner
        A session with the activations among its outputs; several counters may share it.
    names
        The activations, graph inputs among them.
    """

    def __init__(self, runner: onnxruntime.InferenceSession, graph: Graph, names: Sequence[str]) -> None:
        entries = {spec.name for spec in graph.inputs}
        self._names, self._runner = tuple(names), runner
        self._outputs = {name: np.empty(graph.shapes[name], np.float32) for name in names if name not in entries}
        self._binding = runner.io_binding()
        for name, array in self._outputs.items():
            self._binding.bind_output(name, "cpu", 0, np.float32, array.shape, array.ctypes.data)

    def count(self, feeds: Sequence[Mapping[str, Array]]) -> dict[str, Histogram]:
        """Return the histograms of some samples together: long arrays count faster per value than short ones.

        Raises
        ------
        InputError
            The network does not run on a sample, or gives a value that is not finite.
        """
        held: dict[str, list[Array]] = {name: [] for name in self._names}
        bounds: dict[str, tuple[float, float]] = {}
        for feed in feeds:
            self._run(feed)
            # Shifted from sample to sample, so that no place in a tensor is always left out; by content, so that order is no matter.
            shift = reduce(lambda crc, array: zlib.crc32(array.data, crc), feed.values(), 0)
            for name in self._names:
                flat = (self._outputs[name] if name in self._outputs else feed[name]).reshape(-1)
                count, step = counted_values(flat.size)
                if step > 1:
                    lo, hi = float(flat.min()), float(flat.max())
                    bounds[name] = (min(lo, bounds[name][0]), max(hi, bounds[name][1])) if name in bounds else (lo, hi)
                first = shift % step
                held[name].append(flat[first : first + count * step : step].copy())
        return {name: Histogram.of(np.concatenate(arrays), name=name, bounds=bounds.get(name)) for name, arrays in held.items()}

    def _run(self, feed: Mapping[str, Array]) -> None:
        if not self._outputs:
            return
        for name, array in feed.items():
            self._binding.bind_cpu_input(name, array)
        try:
            self._runner.run_with_iobinding(self._binding)
        except FAILURES as error:
            raise InputError(f"onnxruntime cannot run the float model on a calibration sample: {error}") from error


def counted_values(size: int) -> tuple[int, int]:
    """Return how many of a tensor's values are counted per sample, and how far they are apart.

    The step shares no factor with the size, so that the counted values go through all channels and rows evenly.
    """
    step = -(-size // _COUNTED_MAX)
    while math.gcd(step, size) > 1:
        step += 1
    return (size // step, step) if size else (0, 1)

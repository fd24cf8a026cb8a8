"""Run the float graph over calibration samples and keep one ``Histogram`` per activation.

``calibrate`` calls it. Samples stream through a few threads, one at a time each, so that memory depends
on the graph and not on their number. Samples are never run as a batch: kernels round differently for
different batch sizes, and what a sample adds must not depend on its neighbours.
"""

from __future__ import annotations

import itertools
import math
import os
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import onnxruntime

from edgekit.errors import InputError
from edgekit.graph import Array, Graph, Node
from edgekit.quantize.counter import FAILURES, Counter, counted_values
from edgekit.quantize.histogram import Histogram

__all__ = ["MOVES", "Progress", "equivalents", "observe", "observed", "run_float", "session", "single"]

Progress = Callable[[str, int, int], None]
Kept = Callable[[Mapping[str, Histogram], int], None]

MOVES = frozenset({"Reshape", "Transpose", "DepthToSpace", "SpaceToDepth"})
"""Operators whose output holds the values of their input, at other places."""

# What the threads hold together: activations of one sample each; samples, and values to be counted, of several.
_LIVE_BYTES, _HELD_BYTES = 96 << 20, 16 << 20
_CHUNK_SAMPLES = 16


def observe(
    graph: Graph,
    samples: Iterable[Mapping[str, Array]],
    *,
    total: int,
    progress: Progress = lambda *_: None,
    kept: Kept = lambda *_: None,
) -> dict[str, Histogram]:
    """Count the values of every float activation over all samples.

    Of a tensor with more than 32,768 values per sample an even share is counted, smallest and largest
    are of all: that costs a quarter of the time. Histograms merge exactly and a sample's share depends on
    the sample alone: the same samples in any order, batches or shards give the same result to the last bit.

    Parameters
    ----------
    samples
        Arrays by input name, with a batch dimension; one that holds several samples is cut.
    total
        Number of samples to expect, for ``progress("calibrate", done, total)`` alone.
    kept
        Called with the histograms of the first ``done`` samples, and ``done``, as that grows; once more
        when an exception, such as a Ctrl-C, ends the work. They are values: they may be kept.

    Returns
    -------
    Histograms by activation name, for ``observed(graph)``.

    Raises
    ------
    InputError
        No samples, arrays that do not fit the graph's inputs, or a value that is not finite.
    """
    names = observed(graph)
    sizes = [math.prod(graph.shapes[name]) for name in names]
    cores = len(os.sched_getaffinity(0))
    # A network whose activations are too large for several samples at a time gets all cores for one.
    workers = max(1, min(cores, _LIVE_BYTES // (4 * sum(sizes) + 1)))
    runner = session(graph, names, threads=cores // workers)
    entering = sum(math.prod(spec.shape) for spec in graph.inputs)
    held_bytes = 4 * (entering + sum(counted_values(size)[0] for size in sizes))
    length = max(1, min(_CHUNK_SAMPLES, _HELD_BYTES // (workers * held_bytes + 1)))
    counters: queue.SimpleQueue[Counter] = queue.SimpleQueue()
    for _ in range(workers):
        counters.put(Counter(runner, graph, names))
    histograms: dict[str, Histogram] = {}
    done = 0
    pending: deque[tuple[int, Future[dict[str, Histogram]]]] = deque()

    def count(feeds: list[dict[str, Array]]) -> dict[str, Histogram]:
        counter = counters.get()
        try:
            return counter.count(feeds)
        finally:
            counters.put(counter)

    def merge() -> None:
        nonlocal histograms, done
        end, future = pending[0]
        found = future.result()
        merged = {name: histograms[name] + found[name] if histograms else found[name] for name in names}
        # An interrupt between two of these lines must neither lose nor repeat a sample: `end` says which are in.
        histograms, done = merged, end
        pending.popleft()
        kept(histograms, done)

    progress("calibrate", 0, total)
    with ThreadPoolExecutor(workers) as pool:
        try:
            started = 0
            for chunk in _chunks(single(graph, samples), length):
                if len(pending) > workers:
                    merge()
                    progress("calibrate", done, total)
                started += len(chunk)
                pending.append((started, pool.submit(count, chunk)))
            while pending:
                merge()
                progress("calibrate", done, total)
        except BaseException:
            _finish(pending, done, merge)
            raise
    if done == 0:
        raise InputError("there are no calibration samples", fix="name a dataset in edgekit.toml: [calibration] dataset")
    return histograms


def _finish(pending: deque[tuple[int, Future[dict[str, Histogram]]]], done: int, merge: Callable[[], None]) -> None:
    """Keep what was under way when the work ended, up to the first that failed."""
    while pending:
        end, future = pending[0]
        if end <= done:
            pending.popleft()
        elif future.cancel() or future.exception():
            break
        else:
            merge()


def observed(graph: Graph) -> tuple[str, ...]:
    """Return the activations that have a histogram: all but those that ``equivalents`` maps onto another."""
    same = equivalents(graph)
    return tuple(name for name in graph.activations if name not in same)


def _chunks(feeds: Iterator[dict[str, Array]], size: int) -> Iterator[list[dict[str, Array]]]:
    while chunk := list(itertools.islice(feeds, size)):
        yield chunk


def run_float(runner: onnxruntime.InferenceSession, names: list[str], feed: Mapping[str, Array]) -> list[Array]:
    """Run one sample and return some tensors; no names, nothing to run.

    Raises
    ------
    InputError
        The runtime fails on it.
    """
    try:
        outputs: list[Array] = runner.run(names, feed) if names else []
    except FAILURES as error:
        raise InputError(f"onnxruntime cannot run the float model on a calibration sample: {error}") from error
    return outputs


def session(graph: Graph, outputs: Iterable[str] = (), *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Open the float graph in ONNX Runtime, with inner tensors exposed after its own outputs; 0 threads are all cores."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    # Idle threads sleep: others, of the counters and of numpy, want the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena never gives memory back and rounds up, a pattern sets all of a run's apart at its start; the plain
    # allocator keeps the peak near what is live, and is no slower.
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    model = graph.to_onnx(outputs).SerializeToString()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def equivalents(graph: Graph) -> dict[str, str]:
    """Map activations that need no histogram of their own to the one whose range is theirs.

    - A tensor that only moves another's values takes that one's range.
    - A tensor read by one Relu or Clip alone takes the range *behind* it: what the clamp cuts off
      may saturate already, so levels spent on it would be lost. (Fusing activations into the
      operator before them: Jacob et al. 2018, section 2.4.)
    """
    outputs = {spec.name for spec in graph.outputs}
    onto: dict[str, str] = {}
    for node in graph.nodes:
        source, made = node.inputs[0] if node.inputs else "", node.outputs[0]
        if graph.dtypes.get(made) != "float32" or source in graph.weights:
            continue
        if node.op in MOVES:
            onto[made] = source
        elif _clamp_keeps_zero(graph, node) and _only_feeds(graph, source, outputs) and source not in onto:
            onto[source] = made
    return {name: _end(onto, name) for name in onto}


def _clamp_keeps_zero(graph: Graph, node: Node) -> bool:
    """Whether the node is a clamp that an int8 range, which always holds zero, can stand for."""
    if node.op == "Clip":
        bounds = [float(graph.weights[name]) for name in node.inputs[1:3] if name in graph.weights]
        return len(bounds) == 2 and bounds[0] <= 0.0 <= bounds[1]
    return node.op == "Relu"


def _only_feeds(graph: Graph, name: str, outputs: set[str]) -> bool:
    return name in graph.producers and name not in outputs and len(graph.consumers[name]) == 1


def _end(onto: Mapping[str, str], name: str) -> str:
    while name in onto:
        name = onto[name]
    return name


def single(graph: Graph, samples: Iterable[Mapping[str, Array]]) -> Iterator[dict[str, Array]]:
    """Yield single samples of exactly the graph's input shapes."""
    for batch in samples:
        arrays = {}
        for spec in graph.inputs:
            if spec.name not in batch:
                raise InputError(f"the samples have no {spec.name!r}; the model's inputs are: {', '.join(s.name for s in graph.inputs)}")
            array = np.asarray(batch[spec.name])
            if array.shape[1:] != spec.shape[1:]:
                raise InputError(
                    f"a sample for input {spec.name!r} has shape {list(array.shape[1:])}, the model wants {list(spec.shape[1:])}",
                    fix="correct [preprocess] in edgekit.toml (resize, crop, layout)",
                )
            arrays[spec.name] = np.ascontiguousarray(array, dtype=spec.dtype)
        lengths = {array.shape[0] for array in arrays.values()}
        if len(lengths) != 1:
            raise InputError(f"the inputs of a batch differ in length: {sorted(lengths)}")
        for index in range(lengths.pop()):
            yield {name: array[index : index + 1] for name, array in arrays.items()}

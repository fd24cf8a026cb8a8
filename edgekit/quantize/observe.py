"""Run the float graph over calibration samples and keep one ``Histogram`` per activation.

``calibrate`` calls it. Samples stream through: memory depends on the graph, not on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from edgekit.errors import InputError
from edgekit.graph import Array, Graph, Node
from edgekit.quantize.histogram import Histogram

__all__ = ["MOVES", "Progress", "equivalents", "observe", "run_float", "session", "single"]

Progress = Callable[[str, int, int], None]

_HELD_BYTES = 16 << 20
MOVES = frozenset({"Reshape", "Transpose", "DepthToSpace", "SpaceToDepth"})


def observe(
    graph: Graph, samples: Iterable[Mapping[str, Array]], *, total: int, progress: Progress = lambda *_: None
) -> dict[str, Histogram]:
    """Count the values of every float activation over all samples.

    Samples run one by one and histograms merge exactly: the same samples in any order give the same
    result to the last bit.

    Parameters
    ----------
    samples
        Arrays by input name, with a batch dimension; one that holds several samples is cut.
    total
        Number of samples to expect, for ``progress("calibrate", done, total)`` alone.

    Returns
    -------
    Histograms by activation name, for ``graph.activations`` less those that ``equivalents`` maps
    onto another.

    Raises
    ------
    InputError
        No samples, arrays that do not fit the graph's inputs, or a value that is not finite.
    """
    same = equivalents(graph)
    names = [name for name in graph.activations if name not in same]
    entries = {spec.name for spec in graph.inputs}
    runner = session(graph, names)
    fetched = [name for name in names if name not in entries]
    histograms: dict[str, Histogram] = {}

    def count(held: Mapping[str, list[Array]]) -> None:
        # Large arrays count several times faster per value than small ones, hence the buffer.
        for name, arrays in held.items():
            counted = Histogram.of(np.concatenate([array.reshape(-1) for array in arrays]), name=name)
            histograms[name] = histograms[name] + counted if name in histograms else counted

    held: dict[str, list[Array]] = {name: [] for name in names}
    held_bytes = done = 0
    progress("calibrate", 0, total)
    # Counting one buffer overlaps with running the samples of the next; never more than these two exist.
    with ThreadPoolExecutor(max_workers=1) as worker:
        counting = worker.submit(count, {})
        for feed in single(graph, samples):
            values = {**feed, **dict(zip(fetched, run_float(runner, fetched, feed), strict=True))}
            for name in names:
                held[name].append(values[name])
                held_bytes += values[name].nbytes
            done += 1
            if held_bytes >= _HELD_BYTES:
                counting.result()
                counting = worker.submit(count, held)
                held, held_bytes = {name: [] for name in names}, 0
            progress("calibrate", done, total)
        counting.result()
        if held_bytes:
            count(held)
    if done == 0:
        raise InputError("there are no calibration samples", fix="name a dataset in edgekit.toml: [calibration] dataset")
    return histograms


def run_float(runner: onnxruntime.InferenceSession, names: list[str], feed: dict[str, Array]) -> list[Array]:
    """Run one sample; no names, nothing to run.

    Raises
    ------
    InputError
        The runtime fails on it.
    """
    try:
        outputs: list[Array] = runner.run(names, feed) if names else []
    except (ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.RuntimeException) as error:
        raise InputError(f"onnxruntime cannot run the float model on a calibration sample: {error}") from error
    return outputs


def session(graph: Graph, outputs: Iterable[str] = ()) -> onnxruntime.InferenceSession:
    """Open the float graph in ONNX Runtime, with inner tensors exposed after its own outputs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # The arena never gives memory back and rounds up; the plain allocator keeps the peak near what is live.
    options.enable_cpu_mem_arena = False
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

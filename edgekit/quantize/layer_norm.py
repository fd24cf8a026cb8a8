"""``layer_norms``: LayerNormalization spelled out in arithmetic becomes one node over the last axis.

Two spellings: ``(x - mean) / sqrt(var + eps)``, then a gain and an offset, as PyTorch exports it; and
``x g + (offset - mean g)`` with ``g = gain / sqrt(var + eps)``, as TensorFlow does. Casts in between are looked
through. The sums stay out of int8 with it: a variance has no sensible 256 levels. Used by ``rewrite``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import reduced_axes, scalar, sole_reader

__all__ = ["layer_norms"]


@dataclass(frozen=True)
class _Norm:
    """A normalisation found: of ``source`` over ``axes``, its result made by ``last``."""

    source: str
    axes: tuple[int, ...]
    epsilon: float
    last: Node
    gain: Array | None = None
    shift: Array | None = None


def layer_norms(graph: Graph) -> Graph:
    """Replace every LayerNormalization spelled out, and put those over several or inner axes on the last one."""
    draft = Draft(graph)
    found = {norm.last.name: norm for node in graph.nodes if (norm := _plain(graph, node) or _merged(graph, node) or _stated(graph, node))}
    for node in graph.nodes:
        norm = found.get(node.name)
        if norm is None:
            draft.nodes.append(node)
        else:
            _write(draft, norm)
    return draft.finish()


def _plain(graph: Graph, node: Node) -> _Norm | None:
    """Match ``(x - mean) / deviation``, and the gain and offset behind it."""
    if node.op not in ("Div", "Mul"):
        return None
    for top, bottom in (node.inputs, node.inputs[::-1])[: 1 if node.op == "Div" else 2]:
        source = _centred(graph, top)
        variance = _root(graph, bottom, inverse=node.op == "Mul")
        if source is not None and variance is not None:
            x, axes = source
            if _is_variance(graph, variance[0], x, axes):
                return _with_affine(graph, _Norm(x, axes, variance[1], node))
    return None


def _merged(graph: Graph, node: Node) -> _Norm | None:
    """Match ``x g + (offset - mean g)``."""
    if node.op != "Add":
        return None
    for product, rest in (node.inputs, node.inputs[::-1]):
        times, minus = _maker(graph, product, "Mul"), _maker(graph, rest, "Sub")
        mean_times = _maker(graph, minus.inputs[1], "Mul") if minus else None
        if times is None or minus is None or mean_times is None or minus.inputs[0] not in graph.weights:
            continue
        for x, gain in (times.inputs, times.inputs[::-1]):
            mean = next((name for name in mean_times.inputs if name != gain), "")
            axes = _mean_of(graph, mean, x)
            scaled = _gain_and_root(graph, gain)
            if axes is None or scaled is None or gain not in mean_times.inputs:
                continue
            factor, variance, epsilon = scaled
            shift = _over(graph.weights[minus.inputs[0]], graph.shapes[x], axes)
            if _is_variance(graph, variance, x, axes) and shift is not None:
                wide = None if factor is None else _over(factor, graph.shapes[x], axes)
                if factor is None or wide is not None:
                    return _Norm(x, axes, epsilon, node, wide, shift)
    return None


def _stated(graph: Graph, node: Node) -> _Norm | None:
    """Take a LayerNormalization that is over several axes apart, to be put over one."""
    if node.op != "LayerNormalization" or any(name in graph.consumers for name in node.outputs[1:]):
        return None
    rank = len(graph.shapes[node.inputs[0]])
    axes = tuple(range(int(node.attrs.get("axis", -1)) % rank, rank))
    constants = [graph.weights.get(name) for name in node.inputs[1:] if name]
    if len(axes) == 1 or any(array is None for array in constants):
        return None
    wide = [_over(array, graph.shapes[node.inputs[0]], axes) for array in constants if array is not None]
    return _Norm(node.inputs[0], axes, float(node.attrs.get("epsilon", 1e-5)), node, wide[0], wide[1] if len(wide) > 1 else None)


def _with_affine(graph: Graph, norm: _Norm) -> _Norm:
    """Take in a Mul and then an Add by constants over the normalised axes that follow."""
    gain = shift = None
    last = norm.last
    for op in ("Mul", "Add"):
        reader = sole_reader(graph, last.outputs[0])
        if reader is not None and reader.op == "Cast" and graph.dtypes[reader.outputs[0]] == "float32":
            last, reader = reader, sole_reader(graph, reader.outputs[0])
        other = next((name for name in reader.inputs if name != last.outputs[0]), "") if reader and reader.op == op else ""
        wide = _over(graph.weights[other], graph.shapes[norm.source], norm.axes) if other in graph.weights else None
        if reader is None or wide is None:
            continue
        gain, shift = (wide, shift) if op == "Mul" else (gain, wide)
        last = reader
    return _Norm(norm.source, norm.axes, norm.epsilon, last, gain, shift)


def _over(array: Array, shape: Sequence[int], axes: Sequence[int]) -> Array | None:
    """Return a constant with one value per place of the normalised axes, or None if it varies along others."""
    if array.ndim > len(shape):
        return None
    aligned = array.reshape((1,) * (len(shape) - array.ndim) + array.shape)
    if any(size != 1 for axis, size in enumerate(aligned.shape) if axis not in axes):
        return None
    return np.broadcast_to(aligned, [size if axis in axes else 1 for axis, size in enumerate(shape)])


def _maker(graph: Graph, name: str, *ops: str) -> Node | None:
    """Return the maker of a tensor if it is one of these, looking through Casts between floats."""
    maker = graph.producers.get(name)
    while maker is not None and maker.op == "Cast":
        name = maker.inputs[0]
        maker = graph.producers.get(name)
    return maker if maker is not None and maker.op in ops else None


def _origin(graph: Graph, name: str) -> str:
    """Return a tensor as it was before Casts."""
    maker = graph.producers.get(name)
    while maker is not None and maker.op == "Cast" and graph.dtypes[maker.inputs[0]].startswith("float"):
        name = maker.inputs[0]
        maker = graph.producers.get(name)
    return name


def _mean_of(graph: Graph, name: str, x: str) -> tuple[int, ...] | None:
    """Return the axes if the tensor is the mean of x, its axes kept."""
    mean = _maker(graph, name, "ReduceMean")
    if mean is None or _origin(graph, mean.inputs[0]) != _origin(graph, x) or not mean.attrs.get("keepdims", 1):
        return None
    return reduced_axes(graph, mean)


def _centred(graph: Graph, name: str) -> tuple[str, tuple[int, ...]] | None:
    """Return (x, axes) if the tensor is x less its mean."""
    difference = _maker(graph, name, "Sub")
    axes = _mean_of(graph, difference.inputs[1], difference.inputs[0]) if difference else None
    return None if difference is None or axes is None else (_origin(graph, difference.inputs[0]), axes)


def _is_variance(graph: Graph, name: str, x: str, axes: tuple[int, ...]) -> bool:
    """Whether the tensor is the mean of (x - mean) squared, or the mean of the square less the square of the mean."""
    less = _maker(graph, name, "Sub")
    if less is not None:
        square_of_mean = _maker(graph, less.inputs[1], "Mul")
        of_mean = square_of_mean is not None and all(_mean_of(graph, side, x) == axes for side in square_of_mean.inputs)
        sides = _mean_square(graph, less.inputs[0], axes)
        return of_mean and bool(sides) and all(_origin(graph, side) == _origin(graph, x) for side in sides)
    sides = _mean_square(graph, name, axes)
    return bool(sides) and all(_centred(graph, side) == (_origin(graph, x), axes) for side in sides)


def _mean_square(graph: Graph, name: str, axes: tuple[int, ...]) -> tuple[str, ...]:
    """Return what is multiplied if the tensor is a mean of products over these axes; else nothing."""
    mean = _maker(graph, name, "ReduceMean")
    if mean is None or reduced_axes(graph, mean) != axes or not mean.attrs.get("keepdims", 1):
        return ()
    square = _maker(graph, mean.inputs[0], "Mul", "Pow")
    if square is None or (square.op == "Pow" and scalar(graph, square.inputs[1]) != 2.0):
        return ()
    return square.inputs if square.op == "Mul" else square.inputs[:1]


def _root(graph: Graph, name: str, *, inverse: bool) -> tuple[str, float] | None:
    """Return (variance, epsilon) if the tensor is the root of their sum, or one over it."""
    if inverse:
        over = _maker(graph, name, "Reciprocal", "Div")
        if over is None or (over.op == "Div" and scalar(graph, over.inputs[0]) != 1.0):
            return None
        name = over.inputs[-1]
    root = _maker(graph, name, "Sqrt")
    total = _maker(graph, root.inputs[0], "Add") if root else None
    if total is None:
        return None
    for variance, other in (total.inputs, total.inputs[::-1]):
        epsilon = scalar(graph, other)
        if epsilon is not None:
            return variance, epsilon
    return None


def _gain_and_root(graph: Graph, name: str) -> tuple[Array | None, str, float] | None:
    """Return (gain, variance, epsilon) if the tensor is gain / sqrt(variance + epsilon); the gain may be absent."""
    alone = _root(graph, name, inverse=True)
    if alone is not None:
        return None, *alone
    product = _maker(graph, name, "Mul")
    for inverse, gain in (product.inputs, product.inputs[::-1]) if product else ():
        found = _root(graph, inverse, inverse=True)
        if found is not None and gain in graph.weights:
            return graph.weights[gain], *found
    return None


def _write(draft: Draft, norm: _Norm) -> None:
    """Write the node, with its axes moved to the end and made one where they are not."""
    shape, out = draft.shapes[norm.source], norm.last.outputs[0]
    rest = [axis for axis in range(len(shape)) if axis not in norm.axes]
    order = [*rest, *norm.axes]
    count = int(np.prod([shape[axis] for axis in norm.axes]))
    moved = order != sorted(order)
    x = draft.transpose(norm.source, f"{out}/moved", order) if moved else norm.source
    if len(norm.axes) > 1:
        x = draft.reshape(x, f"{out}/joined", [*(shape[axis] for axis in rest), count])
    ones = np.ones(count)
    inputs = [x, draft.constant(f"{out}/gain", ones if norm.gain is None else norm.gain.reshape(-1))]
    if norm.shift is not None:
        inputs.append(draft.constant(f"{out}/shift", norm.shift.reshape(-1)))
    direct = not moved and len(norm.axes) == 1
    target = out if direct else f"{out}/normal"
    draft.add("LayerNormalization", inputs, target, draft.shapes[x], name=norm.last.name, axis=-1, epsilon=norm.epsilon)
    if len(norm.axes) > 1:
        target = draft.reshape(target, f"{out}/apart" if moved else out, [shape[axis] for axis in order])
    if moved:
        draft.transpose(target, out, [order.index(axis) for axis in range(len(shape))])

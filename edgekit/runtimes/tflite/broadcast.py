"""Operands of operators that broadcast: all in one layout, with the rank of the result, and what a sum asks of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekit.graph import Node
from edgekit.runtimes.scales import Params
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import NHWC, Layout, arranged, permuted, restricted
from edgekit.runtimes.tflite.operator import Unsupported

__all__ = ["check_sum", "common_layout", "operand", "operands"]

# ADD shifts its inputs by 20 bits and aborts unless the way back is a shrinking (TensorFlow, kernels/add.cc).
_ADD_SHIFT = 1 << 20


def operands(e: Emission, node: Node) -> tuple[Layout, list[int]]:
    """Return the layout to work in and a node's inputs.

    Raises
    ------
    Unsupported
        It broadcasts over more dimensions than the kernels do.
    """
    shape = e.graph.shapes[node.outputs[0]]
    if len(shape) > 4 and any(e.graph.shapes[name] != shape for name in node.inputs):
        raise Unsupported(f"it broadcasts over {len(shape)} dimensions", fix="reshape to at most 4 dimensions before it")
    layout = common_layout(e, node.inputs)
    return layout, [operand(e, name, len(shape), layout) for name in node.inputs]


def common_layout(e: Emission, names: Sequence[str]) -> Layout:
    """Return the layout in which tensors can be read together with the least moved: one that those of the highest rank have."""
    moving = [name for name in dict.fromkeys(names) if name not in e.graph.weights]
    rank = max(len(e.graph.shapes[name]) for name in moving)
    whole = [name for name in moving if len(e.graph.shapes[name]) == rank]
    layouts = sorted({e.layout(name) for name in whole}, key=lambda layout: layout != NHWC)
    return min(layouts, key=lambda layout: sum(math.prod(e.graph.shapes[name]) for name in whole if not e.stands_as(name, layout)))


def operand(e: Emission, name: str, rank: int, layout: Layout, params: Params | None = None) -> int:
    """Return a tensor or a constant in a layout, with ones before its own axes up to ``rank``.

    ``params`` is what int8 makes of a constant, by default what its own extremes ask for.
    """
    shape = e.graph.shapes[name]
    full = (1,) * (rank - len(shape)) + tuple(shape)
    if name in e.graph.weights:
        return e.literal(name, arranged(e.graph.weights[name].reshape(full), layout), params)
    if len(shape) == rank:
        return e.read(name, layout)
    own = restricted(layout, len(shape), rank)
    source = e.read(name) if e.stands_as(name, own) else e.read(name, own)
    target = e.like(name, f"{name}/widened", shape=permuted(full, layout))
    e.reshape(source, target, permuted(full, layout))
    return target


def check_sum(e: Emission, inputs: Sequence[int], result: Params) -> None:
    """Refuse an int8 ADD whose kernel would abort.

    Raises
    ------
    Unsupported
        The result is tiny beside an operand.
    """
    if 2 * max(map(e.writer.scale, inputs)) >= _ADD_SHIFT * result.scale:
        raise Unsupported("its result is a millionth of what it adds", fix="check that the calibration data are like the real ones")

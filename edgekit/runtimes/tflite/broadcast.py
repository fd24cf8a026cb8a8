"""Operands of operators that broadcast: all in one layout, with the rank of the result, and what a sum asks of them."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.graph import Node
from edgekit.runtimes.tflite.emission import Emission
from edgekit.runtimes.tflite.layout import TO_NHWC, Layout, order_survives, permuted
from edgekit.runtimes.tflite.operator import Unsupported
from edgekit.runtimes.tflite.params import Params

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
    """Return the layout in which tensors can be read together with the fewest transpositions.

    Those whose values stand in one order either way have no say, unless there are no others.
    """
    images = [name for name in names if name not in e.graph.weights and len(e.graph.shapes[name]) == 4]
    firm = [name for name in images if not e.same_order(name)] or images
    return "nhwc" if any(e.layout(name) == "nhwc" for name in firm) else "onnx"


def operand(e: Emission, name: str, rank: int, layout: Layout, params: Params | None = None) -> int:
    """Return a tensor or a constant in a layout, with ones before its own axes up to ``rank``.

    ``params`` is what int8 makes of a constant, by default what its own extremes ask for.
    """
    shape = e.graph.shapes[name]
    full = (1,) * (rank - len(shape)) + tuple(shape)
    if name in e.graph.weights:
        values = e.graph.weights[name].reshape(full)
        return e.literal(name, values.transpose(TO_NHWC) if layout == "nhwc" else values, params)
    if len(shape) == rank:
        return e.read(name, layout)
    source = e.read(name, "onnx")
    if layout == "nhwc" and order_survives(full):
        full, layout = permuted(full, TO_NHWC), "onnx"
    widened = e.like(name, f"{name}/widened", shape=full)
    e.reshape(source, widened, full)
    if layout == "onnx":
        return widened
    target = e.like(name, f"{name}/widened/nhwc", shape=permuted(full, TO_NHWC))
    e.transpose(widened, target, TO_NHWC)
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

"""``Emission``: the state of one lowering, and the words the lowerings speak in.

Keeps which tensor of the file holds which ONNX tensor in which layout. Images are NHWC in the file;
a TRANSPOSE appears only where a node needs the ONNX order. Used by every ``lower_*`` file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.plan import INT8_MAX, INT8_MIN, QuantPlan
from edgekit.runtimes.tflite.params import Params, params_of
from edgekit.runtimes.tflite.writer import Writer

__all__ = ["TO_NHWC", "TO_ONNX", "Emission", "Layout", "Operator", "Unsupported", "order_survives", "permuted"]

Layout = Literal["onnx", "nhwc"]
"""Order of a tensor's axes in the file: as ONNX has them, or channels last (4-D only)."""

TO_NHWC, TO_ONNX = (0, 2, 3, 1), (0, 3, 1, 2)

# `ActivationFunctionType` of schema.fbs, for the bounds its int8 kernels know.
_ACTIVATIONS = {(0.0, np.inf): 1, (-1.0, 1.0): 2, (0.0, 6.0): 3}


# With room for the arithmetic's own rounding.
_HALF_STEP = 0.501


class Unsupported(Exception):  # noqa: N818 (a finding about one node, gathered into one BuildError)
    """A node cannot be lowered; ``fix`` says what the user can do."""

    def __init__(self, reason: str, *, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True)
class Operator:
    """How one ONNX operator is lowered.

    Attributes
    ----------
    lower
        Writes the operators of a node.
    same_scale
        The kernel copies integers, so its inputs and output share one scale.
    fixed
        The only parameters the kernel writes.
    """

    lower: Callable[[Emission, Node], None]
    same_scale: bool = False
    fixed: Params | None = None


def permuted(shape: Sequence[int], perm: Sequence[int]) -> tuple[int, ...]:
    """Return a shape with its axes in another order."""
    return tuple(shape[axis] for axis in perm)


def order_survives(shape: Sequence[int]) -> bool:
    """Tell whether a 4-D shape (ONNX order) means the same sequence of values in NHWC: no two long axes change places."""
    long = [axis for axis in TO_NHWC if shape[axis] != 1]
    return long == sorted(long)


class Emission:
    """One graph on its way into a file.

    Attributes
    ----------
    flat
        Tensors that hold an image flattened in NHWC order, and the image's (C, H, W): the matrix
        product that reads one permutes its weights instead.
    """

    def __init__(self, graph: Graph, plan: QuantPlan, params: Mapping[str, Params]) -> None:
        self.graph = graph
        self.plan = plan
        self.params = params
        self.writer = Writer()
        self.flat: dict[str, tuple[int, int, int]] = {}
        self._written: dict[tuple[str, Layout], int] = {}
        self._home: dict[str, Layout] = {}

    # -- what a node reads

    def layout(self, name: str) -> Layout:
        """Return the layout in which an activation was written.

        Raises
        ------
        Unsupported
            It is a constant where the kernel needs an activation.
        """
        if name not in self._home:
            raise Unsupported(f"its input {name!r} is a constant", fix="fold constants before exporting the model")
        return self._home[name]

    def shape(self, name: str, layout: Layout) -> tuple[int, ...]:
        """Return the shape of a tensor in a layout."""
        shape = self.graph.shapes[name]
        return permuted(shape, TO_NHWC) if layout == "nhwc" else tuple(shape)

    def same_order(self, name: str) -> bool:
        """Tell whether a tensor is 4-D and its values stand in the same order in both layouts."""
        shape = self.graph.shapes[name]
        return len(shape) == 4 and order_survives(shape)

    def read(self, name: str, layout: Layout | None = None) -> int:
        """Return the tensor that holds an activation, transposing it once if no layout fits.

        Raises
        ------
        Unsupported
            See ``layout``.
        """
        home = self.layout(name)
        wanted = layout or home
        if (name, wanted) not in self._written:
            source = self._written[name, home]
            shape = self.shape(name, wanted)
            target = self.temporary(f"{name}/{wanted}", shape, self.params[name])
            if self.same_order(name):
                self.reshape(source, target, shape)
            else:
                self.transpose(source, target, TO_NHWC if wanted == "nhwc" else TO_ONNX)
            self._written[name, wanted] = target
        return self._written[name, wanted]

    def weight(self, name: str) -> Array:
        """Return a constant.

        Raises
        ------
        Unsupported
            It is computed at run time.
        """
        if name not in self.graph.weights:
            raise Unsupported(f"its input {name!r} is not a constant", fix="export the model with this value fixed")
        return self.graph.weights[name]

    # -- what a node writes

    def declare(self, name: str, layout: Layout) -> int:
        """Add the tensor that a node's output, or a graph input, lives in."""
        index = self.temporary(name, self.shape(name, layout), self.params[name])
        self._written[name, layout] = index
        self._home[name] = layout
        return index

    def stand_in(self, node: Node) -> None:
        """Declare what a node that cannot be lowered should have written, so that the search for others goes on."""
        for name in node.outputs:
            if name in self.params and name not in self._home:
                self.declare(name, "nhwc" if len(self.graph.shapes[name]) == 4 else "onnx")

    def temporary(self, name: str, shape: Sequence[int], params: Params) -> int:
        """Add an int8 tensor that ONNX knows nothing of."""
        return self.writer.tensor(name, "int8", shape, scales=(params.scale,), zero_point=params.zero_point)

    def constant(self, name: str, values: Array, params: Params | None = None) -> int:
        """Add a constant in int8, by default with parameters from its own extremes."""
        params = params or params_of(float(values.min()), float(values.max()))
        q = np.clip(np.rint(values / params.scale) + params.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)
        return self.writer.tensor(name, "int8", q.shape, data=q, scales=(params.scale,), zero_point=params.zero_point)

    def integers(self, name: str, values: Any) -> int:
        """Add an int32 constant, such as a shape."""
        data = np.asarray(values, np.int32)
        return self.writer.tensor(name, "int32", data.shape, data=data)

    def op(self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **fields: Any) -> None:
        """Add an operator; see ``Writer.operator``."""
        self.writer.operator(code, inputs, outputs, options, **fields)

    def reshape(self, source: int, target: int, shape: Sequence[int]) -> None:
        """Write a RESHAPE between tensors of one scale."""
        self.op("RESHAPE", [source, self.integers("shape", shape)], [target], "ReshapeOptions", newShape=list(shape))

    def transpose(self, source: int, target: int, perm: Sequence[int]) -> None:
        """Write a TRANSPOSE between tensors of one scale."""
        self.op("TRANSPOSE", [source, self.integers("perm", perm)], [target], "TransposeOptions")

    def strided_slice(self, source: int, target: int, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> None:
        """Write a STRIDED_SLICE between tensors of one scale, its numbers in the file's axis order."""
        inputs = [source, self.integers("begin", begin), self.integers("end", end), self.integers("step", step)]
        self.op("STRIDED_SLICE", inputs, [target], "StridedSliceOptions")

    def clipped(self, node: Node, layout: Layout, write: Callable[[int, int], None], *, fuses: bool = True) -> None:
        """Write the operator that makes a node's output, and the clipping the node carries.

        Bounds that no activation function of TFLite says are met by saturation, where int8 ends at
        them, else by MAXIMUM and MINIMUM behind the operator.

        Parameters
        ----------
        write
            Writes the operator, given its output tensor and its ``fused_activation_function``.
        fuses
            Whether that operator has such a field.
        """
        name = node.outputs[0]
        bounds = node.attrs.get("clip", (-np.inf, np.inf))
        fused = _ACTIVATIONS.get(bounds, 0) if fuses else 0
        limits = [] if fused else self._limits(name, *bounds)
        shape = self.shape(name, layout)
        steps = [self.temporary(f"{name}/unclipped", shape, self.params[name]) for _ in limits]
        steps.append(self.declare(name, layout))
        write(steps[0], fused)
        for (code, value), source, target in zip(limits, steps, steps[1:], strict=False):
            constant = self.constant(f"{name}/limit", np.full([1] * len(shape), value), self.params[name])
            self.op(code, [source, constant], [target], "MaximumMinimumOptions")

    def _limits(self, name: str, lo: float, hi: float) -> list[tuple[str, float]]:
        """Return the clipping that saturation does not do: int8 reaches more than half a step past a bound.

        Half a step is what rounding the zero point may add.
        """
        params = self.params[name]
        limits = []
        if params.lo < lo - _HALF_STEP * params.scale:
            limits.append(("MAXIMUM", lo))
        if params.hi > hi + _HALF_STEP * params.scale:
            limits.append(("MINIMUM", hi))
        return limits

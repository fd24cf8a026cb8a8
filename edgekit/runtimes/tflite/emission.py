"""``Emission``: the state of one lowering, and the words the lowerings speak in.

Keeps which tensor of the file holds which ONNX tensor, in which layout and precision. Images are NHWC in
the file; a TRANSPOSE appears only where a node needs the ONNX order, a QUANTIZE or DEQUANTIZE only where a
node reads what another one stored in the other precision, and each once per tensor.

``operator`` tells how to write a lowering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from edgekit.graph import Array, Graph, Node
from edgekit.plan import INT8_MAX, INT8_MIN, Precision, WeightScale
from edgekit.runtimes.scales import Params, params_of
from edgekit.runtimes.tflite.layout import NHWC, ONNX, Layout, between, order_survives, permuted
from edgekit.runtimes.tflite.operator import Unsupported
from edgekit.runtimes.tflite.writer import Writer

__all__ = ["Emission"]

# More axes TRANSPOSE does not take (TensorFlow, kernels/transpose.cc, since 2.12; fewer before).
_TRANSPOSE_RANK_MAX = 6
# For the names of tensors.
_LAYOUTS = {ONNX: "onnx", NHWC: "nhwc"}
# TFLite indexes and counts in int32; ONNX in int64.
_WHOLE = {"int64": "int32", "int32": "int32", "bool": "bool"}


class _Place(NamedTuple):
    """Where an ONNX tensor stands in the file."""

    layout: Layout
    dtype: str


class Emission:
    """One graph on its way into a file.

    Attributes
    ----------
    scales
        Of the weights, from the plan.
    params
        What int8 makes of each activation.
    precision
        Of the node being lowered.
    flat
        Tensors that hold a tensor flattened in the order it has in the file, and that tensor's shape and layout: the
        matrix product that reads one permutes its weights instead.
    """

    def __init__(self, graph: Graph, scales: Mapping[str, WeightScale], params: Mapping[str, Params]) -> None:
        self.graph = graph
        self.scales = scales
        self.params = params
        self.precision: Precision = "int8"
        self.writer = Writer()
        self.flat: dict[str, tuple[tuple[int, ...], Layout]] = {}
        self._written: dict[tuple[str, Layout, str], int] = {}
        self._home: dict[str, _Place] = {}
        # Of a tensor, those that hold its values in other shapes; and back.
        self._reshaped: dict[int, dict[tuple[int, ...], int]] = {}
        self._reshaped_from: dict[int, int] = {}

    @property
    def is_int8(self) -> bool:
        """Whether the node being lowered computes in int8."""
        return self.precision == "int8"

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
        return self._home[name].layout

    def dtype(self, name: str) -> str:
        """Return the dtype in which the node being lowered reads or writes a tensor.

        Raises
        ------
        Unsupported
            TFLite has nothing like it.
        """
        kind = self.graph.dtypes[name]
        if kind == "float32":
            return self.precision
        if kind not in _WHOLE:
            raise Unsupported(f"tensor {name!r} is {kind}", fix="export the model with float32, int64, int32 and bool tensors only")
        return _WHOLE[kind]

    def shape(self, name: str, layout: Layout) -> tuple[int, ...]:
        """Return the shape of a tensor in a layout."""
        shape = self.graph.shapes[name]
        return permuted(shape, layout)

    def stands_as(self, name: str, layout: Layout) -> bool:
        """Tell whether the values of an activation stand in the file in the order that a layout gives them."""
        shape = self.shape(name, self.layout(name))
        return order_survives(shape, between(self.layout(name), layout, len(shape)))

    def read(self, name: str, layout: Layout | None = None) -> int:
        """Return the tensor that holds an activation, transposing and converting it once if none fits.

        Raises
        ------
        Unsupported
            See ``layout`` and ``dtype``.
        """
        return self.held(name, self.layout(name) if layout is None else layout, self.dtype(name))

    def held(self, name: str, layout: Layout, dtype: str) -> int:
        """Return the tensor that holds an activation in a layout and dtype; see ``read``."""
        if (name, layout, dtype) not in self._written:
            self.layout(name)
            home = self._home[name]
            # Values change places while they are int8: a quarter of the bytes.
            if layout != home.layout and dtype in (home.dtype, "int8"):
                target = self._moved(name, self.held(name, home.layout, dtype), home.layout, layout, dtype)
            else:
                target = self._converted(name, self.held(name, layout, home.dtype), layout, dtype)
            self._written[name, layout, dtype] = target
        return self._written[name, layout, dtype]

    def home(self, name: str) -> int:
        """Return the tensor that a node, or the border, wrote an activation to."""
        place = self._home[name]
        return self._written[name, place.layout, place.dtype]

    def _moved(self, name: str, source: int, before: Layout, after: Layout, dtype: str) -> int:
        shape = self.shape(name, after)
        perm = between(before, after, len(shape))
        if self.writer.shape(source) == shape and order_survives(shape, perm):
            return source
        target = self._tensor(f"{name}/{_LAYOUTS.get(after, 'moved')}", dtype, shape, self.params.get(name))
        if order_survives(self.shape(name, before), perm):
            self.reshape(source, target, shape)
        elif len(shape) > _TRANSPOSE_RANK_MAX:
            raise Unsupported(f"a transposition of {len(shape)} dimensions", fix=f"reshape to at most {_TRANSPOSE_RANK_MAX} before it")
        else:
            self.transpose(source, target, perm)
        return target

    def _converted(self, name: str, source: int, layout: Layout, dtype: str) -> int:
        target = self._tensor(f"{name}/{dtype}", dtype, self.shape(name, layout), self.params.get(name))
        if dtype == "int8":
            self.quantize(source, target)
        else:
            self.op("DEQUANTIZE", [source], [target], "DequantizeOptions")
        return target

    def weight(self, name: str) -> Array:
        """Return the values of a constant.

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
        index = self._tensor(name, self.dtype(name), self.shape(name, layout), self.params.get(name))
        self._place(name, layout, index)
        return index

    def _place(self, name: str, layout: Layout, index: int) -> None:
        dtype = self.dtype(name)
        self._written[name, layout, dtype] = index
        self._home[name] = _Place(layout, dtype)

    def stand_in(self, node: Node) -> None:
        """Declare what a node that cannot be lowered should have written, so that the search for others goes on."""
        for name in filter(None, node.outputs):
            if name not in self._home and (self.graph.dtypes[name] == "float32" or self.graph.dtypes[name] in _WHOLE):
                self.declare(name, NHWC if len(self.graph.shapes[name]) == 4 else ONNX)

    def temporary(self, name: str, shape: Sequence[int], params: Params) -> int:
        """Add a tensor of real numbers that ONNX knows nothing of; ``params`` is what int8 makes of it."""
        return self._tensor(name, self.precision, shape, params)

    def like(self, name: str, own_name: str, layout: Layout = ONNX, *, shape: Sequence[int] | None = None) -> int:
        """Add a tensor of the dtype, scale and, by default, shape that an ONNX tensor has in the node's precision."""
        return self._tensor(own_name, self.dtype(name), shape or self.shape(name, layout), self.params.get(name))

    def _tensor(self, name: str, dtype: str, shape: Sequence[int], params: Params | None) -> int:
        if dtype != "int8" or params is None:
            return self.writer.tensor(name, dtype, shape)
        return self.writer.tensor(name, dtype, shape, scales=(params.scale,), zero_point=params.zero_point)

    def constant(self, name: str, values: Array, params: Params | None = None) -> int:
        """Add a constant of real numbers; in int8, by default, with parameters from its own extremes."""
        if not self.is_int8:
            return self.writer.tensor(name, "float32", values.shape, data=values.astype(np.float32))
        params = params or params_of(float(values.min()), float(values.max()))
        q = np.clip(np.rint(values / params.scale) + params.zero_point, INT8_MIN, INT8_MAX).astype(np.int8)
        return self.writer.tensor(name, "int8", q.shape, data=q, scales=(params.scale,), zero_point=params.zero_point)

    def literal(self, name: str, values: Array, params: Params | None = None) -> int:
        """Add a constant of the graph: real numbers in the node's precision, whole numbers and truth values as they are."""
        if values.dtype.kind == "f":
            return self.constant(name, values, params)
        if values.dtype == np.bool_:
            return self.writer.tensor(name, "bool", values.shape, data=values)
        return self.integers(name, values)

    def integers(self, name: str, values: Any) -> int:
        """Add an int32 constant, such as a shape.

        Raises
        ------
        Unsupported
            A number is beyond int32.
        """
        wide = np.asarray(values, np.int64)
        data = wide.astype(np.int32)
        if (data != wide).any():
            raise Unsupported(f"its constant {name!r} is beyond int32", fix="export the model with smaller whole numbers")
        return self.writer.tensor(name, "int32", data.shape, data=data)

    def op(self, code: str, inputs: Sequence[int], outputs: Sequence[int], options: str = "", **fields: Any) -> None:
        """Add an operator; see ``Writer.operator``."""
        self.writer.operator(code, inputs, outputs, options, **fields)

    def quantize(self, source: int, target: int) -> None:
        """Write a QUANTIZE, from float32 or from another int8 scale."""
        self.op("QUANTIZE", [source], [target], "QuantizeOptions")

    def hand_on(self, name: str, layout: Layout, source: int) -> None:
        """Let an output be ``source``, whose values it has in the same order: the same tensor if that has its shape, else a RESHAPE.

        What was reshaped before is reshaped from there, or is there already.
        """
        shape = self.shape(name, layout)
        root = self._reshaped_from.get(source, source)
        known = self._reshaped.setdefault(root, {self.writer.shape(root): root})
        if shape in known:
            self._place(name, layout, known[shape])
            return
        known[shape] = self.declare(name, layout)
        self._reshaped_from[known[shape]] = root
        self.reshape(root, known[shape], shape)

    def copy(self, name: str, source: int) -> int:
        """Return a tensor of its own with what ``source`` holds of an activation, in the node's precision."""
        target = self.like(name, f"{name}/copy", shape=self.writer.shape(source))
        self.reshape(source, target, self.writer.shape(source))
        return target

    def reshape(self, source: int, target: int, shape: Sequence[int]) -> None:
        """Write a RESHAPE between tensors of one scale."""
        self.op("RESHAPE", [source, self.integers("shape", shape)], [target], "ReshapeOptions", newShape=list(shape))

    def transpose(self, source: int, target: int, perm: Sequence[int]) -> None:
        """Write a TRANSPOSE between tensors of one scale."""
        self.op("TRANSPOSE", [source, self.integers("perm", perm)], [target], "TransposeOptions")

    def gather(self, source: int, target: int, axis: int, indices: Any) -> None:
        """Write a GATHER of constant places along an axis of the file, between tensors of one scale."""
        self.op("GATHER", [source, self.integers("indices", indices)], [target], "GatherOptions", axis=axis)

    def strided_slice(self, source: int, target: int, begin: Sequence[int], end: Sequence[int], step: Sequence[int]) -> None:
        """Write a STRIDED_SLICE between tensors of one scale, its numbers in the file's axis order."""
        inputs = [source, self.integers("begin", begin), self.integers("end", end), self.integers("step", step)]
        self.op("STRIDED_SLICE", inputs, [target], "StridedSliceOptions")

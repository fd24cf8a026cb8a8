"""Rewrites of operators that have several spellings into the plainest one: powers, sums of many, norms, windows.

Used by ``rewrite``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Graph, Node
from edgekit.pattern import reduced_axes, scalar

__all__ = ["powers", "reductions", "root_mean_squares", "variadics", "windows"]

_WINDOWED = frozenset({"AveragePool", "Conv", "ConvTranspose", "LpPool", "MaxPool"})
_PAIRWISE = {"Sum": "Add", "Mean": "Add", "Max": "Max", "Min": "Min"}


def powers(graph: Graph) -> Graph:
    """Pow by a constant 2, 3, 1/2 or -1 becomes Mul, Sqrt or Div."""
    draft = Draft(graph)
    for node in graph.nodes:
        exponent = scalar(graph, node.inputs[1]) if node.op == "Pow" else None
        x, out = node.inputs[0], node.outputs[0]
        if exponent not in (2.0, 3.0, 0.5, -1.0) or graph.dtypes[x] != "float32" or graph.shapes[x] != graph.shapes[out]:
            draft.nodes.append(node)
        elif exponent == 2.0:
            draft.add("Mul", (x, x), out, name=node.name)
        elif exponent == 3.0:
            square = draft.add("Mul", (x, x), f"{out}/square", graph.shapes[x])
            draft.add("Mul", (square, x), out, name=node.name)
        elif exponent == 0.5:
            draft.add("Sqrt", (x,), out, name=node.name)
        else:
            draft.add("Div", (draft.constant(f"{out}/one", 1.0), x), out, name=node.name)
    return draft.finish()


def variadics(graph: Graph) -> Graph:
    """Sum, Mean, Max and Min of several tensors become chains of pairs."""
    draft = Draft(graph)
    for node in graph.nodes:
        many = node.op in ("Sum", "Mean") or len(node.inputs) > 2
        if node.op not in _PAIRWISE or not many or len(node.inputs) < 2:
            draft.nodes.append(node)
            continue
        out, total = node.outputs[0], node.inputs[0]
        last = f"{out}/sum" if node.op == "Mean" else out
        for number, name in enumerate(node.inputs[1:], start=2):
            shape = np.broadcast_shapes(draft.shapes[total], graph.shapes[name])
            target = last if number == len(node.inputs) else f"{out}/{number}"
            total = draft.add(_PAIRWISE[node.op], (total, name), target, shape, name=node.name if target == out else "")
        if node.op == "Mean":
            draft.add("Mul", (total, draft.constant(f"{out}/share", 1.0 / len(node.inputs))), out, name=node.name)
    return draft.finish()


def reductions(graph: Graph) -> Graph:
    """Reductions state their axes, from the front, and keepdims; norms become sums of squares or absolutes."""
    draft = Draft(graph)
    for node in graph.nodes:
        axes = reduced_axes(graph, node) if node.op.startswith("Reduce") else None
        if axes is None:
            draft.nodes.append(node)
            continue
        before, after = _AROUND_SUM.get(node.op, ((), ""))
        x, out = node.inputs[0], node.outputs[0]
        for op in before:
            x = draft.add(op, (x, x) if op == "Mul" else (x,), f"{out}/{op.lower()}", graph.shapes[x])
        op = "ReduceSum" if node.op in _AROUND_SUM else node.op
        inner = f"{out}/sum" if after else out
        shape = graph.shapes[out] if after else None
        attrs = {"keepdims": int(node.attrs.get("keepdims", 1))}
        if graph.opset >= 18 or op == "ReduceSum":
            inputs = (x, draft.constant(f"{out}/axes", axes, "int64"))
            draft.add(op, inputs, inner, shape, name="" if after else node.name, **attrs)
        else:
            draft.add(op, (x,), inner, shape, name="" if after else node.name, axes=list(axes), **attrs)
        if after:
            draft.add(after, (inner,), out, name=node.name)
    return draft.finish()


# Norm -> what happens to the values before ReduceSum, and to the sum (ONNX operators ReduceL1, ReduceL2, ...).
_AROUND_SUM: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ReduceL1": (("Abs",), ""),
    "ReduceL2": (("Mul",), "Sqrt"),
    "ReduceLogSum": ((), "Log"),
    "ReduceSumSquare": (("Mul",), ""),
}


def windows(graph: Graph) -> Graph:
    """Convolutions and pools state kernel, strides, dilations and pads; ``auto_pad`` and ``output_shape`` are gone."""

    def stated(node: Node) -> Node:
        if node.op not in _WINDOWED:
            return node
        size, out = graph.shapes[node.inputs[0]][2:], graph.shapes[node.outputs[0]][2:]
        conv = node.op in ("Conv", "ConvTranspose")
        kernel = [int(k) for k in (graph.shapes[node.inputs[1]][2:] if conv else node.attrs["kernel_shape"])]
        strides, dilations = ([int(n) for n in node.attrs.get(key, [1] * len(size))] for key in ("strides", "dilations"))
        attrs = dict(node.attrs)
        auto = attrs.pop("auto_pad", "NOTSET") or "NOTSET"
        pads = [int(p) for p in attrs.get("pads", [0] * (2 * len(size)))]
        spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
        if node.op == "ConvTranspose":
            extra = [int(p) for p in attrs.get("output_padding", [0] * len(size))]
            if auto != "NOTSET" or "output_shape" in attrs:
                attrs.pop("output_shape", None)
                # ONNX operator ConvTranspose: total = stride (in - 1) + output_padding + span - out.
                total = [s * (n - 1) + e + k - o for s, n, e, k, o in zip(strides, size, extra, spans, out, strict=True)]
                # What the window does not reach is padding of the output.
                extra = [e - min(t, 0) for e, t in zip(extra, total, strict=True)]
                pads = _halves([max(t, 0) for t in total], more_first=auto != "SAME_UPPER")
            attrs["output_padding"] = extra
        elif auto != "NOTSET":
            total = [max((o - 1) * s + k - n, 0) for o, s, k, n in zip(out, strides, spans, size, strict=True)]
            pads = [0] * len(pads) if auto == "VALID" else _halves(total, more_first=auto == "SAME_LOWER")
        attrs.update(kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads)
        if node.op in ("AveragePool", "LpPool") and graph.opset < _DILATED_POOLS[node.op]:
            del attrs["dilations"]
        return replace(node, attrs=attrs)

    return graph.with_nodes(map(stated, graph.nodes))


# Operator set from which these have the attribute (ONNX operator changelog).
_DILATED_POOLS = {"AveragePool": 19, "LpPool": 18}


def _halves(total: list[int], *, more_first: bool) -> list[int]:
    """Split the padding of each axis in two, begins then ends; an odd pixel goes to the end unless ``more_first``."""
    first = [(t + 1) // 2 if more_first else t // 2 for t in total]
    return first + [t - f for t, f in zip(total, first, strict=True)]


def root_mean_squares(graph: Graph) -> Graph:
    """RMSNormalization (opset 23) becomes the arithmetic that every exporter before it wrote."""
    draft = Draft(graph)
    for node in graph.nodes:
        if node.op != "RMSNormalization":
            draft.nodes.append(node)
            continue
        (x, gain), out, shape = node.inputs, node.outputs[0], graph.shapes[node.inputs[0]]
        axes = range(int(node.attrs.get("axis", -1)) % len(shape), len(shape))
        kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
        square = draft.add("Mul", (x, x), f"{out}/square", shape)
        inputs = (square, draft.constant(f"{out}/axes", list(axes), "int64"))
        mean = draft.add("ReduceMean", inputs, f"{out}/mean", kept, keepdims=1)
        epsilon = draft.constant(f"{out}/epsilon", node.attrs.get("epsilon", 1e-5))
        root = draft.add("Sqrt", (draft.add("Add", (mean, epsilon), f"{out}/sum", kept),), f"{out}/root", kept)
        draft.add("Mul", (draft.add("Div", (x, root), f"{out}/normal", shape), gain), out, name=node.name)
    return draft.finish()

"""Per-channel affine steps go into the weight and bias of the operator before them.

Used by ``rewrite``. The arithmetic is in float64 and rounded once. Folding of BatchNorm into a
convolution: Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", section 3.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.draft import Draft
from edgekit.graph import Array, Graph, Node
from edgekit.pattern import sole_reader, with_scalar

__all__ = ["absorb_affine", "absorb_scales", "lower_batch_norm"]

_HOSTS = ("Conv", "ConvTranspose", "Gemm")


def absorb_affine(graph: Graph) -> Graph:
    """Fold BatchNormalization, and Mul, Div, Add, Sub by constants per channel, into Conv, ConvTranspose or Gemm."""
    while True:
        for host in graph.nodes:
            merged = _absorb(graph, host) if host.op in _HOSTS else None
            if merged is not None:
                graph = merged
                break
        else:
            return graph


def _absorb(graph: Graph, host: Node) -> Graph | None:
    tensor = host.outputs[0]
    readers = graph.consumers.get(tensor, ())
    if len(readers) != 1 or any(spec.name == tensor for spec in graph.outputs):
        return None
    step = readers[0]
    affine = _affine(graph, step, tensor)
    constant = _weight_and_bias(graph, host)
    if affine is None or constant is None or any(name in graph.consumers for name in step.outputs[1:]):
        return None
    (gain, shift), (weight, bias) = affine, constant
    weight = weight * _along_outputs(host, weight, gain)
    bias = bias * gain + shift
    names = (f"{step.outputs[0]}/weight", f"{step.outputs[0]}/bias")
    made = {names[0]: weight.astype(np.float32), names[1]: bias.astype(np.float32)}
    attrs = {key: value for key, value in host.attrs.items() if key not in ("alpha", "beta")}
    node = Node(host.name, host.op, (host.inputs[0], *names), (step.outputs[0],), attrs)
    # The merged node stands where the step stood: everything it reads is made before.
    nodes = [node if n is step else n for n in graph.nodes if n is not host]
    return graph.with_nodes(
        nodes,
        weights={**graph.weights, **made},
        shapes={**graph.shapes, **{name: array.shape for name, array in made.items()}},
        dtypes={**graph.dtypes, **dict.fromkeys(made, "float32")},
    )


def absorb_scales(graph: Graph) -> Graph:
    """Take a Mul or Div by one constant back through moves and products into the weight it scales.

    That of attention, ``q k / sqrt(d)``, goes into the layer that makes q: the scores are rounded once less.
    """
    draft = Draft(graph)
    scaled: dict[str, tuple[Node, float]] = {}
    for node in graph.nodes:
        found = with_scalar(graph, node) if node.op in ("Div", "Mul") else None
        host = _scaled_host(graph, found[0]) if found is not None and found[1] not in (0.0, 1.0) else None
        if found is not None and host is not None and host.name not in scaled:
            scaled[host.name] = host, 1.0 / found[1] if node.op == "Div" else found[1]
            node = Node(node.name, "Identity", found[:1], node.outputs)
        draft.nodes.append(node)
    for host, factor in scaled.values():
        constant = _weight_and_bias(graph, host)
        if constant is not None:
            values = [array * factor for array in constant]
            names = [draft.constant(f"{host.outputs[0]}/{key}", v) for key, v in zip(("weight", "bias"), values, strict=True)]
            attrs = {key: value for key, value in host.attrs.items() if key not in ("alpha", "beta")}
            made = replace(host, inputs=(host.inputs[0], *names), attrs=attrs)
            draft.nodes = [made if node is host else node for node in draft.nodes]
    return draft.finish()


def _scaled_host(graph: Graph, name: str) -> Node | None:
    """Return the layer that alone decides the size of a tensor, nothing else reading it or what is in between."""
    maker = graph.producers.get(name)
    if maker is None or sole_reader(graph, name) is None:
        return None
    if maker.op in _HOSTS:
        return maker if _weight_and_bias(graph, maker) is not None else None
    if maker.op in ("Reshape", "Transpose"):
        return _scaled_host(graph, maker.inputs[0])
    if maker.op == "MatMul" and maker.inputs[0] != maker.inputs[1]:
        return _scaled_host(graph, maker.inputs[0]) or _scaled_host(graph, maker.inputs[1])
    return None


def _weight_and_bias(graph: Graph, host: Node) -> tuple[Array, Array] | None:
    """Return both in float64, alpha and beta of a Gemm applied; None where they are not constant."""
    channels = graph.shapes[host.outputs[0]][1]
    weight = graph.weights.get(host.inputs[1])
    bias: Array | None = np.zeros(channels)
    if len(host.inputs) > 2 and host.inputs[2]:
        bias = graph.weights.get(host.inputs[2])
    if weight is None or bias is None or bias.size not in (1, channels):
        return None
    if host.op == "Gemm" and (host.attrs.get("transA", 0) or (bias.ndim == 2 and bias.shape[0] != 1)):
        return None
    alpha, beta = host.attrs.get("alpha", 1.0), host.attrs.get("beta", 1.0)
    return weight.astype(np.float64) * alpha, np.broadcast_to(bias.astype(np.float64).reshape(-1) * beta, (channels,))


def _along_outputs(host: Node, weight: Array, gain: Array) -> Array:
    """Shape the gain per output channel so that it multiplies the weight."""
    if host.op == "Gemm":
        return gain.reshape(-1, 1) if host.attrs.get("transB", 0) else gain.reshape(1, -1)
    spatial = (1,) * (weight.ndim - 2)
    if host.op == "Conv":
        return gain.reshape(-1, 1, *spatial)
    # ConvTranspose holds [in, out / group, ...]; the inputs of a group make that group's outputs.
    group = host.attrs.get("group", 1)
    return np.repeat(gain.reshape(group, -1), weight.shape[0] // group, axis=0).reshape(weight.shape[0], -1, *spatial)


def _affine(graph: Graph, step: Node, tensor: str) -> tuple[Array, Array] | None:
    """Return (gain, shift) per channel if the step computes ``gain * tensor + shift``."""
    shape = graph.shapes[tensor]
    channels = shape[1]
    if step.op == "BatchNormalization":
        return _batch_norm(graph, step)
    if step.op not in ("Mul", "Div", "Add", "Sub") or len(step.inputs) != 2 or step.inputs[0] == step.inputs[1]:
        return None
    first = step.inputs[0] == tensor
    array = graph.weights.get(step.inputs[1 if first else 0])
    value = _per_channel(array, len(shape), channels) if array is not None else None
    if value is None or (step.op == "Div" and not first):
        return None
    ones, zeros = np.ones(channels), np.zeros(channels)
    if step.op == "Mul":
        return value, zeros
    if step.op == "Div":
        return (1.0 / value, zeros) if np.all(value != 0.0) else None
    if step.op == "Add":
        return ones, value
    return (ones, -value) if first else (-ones, value)


def _per_channel(array: Array, rank: int, channels: int) -> Array | None:
    """Return a constant as one value per channel (axis 1) if it broadcasts so, else None."""
    if array.dtype != np.float32 or array.ndim > rank:
        return None
    aligned = (1,) * (rank - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(aligned) if axis != 1) or aligned[1] not in (1, channels):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (channels,))


def _batch_norm(graph: Graph, step: Node) -> tuple[Array, Array] | None:
    constants = [graph.weights.get(name) for name in step.inputs[1:5]]
    if step.attrs.get("training_mode", 0) or any(array is None for array in constants):
        return None
    scale, offset, mean, variance = (np.asarray(array, dtype=np.float64) for array in constants)
    gain = scale / np.sqrt(variance + step.attrs.get("epsilon", 1e-5))
    return gain, offset - mean * gain


def lower_batch_norm(graph: Graph) -> Graph:
    """Turn a BatchNormalization with nothing to go into into a Mul and an Add by constants."""
    draft = Draft(graph)
    for node in graph.nodes:
        affine = _batch_norm(graph, node) if node.op == "BatchNormalization" else None
        if affine is None:
            draft.nodes.append(node)
            continue
        x, y = node.inputs[0], node.outputs[0]
        shape = (-1,) + (1,) * (len(graph.shapes[x]) - 2)
        gain, shift = (draft.constant(f"{y}/{key}", array.reshape(shape)) for key, array in zip(("gain", "shift"), affine, strict=True))
        scaled = draft.add("Mul", (x, gain), f"{y}/scaled", graph.shapes[x])
        draft.add("Add", (scaled, shift), y, name=node.name)
    return draft.finish()

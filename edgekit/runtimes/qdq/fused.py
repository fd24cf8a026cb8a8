"""Q/DQ as TensorRT fuses it: only what a product or a residual sum reads is rounded. Called by ``emit``.

Where it is rounded says ``edgekit.placement``. Zero points are 0 and weights int8, since the parser refuses others; biases
stay float, since it refuses an int32 one behind a DequantizeLinear (measured with the parser of tensorrt-rtx 1.7).
Weights have one scale per output channel: axis 0 of a Conv, 1 of a ConvTranspose, the columns of a matrix (TensorRT
developer guide, "Working with Quantized Types").
"""

from __future__ import annotations

from edgekit.placement import rounded_reads
from edgekit.runtimes.qdq.emission import Emission
from edgekit.runtimes.qdq.weights import is_embedding, table, weight

__all__ = ["place"]


def place(e: Emission) -> None:
    """Write every node of the graph."""
    reads = rounded_reads(e.graph, e.plan)
    for node in e.graph.nodes:
        inputs = [e.rounded(name) if (node.name, slot) in reads else name for slot, name in enumerate(node.inputs)]
        if e.plan.precision(node.name) == "int8" and is_embedding(e.graph, node):
            inputs[0] = table(e, node)
        elif e.plan.precision(node.name) == "int8" and len(node.inputs) > 1 and node.inputs[1] in e.plan.weights:
            inputs[1] = weight(e, node)
        e.keep(node, inputs, [e.exact(name) for name in node.outputs])

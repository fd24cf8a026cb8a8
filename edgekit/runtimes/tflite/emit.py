"""``TfliteRuntime``: the emitter's face. Fuse, settle the parameters, lower node by node, write the borders.

Called by the pipeline through ``edgekit.runtimes.RUNTIMES``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edgekit.errors import BuildError
from edgekit.graph import Graph, Node
from edgekit.model import TensorSpec
from edgekit.plan import ASYMMETRIC, QuantPlan
from edgekit.runtimes import Artifact
from edgekit.runtimes.tflite import lower_conv, lower_dense, lower_elementwise, lower_image, lower_pool, lower_shape
from edgekit.runtimes.tflite.border import read_inputs, write_outputs
from edgekit.runtimes.tflite.emission import Emission, Operator, Unsupported
from edgekit.runtimes.tflite.fuse import fuse
from edgekit.runtimes.tflite.params import resolve

__all__ = ["OPERATORS", "TfliteRuntime"]

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {
        **lower_conv.OPERATORS,
        **lower_dense.OPERATORS,
        **lower_elementwise.OPERATORS,
        **lower_image.OPERATORS,
        **lower_pool.OPERATORS,
        **lower_shape.OPERATORS,
    }
)
"""ONNX operator -> its lowering, after ``fuse``."""


class TfliteRuntime:
    """Writes fully integer .tflite files for LiteRT and tflite-runtime."""

    artifact_name = "model.tflite"
    scheme = ASYMMETRIC

    def emit(self, graph: Graph, plan: QuantPlan, *, io_dtype: str, layout: str) -> Artifact:
        """Write the artifact; see ``edgekit.runtimes.Runtime``."""
        fused = fuse(graph)
        _check_precision(graph, plan)
        same_scale = {name for name, operator in OPERATORS.items() if operator.same_scale}
        fixed = {name: operator.fixed for name, operator in OPERATORS.items() if operator.fixed}
        emission = Emission(fused, plan, resolve(fused, plan, same_scale, fixed))
        inputs, layouts = read_inputs(emission, io_dtype, layout)
        _lower(emission)
        outputs, output_layouts = write_outputs(emission, io_dtype, layout)
        data = emission.writer.finish(inputs, outputs)

        def specs(tensors: Mapping[str, int]) -> tuple[TensorSpec, ...]:
            return tuple(TensorSpec(name, io_dtype, emission.writer.shape(index)) for name, index in tensors.items())

        return Artifact(data=data, inputs=specs(inputs), outputs=specs(outputs), layouts={**layouts, **output_layouts})


def _check_precision(graph: Graph, plan: QuantPlan) -> None:
    """Refuse a plan that keeps a node in float, rather than write int8 where it says otherwise."""
    kept = [node.name for node in graph.nodes if plan.precision(node.name) != "int8"]
    if kept:
        raise BuildError(
            f"the plan keeps {len(kept)} node(s) in float, among them {kept[0]!r}: this TFLite emitter writes int8 only",
            fix="make a plan without float nodes",
        )


def _lower(emission: Emission) -> None:
    """Lower every node; name all that cannot be in one error."""
    failed: list[tuple[Node, Unsupported]] = []
    for node in emission.graph.nodes:
        operator = OPERATORS.get(node.op)
        try:
            if operator is None:
                raise Unsupported(
                    "edgekit has no int8 lowering for this operator", fix="replace the operator, or split the model before it"
                )
            _check_types(emission, node)
            operator.lower(emission, node)
        except Unsupported as problem:
            failed.append((node, problem))
            emission.stand_in(node)
    if failed:
        lines = [f"node {node.name!r} ({node.op}): {problem.reason}" for node, problem in failed]
        fixes = dict.fromkeys(problem.fix for _, problem in failed)
        raise BuildError(f"{len(lines)} node(s) cannot become int8 TFLite:\n  " + "\n  ".join(lines), fix="; ".join(fixes))


def _check_types(emission: Emission, node: Node) -> None:
    for name in node.outputs:
        kind = emission.graph.dtypes.get(name, "float32")
        if name and kind != "float32":
            raise Unsupported(f"it makes {kind} values", fix="fold shape arithmetic before exporting (fixed input sizes)")

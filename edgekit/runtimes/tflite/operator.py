"""``Operator``: what the emitter's table says of one ONNX operator; ``Unsupported``: what a lowering says of one node.

The table is ``table.OPERATORS``.

How to write a lowering
-----------------------
A lowering is one function ``(e, node) -> None`` for int8 and float32 alike: the driver says in
``e.precision`` which of the two the node is written in, and these words follow it:

- ``e.layout(name)``: how an input stands in the file (``layout``: any order of axes; ``axis_in``, ``in_layout`` and
  ``arranged`` say where an axis is, and put numbers per axis and constants in that order); ``e.read(name, layout)``: the tensor to read it
  from, in the node's precision (whole numbers and truth values as int32 and bool, whatever the precision).
- ``broadcast.operands(e, node)``: all inputs of a node that broadcasts, constants included, in one layout and rank.
- ``e.constant(name, values)``: real numbers as a constant; ``e.integers(name, values)``: int32, as shapes and axes.
- ``weights.write_filter(...)``: filter and bias of a convolution or matrix product.
- ``e.declare(name, layout)``: the tensor of an output; ``e.hand_on(name, layout, source)`` where it is
  no other than ``source``; ``e.temporary(name, shape, params)``: one in between (``params`` is what int8 makes of it,
  float ignores it).
- ``clamp.clipped(e, node, layout, write)``: declares the output and adds the clamp that ``fuse`` put on the
  node; for operators in ``fuse.WITH_ACTIVATION``.
- ``e.op(...)``: the operator itself.

Where int8 needs more (fixed scales, rescaling that would abort) ask ``e.is_int8``. Raise ``Unsupported`` for
what the kernels cannot say *in this precision*: one raised in int8 alone makes the node float32, with that
reason. Then add the operator to the family's ``OPERATORS`` (``Operator`` has the flags) and cases
to ``tests/cases/tflite/``; each case runs in both precisions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.graph import Node
from edgekit.plan import Precision
from edgekit.runtimes.scales import Params

if TYPE_CHECKING:
    from edgekit.runtimes.tflite.emission import Emission

__all__ = ["Operator", "Unsupported"]


class Unsupported(Exception):  # noqa: N818 (a finding about one node, gathered into one BuildError)
    """A node cannot be lowered in the precision asked; ``fix`` says what the user can do."""

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
        Writes the operators of a node, in ``Emission.precision``.
    float_only
        Why no node of this operator is int8; empty where its lowering knows both precisions.
    same_scale
        The int8 kernel does not rescale, so its inputs and output share one scale.
    moves
        It only hands on values it is given (and constants), so it costs nothing in either precision and
        follows its neighbours (``precision.settle``). Implies ``same_scale``.
    light
        Its float kernel costs about as much as converting its input: between float nodes it is float too.
    fixed
        The only parameters the int8 kernel writes.
    symmetric
        Numbers of the inputs that an int8 kernel wants with zero point 0.
    """

    lower: Callable[[Emission, Node], None]
    float_only: str = ""
    same_scale: bool = False
    moves: bool = False
    light: bool = False
    fixed: Params | None = None
    symmetric: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.moves and not self.same_scale:
            raise ValueError("an operator that moves values keeps their scale")

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """Precisions to try, the preferred one first."""
        return ("float32",) if self.float_only else ("int8", "float32")

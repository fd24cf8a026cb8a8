"""Exact rewrites of a float graph into one spelling per meaning; ``normalise`` runs them.

Each is ``Graph -> Graph`` and changes values by rounding only. Tensor names of the model survive
where the tensor does; what is made here gets its final names from ``normalise``.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekit.graph import Graph
from edgekit.quantize.activation import clips, hard_sigmoids, hard_swishes, late_hard_swishes
from edgekit.quantize.affine import absorb_affine, absorb_scales, lower_batch_norm
from edgekit.quantize.attend import attentions
from edgekit.quantize.dense import dense_layers
from edgekit.quantize.einsum import einsums
from edgekit.quantize.gelu import gelus
from edgekit.quantize.layer_norm import layer_norms
from edgekit.quantize.lift import lift
from edgekit.quantize.mask import attention_masks
from edgekit.quantize.movement import pass_through, reshapes, slices, splits, transposes
from edgekit.quantize.spelling import powers, reductions, root_mean_squares, variadics, windows

__all__ = ["rewrite"]

# In the order in which each finds its form: operators first, then what several of them mean together.
_STEPS: tuple[Callable[[Graph], Graph], ...] = (
    *(reshapes, transposes, pass_through, slices, splits, variadics, powers, reductions, windows, root_mean_squares, einsums, attentions),
    *(layer_norms, gelus, attention_masks, lift, dense_layers),
    *(absorb_affine, absorb_scales, lower_batch_norm, clips, hard_sigmoids, hard_swishes, late_hard_swishes),
    # What these made may stand in a row, or do nothing.
    *(reshapes, transposes, pass_through),
)


def rewrite(graph: Graph) -> Graph:
    """Apply every rewrite."""
    for step in _STEPS:
        graph = step(graph)
    return graph

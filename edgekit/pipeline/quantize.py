"""From the float graph and its calibration samples to the quantized graph and its plan. Called by ``build`` and ``debug``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import msgspec

from edgekit.errors import BuildError, InputError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.calibrate import RANDOM_SAMPLES, observations_of
from edgekit.pipeline.material import Material
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.project import Project
from edgekit.quantize.calibrate import DEFAULT_METHOD, plan_from
from edgekit.quantize.head import mixed_outputs
from edgekit.quantize.histogram import Histogram
from edgekit.quantize.observe import observe
from edgekit.quantize.recover import Recovered, Recovery, recover
from edgekit.runtimes import Runtime

__all__ = ["Quantized", "quantize", "requantize"]


@dataclass(frozen=True)
class Quantized:
    """The quantized graph with its plan.

    Attributes
    ----------
    extremes
        Tensor -> smallest and largest value that calibration saw; the plan's ranges may leave the outermost ones out.
    notes
        What the user should know of the calibration cache.
    """

    recovered: Recovered
    extremes: dict[str, tuple[float, float]]
    notes: tuple[str, ...]


def quantize(material: Material, project: Project, runtime: Runtime, *, resume: bool = False, progress: Progress = silent) -> Quantized:
    """Observe, choose ranges, and win back what rounding loses.

    What the runtime has no int8 kernel for stays in float, and so do joints of unlike outputs; the plan says why.

    Raises
    ------
    BuildError
        Nodes that the runtime cannot compute at all, each named.
    InputError
        The float network does not run on the samples, or gives a value that is not finite.
    """
    graph = material.graph
    support = runtime.support(graph)
    refused = {name: found for name, found in support.items() if found.precision is None}
    if refused:
        operators = {node.name: node.op for node in graph.nodes}
        lines = [f"node {name!r} ({operators[name]}): {found.why}" for name, found in refused.items()]
        fixes = dict.fromkeys(found.fix for found in refused.values() if found.fix)
        raise BuildError(f"{len(lines)} node(s) cannot be computed on this target:\n  " + "\n  ".join(lines), fix="; ".join(fixes))
    notes: tuple[str, ...] = ()
    histograms: Mapping[str, Histogram]
    if material.calibration and material.calibration_feed:
        calibrated = observations_of(graph, material.calibration_feed, material.calibration, resume=resume, progress=progress)
        histograms, notes = calibrated.observations.histograms, calibrated.notes
    else:
        histograms = observe(graph, material.samples(), total=RANDOM_SAMPLES, progress=progress)
    plan = plan_from(
        graph,
        histograms,
        total=len(material.calibration) if material.calibration else RANDOM_SAMPLES,
        method=project.calibration.method or DEFAULT_METHOD,
        dataset_sha256=material.calibration.sha256 if material.calibration else None,
        scheme=runtime.scheme,
        nodes={name: NodePrecision("float32", found.why) for name, found in support.items() if found.precision == "float32"},
        progress=progress,
    )
    joints = {name: NodePrecision("float32", why) for name, why in mixed_outputs(graph, plan.ranges).items()}
    plan = msgspec.structs.replace(plan, nodes={**plan.nodes, **joints})
    wanted = msgspec.structs.asdict(project.quantize)
    options = Recovery(**{name: wanted[name] for name in Recovery.__dataclass_fields__})
    recovered = recover(graph, plan, material.samples, options=options, progress=progress)
    # What `prepare.even_out` did to the graph before anything was observed.
    before = tuple(name for name in ("balance", "equalise") if wanted[name])
    recovered = replace(recovered, plan=msgspec.structs.replace(recovered.plan, recovery=(*before, *recovered.plan.recovery)))
    return Quantized(recovered, {name: (histogram.lo, histogram.hi) for name, histogram in histograms.items()}, notes)


def requantize(material: Material, plan: QuantPlan, *, progress: Progress = silent) -> Recovered:
    """Make the quantized graph of an earlier plan again: its ranges and precisions as they stand, its weights by the same samples.

    Raises
    ------
    InputError
        The plan is of another graph.
    """
    graph = material.graph
    if plan.graph_sha256 != graph.sha256:
        raise InputError(
            f"the plan is of another graph ({plan.graph_sha256[:12]}) than is made of the model here ({graph.sha256[:12]}): "
            "[quantize], shapes under [model], or the versions of edgekit, numpy and onnxruntime are others",
            fix="edgekit build makes a bundle with what is here",
        )
    options = Recovery(**{name: name in plan.recovery for name in Recovery.__dataclass_fields__})
    return recover(graph, plan, material.samples, options=options, progress=progress)

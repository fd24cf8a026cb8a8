"""``edgekit debug``: why the int8 network answers otherwise than the float one, layer by layer."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edgekit import lazy
from edgekit.bundle import Bundle
from edgekit.errors import InputError
from edgekit.explanation import Explanation, Layer, Loss
from edgekit.graph import Array
from edgekit.ondevice.samples import Samples
from edgekit.parse import from_json
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.canary import canary, finding
from edgekit.pipeline.material import Material, gather
from edgekit.pipeline.quantize import quantize, requantize
from edgekit.plan import NodePrecision, QuantPlan
from edgekit.project import Project
from edgekit.quantize.compare import Measured, compare, output_losses
from edgekit.quantize.diagnose import Gain, cause, diagnose, is_ill
from edgekit.quantize.mixed import float_nodes, layer_names, neighbours
from edgekit.quantize.recover import Recovered, keep
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.sources import source_for
from edgekit.target import Target

__all__ = ["SAMPLES", "debug", "debug_bundle"]

SAMPLES = 32
"""Default number of samples that layers are compared on: an image gives each layer thousands of values."""

CANARY_SAMPLES = 500
"""Shows what costs five points, such as another channel order; where all is well the canary needs a few dozen."""

_TRIED = 5
"""How many of the worst layers are tried in float, one by one: each costs a pass of both networks over the samples."""


def debug(
    project: Project, folder: Path, target: Target, *, model_path: Path, samples: int = SAMPLES, progress: Progress = silent
) -> Explanation:
    """Quantize a model as ``build`` does and explain what each layer loses.

    Parameters
    ----------
    project, folder
        What ``edgekit.toml`` says, and the folder its paths start from.
    samples
        How many samples of the evaluation set to compare on at most.

    Raises
    ------
    InputError
        Model, datasets or preprocessing are missing or do not fit each other.
    BuildError
        Nodes that the runtime cannot compute.
    """
    runtime: Runtime = lazy.load(RUNTIMES[target.runtime])()
    with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as scratch:
        material = gather(project, folder, runtime, model_path=model_path, scratch=Path(scratch), progress=progress)
        quantized = quantize(material, project, runtime, progress=progress)
        return _explain(project, material, quantized.recovered, samples, quantized.notes, progress)


def debug_bundle(bundle: Bundle, project: Project, folder: Path, *, samples: int = SAMPLES, progress: Progress = silent) -> Explanation:
    """Explain a bundle's own artifact: its plan, and its weights, made again from the float model and the calibration set.

    Parameters
    ----------
    project
        The one the bundle was built from: a bundle holds neither the float model nor the samples.

    Raises
    ------
    InputError
        The project's model, calibration set or preprocessing is not what the bundle was built from, or nothing in it is INT8.
    """
    manifest = bundle.manifest
    if manifest.recipe and manifest.recipe.precision == "fp16":
        raise InputError(
            f"{manifest.name}: the bundle's engine computes in float16: there is no INT8 in it to explain",
            fix="explain a bundle in mixed or int8, or the project itself: edgekit debug",
        )
    plan = from_json(bundle.read("plan.json"), QuantPlan, f"{bundle.archive or bundle.folder}:plan.json")
    if project.model.path is None:
        raise InputError(
            f"{manifest.name}: a bundle does not hold the float model that it is compared with",
            fix='run this in the folder of its edgekit.toml, with path = "..." under [model], or name that with --project',
        )
    path = folder / project.model.path
    model = source_for(path).read(path)
    if model.sha256 != manifest.origin.model_sha256:
        raise InputError(
            f"the bundle was built from another model ({manifest.origin.model_sha256[:12]}) than {path} ({model.sha256[:12]})",
            fix="name the bundle's own project with --project, or build again: edgekit build",
        )
    runtime: Runtime = lazy.load(RUNTIMES[manifest.runtime])()
    with tempfile.TemporaryDirectory(prefix="edgekit-debug-") as scratch:
        is_random = plan.dataset_sha256 is None
        material = gather(project, folder, runtime, model_path=path, scratch=Path(scratch), allow_random=is_random, progress=progress)
        _check_same(bundle, plan, material)
        recovered = requantize(material, plan, progress=progress)
        return _explain(project, material, recovered, samples, (), progress)


def _check_same(bundle: Bundle, plan: QuantPlan, material: Material) -> None:
    """Refuse what would explain another artifact than the bundle's."""
    again = "edgekit build makes a bundle of what the project says now"
    # As JSON has it: a manifest's arrays are lists.
    wires = (msgspec.json.decode(msgspec.json.encode(wire)) for wire in (material.feed.to_wire(), bundle.manifest.preprocess))
    declared, built = ({key: value for key, value in wire.items() if key != "layout"} for wire in wires)
    if declared != built:
        changed = sorted(key for key in {*declared, *built} if declared.get(key) != built.get(key))
        raise InputError(f"the bundle was built with another [preprocess]: {', '.join(changed)} differ", fix=again)
    if (material.calibration.sha256 if material.calibration else None) != plan.dataset_sha256:
        raise InputError("the bundle was calibrated with other samples than [calibration] names now", fix=again)


def _explain(
    project: Project, material: Material, recovered: Recovered, samples: int, notes: tuple[str, ...], progress: Progress
) -> Explanation:
    graph, plan = recovered.original, recovered.plan
    count = min(samples, len(material.evaluation))
    measured = compare(graph, recovered.graph, plan, _spread(material, count), total=count, progress=progress)
    outputs = output_losses(graph, recovered.graph, plan, _spread(material, count))
    gains = _gains(material, recovered, measured, outputs, count, progress)
    checked = canary(graph, material.feed, material.evaluation, samples_max=CANARY_SAMPLES, progress=progress)
    warned = finding(checked) if checked else None
    switched_off = [key for key, is_on in msgspec.structs.asdict(project.quantize).items() if not is_on]
    order = sorted(range(len(measured)), key=lambda place: -measured[place].noise)
    return Explanation(
        samples=count,
        outputs=outputs,
        layers=tuple(_layer(place, measured[place], plan, gains) for place in order),
        findings=((warned,) if warned else ()) + diagnose(graph, plan, measured, gains, switched_off),
        preprocessing=checked,
        notes=notes,
    )


def _spread(material: Material, count: int) -> Iterator[dict[str, Array]]:
    """Yield samples from all over the evaluation set, which may be sorted by class, as the network takes them."""
    with Samples(material.evaluation.container) as samples:
        for number in np.linspace(0, len(samples) - 1, count).astype(int):
            yield material.feed(samples[int(number)])


def _gains(
    material: Material, recovered: Recovered, measured: Sequence[Measured], outputs: Mapping[str, Loss], count: int, progress: Progress
) -> dict[str, Gain]:
    """Try the worst layers in float, each with those on the other end of the rounding that its error comes from."""
    graph, plan = recovered.original, recovered.plan
    known = layer_names(graph, plan)
    readers = neighbours(graph, known)
    writers = {name: tuple(other for other in known if name in readers[other]) for name in known}
    worst = sorted((layer for layer in measured if layer.name in readers and is_ill(layer)), key=lambda layer: -layer.noise)[:_TRIED]
    before = _noise(outputs.values())
    gains = {}
    for done, layer in enumerate(worst, start=1):
        others = {"weights": (), "stored": readers[layer.name], "read": writers[layer.name]}[cause(layer)]
        nodes = {name: NodePrecision("float32", "tried") for name in float_nodes(graph, plan, [layer.name, *others])}
        mixed = keep(recovered, nodes)
        after = _noise(output_losses(graph, mixed.graph, mixed.plan, _spread(material, count)).values())
        gains[layer.name] = Gain(float(10 * np.log10(before / after)), others)
        progress("try layers in float", done, len(worst))
    return gains


def _noise(losses: Iterable[Loss]) -> float:
    """Return the error's power relative to the signal's, summed over outputs; float32 itself leaves no less."""
    return max(1e-15, sum(10 ** (-loss.sqnr_db / 10) for loss in losses if loss.sqnr_db is not None))


def _layer(place: int, layer: Measured, plan: QuantPlan, gains: Mapping[str, Gain]) -> Layer:
    kept, gain = plan.nodes.get(layer.name), gains.get(layer.name)
    return Layer(
        place=place,
        name=layer.name,
        op=layer.op,
        tensor=layer.tensor,
        precision=layer.precision,
        why=kept.why if kept else "",
        range=layer.range,
        seen=(float(layer.lo.min()), float(layer.hi.max())),
        saturation=layer.saturated / layer.values,
        alone=layer.loss_alone,
        whole=layer.loss_whole,
        gain_db=gain.decibels if gain else None,
        gain_with=gain.others if gain else (),
    )

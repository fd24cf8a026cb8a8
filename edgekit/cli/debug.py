"""``edgekit debug``."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from edgekit.bundle import open_bundle
from edgekit.cli.chart import layer_chart
from edgekit.cli.output import Answer, Page, json_option, progress_bars
from edgekit.cli.root import Command
from edgekit.cli.words import open_project, project_option, target_option
from edgekit.digest import atomic_file
from edgekit.errors import InputError, UsageError
from edgekit.explanation import Explanation, Finding, Layer, Loss, Preprocessing
from edgekit.pipeline import debug as pipeline
from edgekit.target import load_target

__all__ = ["debug", "print_explanation"]

_ROWS = 15
"""How many layers the table shows; the document and the picture have all."""


@click.command(cls=Command)
@click.argument("path", metavar="[BUNDLE|MODEL]", required=False, type=click.Path(path_type=Path))
@target_option
@click.option(
    "--samples",
    type=click.IntRange(min=1),
    default=pipeline.SAMPLES,
    show_default=True,
    help="How many samples of the evaluation set to compare layers on.",
)
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write a picture of all layers, as SVG.")
@project_option
@json_option
def debug(path: Path | None, target: str | None, samples: int, plot: Path | None, project: Path | None) -> Answer:
    """Tell where INT8 loses accuracy, why, and what treats it.

    Compares float and INT8 layer by layer on samples that calibration never saw, and checks whether the float model
    scores better with another preprocessing than the declared one.

    A MODEL (by default the project's) is quantized as edgekit build does; of a BUNDLE it explains the
    artifact inside, from the project it was built from.
    """
    if plot and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot writes SVG, and {plot.name} says otherwise", fix=f"--plot {plot.with_suffix('.svg').name}")
    declared, folder = open_project(project)
    with progress_bars() as progress:
        if path and (path.suffix == ".edge" or path.is_dir()):
            with open_bundle(path) as bundle:
                name, kind = bundle.manifest.name, bundle.manifest.target
                if target not in (None, kind):
                    raise UsageError(f"{path} is for {kind}, not for {target}", fix="leave --target out: a bundle has its own")
                found = pipeline.debug_bundle(bundle, declared, folder, samples=samples, progress=progress)
        else:
            kind = target or declared.build.target or ""
            if not kind:
                raise UsageError("which target?", fix="--target rpi4, or target = ... under [build]; all: edgekit targets list")
            if path is None and declared.model.path is None:
                raise InputError("no model", fix='name a model or a bundle, or path = "..." under [model] in edgekit.toml')
            model = path or folder / (declared.model.path or "")
            name = declared.model.name or model.stem
            found = pipeline.debug(declared, folder, load_target(kind), model_path=model, samples=samples, progress=progress)
    if plot:
        with atomic_file(plot) as file:
            file.write(layer_chart(_title(name, kind, found), found.layers).encode())

    def text(page: Page) -> None:
        print_explanation(page, name, kind, found)
        if plot:
            page.line(f"plot  {plot}")

    data = {"name": name, "target": kind, "explanation": msgspec.to_builtins(found), "plot": str(plot) if plot else None}
    return Answer(data, text)


def _title(name: str, target: str, found: Explanation) -> str:
    return f"{name} for {target}, {found.samples} samples"


def print_explanation(page: Page, name: str, target: str, found: Explanation) -> None:
    """Print an explanation for people: the layers that lose most, what is wrong and what treats it."""
    page.line((_title(name, target, found), "bold"), *(f"; {output}: {_loss(loss)}" for output, loss in found.outputs.items()))
    columns = (
        "layer",
        "operator",
        "precision",
        "range",
        "by",
        "saturated",
        "alone, dB",
        "cosine",
        "in the whole, dB",
        "cosine",
        "gain, dB",
    )
    page.table(columns, [_row(layer) for layer in found.layers[:_ROWS]])
    if len(found.layers) > _ROWS:
        page.line(f"... and {len(found.layers) - _ROWS} layers that lose less alone: --json and --plot have them")
    page.line(_preprocessing(found.preprocessing))
    for finding in found.findings:
        _print_finding(page, finding)
    if not found.findings:
        page.line(("nothing found:", "green"), " no layer is ill, and preprocessing is not at fault as far as it could be checked")
    for note in found.notes:
        page.line(("note:", "yellow"), f" {note}")


def _print_finding(page: Page, finding: Finding) -> None:
    where = f" {finding.layer}" if finding.layer else ""
    page.line((finding.rule, "bold yellow"), f"{where}: {finding.text}")
    page.line("  ", ("fix:", "bold green"), f" {finding.fix}")


def _row(layer: Layer) -> tuple[str, ...]:
    return (
        layer.name,
        layer.op,
        layer.precision,
        f"{layer.range.lo:.3g}..{layer.range.hi:.3g}",
        layer.range.method,
        f"{layer.saturation:.3%}",
        *(figure for loss in (layer.alone, layer.whole) for figure in (_decibels(loss), _cosine(loss))),
        "" if layer.gain_db is None else f"{layer.gain_db:+.1f}",
    )


def _loss(loss: Loss) -> str:
    return f"{_decibels(loss)} dB, cosine {_cosine(loss)}"


def _decibels(loss: Loss) -> str:
    return "none" if loss.sqnr_db is None else f"{loss.sqnr_db:.1f}"


def _cosine(loss: Loss) -> str:
    return "none" if loss.cosine is None else f"{loss.cosine:.4f}"


def _preprocessing(checked: Preprocessing | None) -> str:
    if checked is None:
        return "preprocessing: not checked, which takes labelled images (uint8) and a classifier"
    declared = checked.declared
    told = f"preprocessing: the float model scores {declared.right / declared.n:.0%} of {declared.n} samples as declared; "
    return told + ("another way is better" if checked.better else f"none of {checked.tried} other ways is clearly better")

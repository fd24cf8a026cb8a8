"""Prepare a case once, the same for every peer: the float model, and the samples as it takes them. ``run`` calls ``prepare``.

In the folder of a case: ``float.onnx``; ``float.tflite`` where one can be made; ``calibration/`` and ``evaluation/``
with one ``.npy`` per input; of images, ``calibration.npz`` and ``evaluation.npz``, the raw samples; ``labels.npy``;
``reference.npy``, the float outputs by ONNX Runtime.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from bench.quantization import data, process
from bench.quantization.case import PADDED_TOKENS, Case, Part
from bench.quantization.environment import python_of
from bench.quantization.feed import Array
from bench.quantization.float_model import float_model, float_tflite
from bench.quantization.peer import RUNTIMES
from bench.quantization.result import digest_of
from edgekit.dataset import open_dataset

__all__ = ["Sets", "answers", "prepare"]

# How far a float .tflite may be from ONNX Runtime, relative to the largest output: single precision through a deep network.
_SAME = 1e-3


@dataclass(frozen=True)
class Sets:
    """A prepared case: its folder, what it was made of, and why it has no float .tflite if it has none."""

    folder: Path
    digest: str
    no_tflite: str | None

    @property
    def model(self) -> Path:
        return self.folder / "float.onnx"

    @property
    def tflite(self) -> Path | None:
        return None if self.no_tflite else self.folder / "float.tflite"

    @property
    def calibration(self) -> Path:
        return self.folder / "calibration"

    @property
    def evaluation(self) -> Path:
        return self.folder / "evaluation"

    def labels(self) -> Array:
        return np.asarray(np.load(self.folder / "labels.npy"))

    def reference(self) -> Array:
        return np.asarray(np.load(self.folder / "reference.npy"))


def prepare(name: str, case: Case, cache: Path) -> Sets:
    """Return a prepared case, made anew if its files or its declaration changed.

    Raises
    ------
    AbsentError
        A file is not here.
    NotInstalledError, FailedError
        ONNX Runtime's or the tokenizer's environment cannot be made, or died.
    """
    folder = cache / "sets" / name
    mark = folder / "made.json"
    sources = [data.find(file) for file in (case.model, case.calibration.set, case.evaluation.set, case.head) if file]
    digest = digest_of([repr(case), PADDED_TOKENS], *sources)
    if mark.is_file():
        made = json.loads(mark.read_text(encoding="utf-8"))
        if made["digest"] == digest:
            return Sets(folder, digest, made["no_tflite"])
    print(f"{name}: preparing model and samples", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    proto = float_model(case)
    onnx.save(proto, folder / "float.onnx")
    draw = _sentences if case.head else _images
    for part, place in ((case.calibration, "calibration"), (case.evaluation, "evaluation")):
        (folder / place).mkdir()
        labels = draw(case, part, folder / place, proto.graph.input[0].name, cache)
    np.save(folder / "labels.npy", np.array(labels, np.int64))
    answers(folder, "onnxruntime", folder / "float.onnx", folder / "reference.npy", cache)
    published = data.find(case.model)
    if published.suffix == ".tflite" and (why := _differs(folder, published, cache)):
        raise ValueError(f"{published} was not converted faithfully: {why}")
    target = folder / "float.tflite"
    no_tflite = float_tflite(folder / "float.onnx", target, cache) or _differs(folder, target, cache)
    mark.write_text(json.dumps({"digest": digest, "no_tflite": no_tflite}), encoding="utf-8")
    return Sets(folder, digest, no_tflite)


def answers(folder: Path, runtime: str, file: Path, out: Path, cache: Path) -> None:
    """Write a file's outputs on the evaluation samples of a prepared case."""
    words = ["outputs", runtime, str(file), str(folder / "evaluation"), str(out)]
    process.run(python_of(RUNTIMES[runtime], cache), "evaluate", words, out.with_suffix(".log"))


def _differs(folder: Path, tflite: Path, cache: Path) -> str | None:
    """Say so if a float .tflite does not answer as the float ONNX model does."""
    try:
        answers(folder, "litert", tflite, folder / "tflite.npy", cache)
    except process.FailedError as error:
        return f"its float .tflite does not run: {error}"
    want, got = np.load(folder / "reference.npy"), np.load(folder / "tflite.npy")
    apart = float(np.abs(want - got).max() / np.abs(want).max())
    return None if apart <= _SAME else f"its float .tflite is {apart:.0e} away from the float model"


def _images(case: Case, part: Part, folder: Path, entry: str, cache: Path) -> list[int]:
    """Write the samples as edgekit's own preprocessing makes them, beside them the raw ones, and return their labels."""
    with tempfile.TemporaryDirectory() as scratch:
        place = data.find(part.set)
        held = open_dataset(place.name, place.parent, Path(scratch) / "held.npz", skip=part.skip, count=part.samples)
        raw, labels = [sample["x"] for sample in held], list(held.labels or ())
    np.save(folder / f"{entry}.npy", np.concatenate([case.preprocess.apply(x) for x in raw]))
    np.savez(folder.with_suffix(".npz"), x=np.stack(raw), y=np.array(labels, np.int64))
    return labels


def _sentences(case: Case, part: Part, folder: Path, entry: str, cache: Path) -> list[int]:
    """Write the tokens of sentences; those to calibrate on are shuffled, for the set is sorted by topic."""
    rows = json.loads(data.find(part.set).read_text(encoding="utf-8"))[part.skip :][: part.samples]
    if part is case.calibration:
        rows = [rows[index] for index in np.random.default_rng(0).permutation(len(rows))]
    with tempfile.TemporaryDirectory() as scratch:
        texts, tokens = Path(scratch) / "texts.json", Path(scratch) / "tokens.npz"
        texts.write_text(json.dumps([row["text"] for row in rows]), encoding="utf-8")
        words = [str(data.find("minilm_tokenizer")), str(texts), str(PADDED_TOKENS), str(tokens)]
        process.run(python_of("text", cache), "tokenise", words, Path(scratch) / "log")
        with np.load(tokens) as made:
            for name in made.files:
                np.save(folder / f"{name}.npy", made[name])
    return [row["label"] for row in rows]

"""Have one peer quantize one model, judge the file, time the files of a model side by side; keep all of it. ``run`` calls it.

RESULTS/MODEL/PEER/          the job, its log, the artifact
RESULTS/MODEL/PEER.json      ``result.Result``
RESULTS/MODEL/latency-RUNTIME.json
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.quantization import data, process, result
from bench.quantization.case import CASES
from bench.quantization.environment import ROOT, NotInstalledError, python_of
from bench.quantization.job import Job
from bench.quantization.peer import PEERS, RUNTIMES, Peer
from bench.quantization.project import write_project
from bench.quantization.result import Cost, Result, digest_of
from bench.quantization.score import score
from bench.quantization.sets import Sets, answers

__all__ = ["Bench", "Latency"]

_HERE = Path(__file__).parent

Latency = dict[str, list[float]]


@dataclass(frozen=True)
class Bench:
    """Where things are kept, and how many samples calibrate."""

    cache: Path
    results: Path
    samples: int

    def measure(self, model: str, name: str, sets: Sets, *, again: bool) -> Result:
        """Return what is known of a model and a peer, measuring it if nothing is, or if ``again``.

        Answers are asked for anew only of a file that is not the one already judged.
        """
        path, key = self._file(model, name), self._key(model, name, sets)
        known = result.read(path)
        if known and known.key == key and not again:
            return known
        print(f"{model}: {name}", flush=True)
        found = Result(model, name, self.samples, key)
        try:
            cost, artifact = self.quantize(model, name, sets, self.samples)
            found = replace(found, costs=[cost])
            if artifact:
                found = self._judged(replace(found, **_identity(artifact)), known, sets)
        except (NotInstalledError, process.FailedError) as error:
            found = replace(found, error=str(error), score=None)
        result.write(path, found)
        return found

    def repeat(self, model: str, name: str, sets: Sets) -> Result:
        """Quantize once more, for the time it takes."""
        known = result.read(self._file(model, name))
        if known is None or known.error:
            raise ValueError(f"{model}, {name}: nothing to repeat")
        cost, _ = self.quantize(model, name, sets, self.samples)
        known = replace(known, costs=[*known.costs, cost])
        result.write(self._file(model, name), known)
        return known

    def quantize(self, model: str, name: str, sets: Sets, samples: int) -> tuple[Cost, Path | None]:
        """Run a peer in a process of its own.

        Raises
        ------
        NotInstalledError, FailedError
            Its environment cannot be made, or it died.
        """
        return self._run(model, PEERS[name], PEERS[name].driver, self.results / model / name, sets, samples)

    def command(self, found: Result, sets: Sets) -> Result:
        """Note what the whole ``edgekit build`` of a case takes, preprocessing and proof included, and whether its file is the same."""
        peer, folder = PEERS[found.peer], self.results / found.model / f"{found.peer}-command"
        note: dict[str, Any]
        try:
            cost, artifact = self._run(found.model, peer, "edgekit_command", folder, sets, self.samples)
            note = {**asdict(cost), "same_file": artifact is not None and _identity(artifact)["artifact_sha256"] == found.artifact_sha256}
        except process.FailedError as error:
            note = {"error": str(error)}
        noted = replace(found, notes={**found.notes, "command": note})
        result.write(self._file(found.model, found.peer), noted)
        return noted

    def _run(self, model: str, peer: Peer, driver: str, folder: Path, sets: Sets, samples: int) -> tuple[Cost, Path | None]:
        python, case = _python(peer.environment, self.cache), CASES[model]
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(sets.model, folder / "float.onnx")
        options: dict[str, Any] = dict(peer.options)
        if peer.is_edgekit:
            write_project(folder, model, sets, samples, peer, proved=driver == "edgekit_command")
        if driver == "published":
            options["published"] = str(data.find(str(case.published)))
        job = Job(
            driver=f"bench.quantization.peers.{driver}",
            model=str(folder / "float.onnx"),
            tflite=str(sets.tflite) if sets.tflite else None,
            calibration=str(sets.calibration),
            count=samples,
            text=case.head is not None,
            folder=str(folder),
            options=options,
        )
        job.write(folder / "job.json")
        wall_s = process.run(python, "launch", [str(folder / "job.json"), str(folder / "answer.json")], folder / "log")
        answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
        _tidy(folder)
        artifact = answer.pop("artifact")
        return Cost(wall_s=wall_s, **answer), Path(artifact) if artifact else None

    def latency(self, model: str, runtime: str, sets: Sets, *, again: bool) -> Latency:
        """Return the seconds of each round by peer, and of the float model under ``"float"``: one thread, interleaved."""
        known = [found for name in PEERS if (found := result.read(self._file(model, name)))]
        judged = [found for found in known if found.score and PEERS[found.peer].runtime == runtime]
        path = self.results / model / f"latency-{runtime}.json"
        key = digest_of([sets.digest, {found.peer: found.artifact_sha256 for found in judged}])
        if path.is_file() and not again:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] == key:
                return dict(kept["seconds"])
        files = {found.peer: str(self.results / model / found.peer / str(found.artifact)) for found in judged}
        base = sets.tflite if runtime == "litert" else sets.model
        if not files or base is None:
            return {}
        print(f"{model}: latency in {runtime} of {', '.join(files)}", flush=True)
        listed, out = path.with_suffix(".files.json"), path.with_suffix(".seconds.json")
        listed.write_text(json.dumps({"float": str(base), **files}), encoding="utf-8")
        words = ["latency", runtime, str(listed), str(sets.evaluation), str(out)]
        process.run(python_of(RUNTIMES[runtime], self.cache), "evaluate", words, path.with_suffix(".log"))
        seconds: Latency = json.loads(out.read_text(encoding="utf-8"))
        path.write_text(json.dumps({"key": key, "seconds": seconds}), encoding="utf-8")
        listed.unlink()
        out.unlink()
        return seconds

    def _judged(self, found: Result, known: Result | None, sets: Sets) -> Result:
        same = known and known.score and known.artifact_sha256 == found.artifact_sha256 and known.notes.get("sets") == sets.digest
        if same and known:
            return replace(found, score=known.score, notes=known.notes)
        folder = self.results / found.model / found.peer
        runtime = str(PEERS[found.peer].runtime)
        answers(sets.folder, runtime, folder / str(found.artifact), folder / "outputs.npy", self.cache)
        judged = score(sets.reference(), np.load(folder / "outputs.npy"), sets.labels())
        return replace(found, score=judged, notes={"sets": sets.digest})

    def _file(self, model: str, name: str) -> Path:
        return self.results / model / f"{name}.json"

    def _key(self, model: str, name: str, sets: Sets) -> str:
        """Digest all that the figures of a peer depend on."""
        peer = PEERS[name]
        files = [_HERE / "peers" / f"{peer.driver}.py", _HERE / "job.py", _HERE / "feed.py"]
        if peer.environment:
            files.append(_HERE / "requirements" / f"{peer.environment}.txt")
        else:
            files += sorted((ROOT / "edgekit").rglob("*.py")) + sorted((ROOT / "targets").glob("*.toml"))
        return digest_of([model, name, sets.digest, self.samples, dict(peer.options)], *files)


def _python(environment: str | None, cache: Path) -> Path:
    return python_of(environment, cache) if environment else Path(sys.executable)


def _tidy(folder: Path) -> None:
    """Leave the artifact and what tells how it came about."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.stem not in ("artifact", "log") and path.suffix not in (".json", ".py", ".toml"):
            path.unlink()


def _identity(artifact: Path) -> dict[str, Any]:
    """Return name, digest and size of an artifact, with the files beside it that it is read with."""
    files = sorted(artifact.parent.glob(f"{artifact.stem}.*"))
    return {
        "artifact": artifact.name,
        "artifact_sha256": digest_of(None, *files),
        "artifact_bytes": sum(path.stat().st_size for path in files),
    }

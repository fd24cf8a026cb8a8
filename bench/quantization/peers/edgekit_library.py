"""edgekit's own build, on the samples the peers get, up to where it would prove the artifact.

What is left out is what no peer does: running the artifact on the evaluation set, golden samples, the bundle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from bench.quantization.job import Job
from edgekit.pipeline import build as pipeline
from edgekit.project import load_project
from edgekit.runtimes import RUNTIMES, Artifact
from edgekit.target import load_target

# TensorRT's placement stands behind no target yet: engines are made on the board. Its ONNX file can be judged all the same.
EMITTERS = {"tensorrt": "edgekit.runtimes.qdq:TensorRtQdq", **RUNTIMES}


class ArtifactMade(BaseException):
    """Carries the artifact out of the build."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__()
        self.artifact = artifact


def stop(artifact: Artifact, *_: Any, **__: Any) -> None:
    raise ArtifactMade(artifact)


def quantize(job: Job) -> Path:
    folder = Path(job.folder)
    target = load_target(job.options["target"])
    target = msgspec.structs.replace(target, runtime=job.options.get("runtime", target.runtime))
    vars(pipeline).update(prove=stop, RUNTIMES=EMITTERS)
    try:
        pipeline.build(load_project(folder / "edgekit.toml"), folder, target, model_path=Path(job.model), output=folder)
    except ArtifactMade as made:
        path = job.output(job.options["suffix"])
        path.write_bytes(made.artifact.data)
        return path
    raise RuntimeError("the build did not come to its proof")

"""edgekit's own build, on the samples the peers get, up to the artifact.

What is left out is what no peer does: running the artifact on the evaluation set, golden samples, the bundle. Nothing
observed before is used: the calibration cache is the job's own, and empty.
"""

from __future__ import annotations

import os
from pathlib import Path

from bench.quantization.job import Job
from edgekit import lazy
from edgekit.pipeline.material import gather
from edgekit.pipeline.quantize import quantize as quantize_material
from edgekit.project import load_project
from edgekit.runtimes import RUNTIMES, Runtime
from edgekit.target import load_target

# TensorRT's placement stands behind no target yet: engines are made on the board. Its ONNX file can be judged all the same.
EMITTERS = {"tensorrt": "edgekit.runtimes.qdq:TensorRtQdq", **RUNTIMES}


def quantize(job: Job) -> Path:
    folder = Path(job.folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    project = load_project(folder / "edgekit.toml")
    runtime: Runtime = lazy.load(EMITTERS[job.options.get("runtime") or load_target(job.options["target"]).runtime])()
    scratch = folder / "scratch"
    scratch.mkdir()
    material = gather(project, folder, runtime, model_path=Path(job.model), scratch=scratch)
    recovered = quantize_material(material, project, runtime).recovered
    declared = project.build
    artifact = runtime.emit(
        recovered.graph, recovered.plan, io_dtype=declared.io_dtype or runtime.io_dtype, layout=declared.layout or runtime.layout
    )
    path = job.output(job.options["suffix"])
    path.write_bytes(artifact.data)
    return path

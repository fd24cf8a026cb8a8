"""``edgekit build``, the whole command: preprocessing declared, artifact proved, bundle written. Its artifact is taken out.

A budget that is missed makes exit code 1; the bundle is there all the same, and the table says how it answers.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import redirect_stdout, suppress
from io import BytesIO, TextIOWrapper
from pathlib import Path

from bench.quantization.job import Job
from edgekit.__main__ import main
from edgekit.bundle import open_bundle


def quantize(job: Job) -> Path:
    folder = Path(job.folder)
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    sys.argv = ["edgekit", "build", "--json", "--target", job.options["target"], "--project", str(folder / "edgekit.toml")]
    said = TextIOWrapper(BytesIO(), encoding="utf-8")
    with redirect_stdout(said), suppress(SystemExit):
        main()
    said.seek(0)
    answer = json.load(said)
    if "bundle" not in answer:
        raise RuntimeError(answer["error"]["message"])
    (folder / "report.json").write_text(json.dumps(answer["report"], indent=1), encoding="utf-8")
    with open_bundle(Path(answer["bundle"])) as bundle:
        path = job.output(job.options["suffix"])
        path.write_bytes(bundle.read(bundle.manifest.artifact))
    return path

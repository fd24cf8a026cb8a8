"""Run one driver and say what it cost: the process that ``process.run`` starts in a peer's environment.

    python -m bench.quantization.launch JOB.json ANSWER.json

Seconds count from the call to the file; importing the peer is told apart, for a library in use is loaded once.
The peak is the kernel's high-water mark of this process's memory (VmHWM of proc(5)), not ru_maxrss, which a
child inherits from the process that forked it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import time
from pathlib import Path

from bench.quantization.job import Job

__all__ = ["peak_mib"]


def peak_mib() -> float:
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise OSError("/proc/self/status has no VmHWM")
    return int(found[1]) / 1024


def main() -> None:
    job, out = Job.read(Path(sys.argv[1])), Path(sys.argv[2])
    begun = time.perf_counter()
    driver = importlib.import_module(job.driver)
    import_s = time.perf_counter() - begun
    begun, busy = time.perf_counter(), time.process_time()
    artifact = driver.quantize(job)
    answer = {
        "seconds": time.perf_counter() - begun,
        "cpu_s": time.process_time() - busy,
        "import_s": import_s,
        "peak_mib": peak_mib(),
        "artifact": str(artifact) if artifact else None,
    }
    out.write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()

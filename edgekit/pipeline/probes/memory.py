"""The probe ``memory``: what a release holds, and which part of it the interpreter, the runtime, the model and the running take."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Annotated

import msgspec

from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.validity import Runtime

__all__ = ["PROBE", "Held", "judge"]

_MIB = 1 << 20
_TIMEOUT_S = 600.0
_STAGES = ("interpreter", "runtime", "model", "invoke")

_Bytes = Annotated[int, msgspec.Meta(ge=0, le=1 << 50)]


class MemoryOptions(Options, frozen=True):
    """Measure the memory of the current release on DEVICE, in processes that hold nothing else."""

    processes: Annotated[int, msgspec.Meta(ge=1, le=100, description="Fresh processes.")] = 3


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Memory of the process: the most so far, now, and of that what no file backs; None where the kernel does not tell."""

    peak: _Bytes
    now: _Bytes
    anonymous: _Bytes | None


class Held(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer: one process, after each stage."""

    stages: dict[str, Stage]
    gpu_memory_bytes: _Bytes | None
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)]
    runtime: Runtime

    def __post_init__(self) -> None:
        if tuple(self.stages) != _STAGES:
            raise ValueError(f"the stages are {', '.join(_STAGES)}")


def judge(held: Sequence[Held], *, simulated: bool) -> Findings:
    """Return the peak and what each stage added to it; the median over processes.

    An emulator's own memory is part of its process, so that nothing is valid there.
    """
    rule, broken = ("simulated", {"simulated": "it was not measured on the board"}) if simulated else (None, {})

    def measured(name: str, values: Sequence[float], **details: float) -> Measurement:
        ends = {"min": min(values) / _MIB, "max": max(values) / _MIB, **details}
        return Measurement(name, median(values) / _MIB, "MiB", len(values), rule is None, rule, ends)

    found = [measured("peak_rss", [one.stages["invoke"].peak for one in held])]
    before = None
    for stage in _STAGES:
        added = [one.stages[stage].peak - (one.stages[before].peak if before else 0) for one in held]
        now = median(one.stages[stage].now for one in held) / _MIB
        found.append(measured(f"{stage}_rss", added, held_then=now))
        before = stage
    anonymous = [one.stages["invoke"].anonymous for one in held]
    if known := [value for value in anonymous if value is not None]:
        found.append(measured("anonymous", known))
    if gpu := [one.gpu_memory_bytes for one in held if one.gpu_memory_bytes is not None]:
        found.append(measured("gpu_memory", gpu))
    return Findings(
        measurements=tuple(found),
        verdicts=(Verdict("memory", "invalid", "; ".join(broken.values()), broken),) if broken else (),
        samples={"peak_rss_bytes": tuple(one.stages["invoke"].peak for one in held)},
        environment={**held[0].runtime.words(None), "threads": str(held[0].threads)},
    )


def _measure(under: UnderTest, options: MemoryOptions, progress: Progress) -> Findings:
    held = []
    for place in range(options.processes):
        progress("measure", place, options.processes)
        held.append(under.read(under.job("probe.memory", timeout_s=_TIMEOUT_S, progress=progress), Held, "probe.memory"))
    return judge(held, simulated=under.simulated)


PROBE = Probe("memory", MemoryOptions, _measure)

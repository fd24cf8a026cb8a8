"""The probe ``latency``: how long the current release takes, once the board runs steadily."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgekit.errors import UsageError
from edgekit.latency import latency_measurements
from edgekit.measurement import Findings
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest

__all__ = ["PROBE"]

# An emulator never runs steadily, and none of its times counts: it is not waited for.
_WARMUP_S, _SIMULATED_WARMUP_S = 60.0, 2.0
# Beside two runs of min_time_s: loading, warming up twice at its cap, and sending the samples.
_EXTRA_S = 600.0


class LatencyOptions(Options, frozen=True):
    """Measure how long the current release on DEVICE takes.

    Warms up until steady, then measures until both --min-time and --min-count are reached. Every
    raw sample is kept in the report. Exits with 8 when the figures are not valid, and says why.
    """

    min_time_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600, description="Seconds to measure at least.")] = 3.0
    min_count: Annotated[int, msgspec.Meta(ge=1, le=200_000, description="Runs to measure at least; a p99 takes some 1,000.")] = 1500
    cuda_graph: Annotated[
        bool, msgspec.Meta(description="Launch a TensorRT engine as one CUDA graph; the board needs cuda-bindings for it.")
    ] = False


def _measure(under: UnderTest, options: LatencyOptions, progress: Progress) -> Findings:
    if options.cuda_graph and under.manifest.recipe is None:
        raise UsageError(f"a CUDA graph is asked for, and {under.manifest.name} is no TensorRT engine", fix="leave --cuda-graph out")
    answer = under.job(
        "probe.latency",
        timeout_s=2 * options.min_time_s + _EXTRA_S,
        progress=progress,
        min_time_s=options.min_time_s,
        min_count=options.min_count,
        cuda_graph=options.cuda_graph,
        warmup_cap_s=_SIMULATED_WARMUP_S if under.simulated else _WARMUP_S,
    )
    findings = latency_measurements(
        answer,
        address=under.address,
        cores=under.facts.cores,
        simulated=under.simulated,
        p99_budget_ms=under.manifest.budget.latency_p99_ms,
    )
    if options.cuda_graph:
        findings = msgspec.structs.replace(findings, environment={**findings.environment, "cuda_graph": "yes"})
    return findings


PROBE = Probe("latency", LatencyOptions, _measure)

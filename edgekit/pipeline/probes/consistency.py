"""The probe ``consistency``: the same input gives the same bytes, every time, and those that the build foresaw."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgekit.measurement import Findings, Measurement, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.undertest import UnderTest
from edgekit.validity import Runtime, Word

__all__ = ["PROBE", "Check", "Repeated", "judge"]

_TIMEOUT_S = 3600.0

_Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 40)]
_Steps = Annotated[float, msgspec.Meta(ge=0, le=1e12)]


class ConsistencyOptions(Options, frozen=True):
    """Run the golden samples of the current release on DEVICE again and again; every answer must be the same, byte for byte.

    The second half runs in a runtime opened anew. The golden check of the deployment is repeated as well.
    """

    rounds: Annotated[int, msgspec.Meta(ge=2, le=100_000, description="Times that each sample is run.")] = 100


class Repeated(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer: how many answers differed from the first to their sample, and by how many quantization steps at most."""

    samples: Annotated[int, msgspec.Meta(ge=1, le=1 << 20)]
    rounds: Annotated[int, msgspec.Meta(ge=2, le=1 << 20)]
    different: _Count
    different_anew: _Count
    steps_max: _Steps
    runtime: Runtime
    delegate: Word | None


class Check(msgspec.Struct, frozen=True):
    """The agent's answer to ``golden``."""

    ok: bool
    count: _Count
    max_diff: _Steps | None
    tolerance: _Steps


def judge(repeated: Repeated, check: Check) -> Findings:
    """Return two verdicts: that answers repeat, and that they are those of the build."""
    n = repeated.samples * repeated.rounds
    different = repeated.different + repeated.different_anew
    figures = {"different": repeated.different, "different_anew": repeated.different_anew, "steps_max": repeated.steps_max}
    if different:
        text = f"{different} of {n} answers differed from the first to the same input, by up to {repeated.steps_max:g} steps"
        if not repeated.different:
            text += "; all after the model was opened anew"
    else:
        text = f"{repeated.samples} samples, {repeated.rounds} times each: always the same bytes"
    away = "no finite number" if check.max_diff is None else f"{check.max_diff:g} steps"
    golden = Verdict(
        "golden",
        "pass" if check.ok else "fail",
        f"{away} from the build's answers to {check.count} samples; {check.tolerance:g} are allowed",
        {"max_diff": check.max_diff, "tolerance": check.tolerance},
    )
    return Findings(
        measurements=(Measurement("different", different / n, "1", n), Measurement("golden_steps", check.max_diff, "steps", check.count)),
        verdicts=(Verdict("consistency", "fail" if different else "pass", text, figures), golden),
        environment=repeated.runtime.words(repeated.delegate),
    )


def _measure(under: UnderTest, options: ConsistencyOptions, progress: Progress) -> Findings:
    answer = under.job("probe.consistency", timeout_s=_TIMEOUT_S, progress=progress, rounds=options.rounds)
    repeated = under.read(answer, Repeated, "probe.consistency")
    return judge(repeated, under.read(under.job("golden", timeout_s=_TIMEOUT_S, progress=progress), Check, "golden"))


PROBE = Probe("consistency", ConsistencyOptions, _measure)

"""The probe ``regression``: whether the current release is slower than another that stands on the board, both timed in turns."""

from __future__ import annotations

from typing import Annotated

import msgspec

from edgekit.errors import UsageError
from edgekit.measurement import Findings, Verdict
from edgekit.pipeline import Progress
from edgekit.pipeline.probes import Options, Probe
from edgekit.pipeline.releases import ask_status
from edgekit.pipeline.undertest import UnderTest
from edgekit.regression import SLOWDOWN_MAX, Turns, parse_turns, regression_findings, slower

__all__ = ["PROBE"]

# Beside the timed runs and the first runs of each block, 3 to 20: loading, warming up each release at its cap of 60 s.
_EXTRA_S = 3600.0


class RegressionOptions(Options, frozen=True):
    """Tell whether the current release on DEVICE is slower than another one there, both timed in turns.

    The two are loaded into one process and run in blocks, ABBA, so that whatever slows the board down meets both. A release found
    slower is measured again in a process of its own, loaded in the other order: red only when both runs say so.
    """

    against: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(previous|[0-9a-f]{6,64})\Z", description="The other release: previous, or the first 6 digits or more of its digest."
        ),
    ] = "previous"
    threshold: Annotated[float, msgspec.Meta(ge=0, le=1, description="The slow-down that is tolerated, as a fraction.")] = SLOWDOWN_MAX
    min_time_s: Annotated[float, msgspec.Meta(ge=0.1, le=3600, description="Seconds to measure each release at least.")] = 3.0
    min_count: Annotated[int, msgspec.Meta(ge=160, le=20_000, description="Runs of each release at least, 20 a round.")] = 1500


def _measure(under: UnderTest, options: RegressionOptions, progress: Progress) -> Findings:
    other = _other(under, options.against)
    if other is None:
        text = f"{under.digest[:12]} is the only release there: nothing to hold it against"
        return Findings((), (Verdict("regression", "inconclusive", text),))
    runs = [_run(under, (other, under.digest), options, progress)]
    if slower(runs[0], under.digest, other, options.threshold):
        runs.append(_run(under, (under.digest, other), options, progress))
    return regression_findings(
        runs, under.digest, other, slowdown_max=options.threshold, cores=under.facts.cores, simulated=under.simulated
    )


def _run(under: UnderTest, releases: tuple[str, str], options: RegressionOptions, progress: Progress) -> Turns:
    answer = under.job(
        "probe.regression",
        timeout_s=3 * options.min_time_s + _EXTRA_S,
        progress=progress,
        releases=list(releases),
        min_time_s=options.min_time_s,
        min_count=options.min_count,
    )
    return parse_turns(answer, releases, under.address)


def _other(under: UnderTest, word: str) -> str | None:
    """Find the release that a word means; None for the previous one of a board that has had no other."""
    app = next(one for one in ask_status(under.session, under.manifest.name).apps if one.name == under.manifest.name)
    known = [digest for digest in app.releases if digest != under.digest]
    if word == "previous":
        found = [app.previous] if app.previous in known else []
    else:
        found = [digest for digest in known if digest.startswith(word)]
    if word == "previous" and not known:
        return None
    if len(found) != 1 or found[0] is None:
        there = ", ".join(digest[:12] for digest in known) or "none but the current one"
        why = f"no release there is {word!r}" if not found else f"{word!r} means several releases"
        raise UsageError(f"{under.address}: {why}", fix=f"deploy another, or name one with --against; there: {there}")
    return found[0]


PROBE = Probe("regression", RegressionOptions, _measure)

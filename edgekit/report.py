"""``Report``: what was measured on what, with which verdict, as a plain value and as JSON.

The pipeline puts one together from what ``latency`` and ``accuracy`` find, the command line shows
it and ends with ``worst``. A report's parts can be had from here too.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edgekit.measurement import Findings, Measurement, Outcome, Verdict
from edgekit.parse import from_json
from edgekit.throttle import BoardState
from edgekit.trial import Trial

__all__ = ["BundleName", "DeviceName", "Findings", "Measurement", "Outcome", "Report", "Verdict", "decode_report", "encode_report", "worst"]

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

_REPORT_BYTES_MAX = 256 << 20
"""Ten million raw samples; more is no report."""


class BundleName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which bundle was measured; ``digest`` is None inside the bundle itself, whose digest covers its report."""

    name: str
    target: str
    digest: Digest | None


class DeviceName(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which board measured it, and the digest of the lasting facts it told: the same as long as board, system and runtimes are."""

    name: str
    address: str
    facts: Digest


class Report(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of it.

    Attributes
    ----------
    device
        None when the host measured.
    simulated
        The board was an emulator: its answers count, its times do not.
    environment
        Tool versions, ``time`` (ISO 8601, UTC; not inside a bundle, which is the same bytes on
        every rebuild), and what the probes add.
    states
        What the board said of itself while it was measured, in order.
    float_nodes
        Node -> why the build keeps it out of INT8.
    trials
        What the accuracy budget's search measured, in order; empty where there was none.
    """

    schema: Literal["edgekit.report/1"] = "edgekit.report/1"
    bundle: BundleName
    device: DeviceName | None
    simulated: bool
    measurements: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    samples: dict[str, tuple[int, ...]]
    environment: dict[str, str]
    states: tuple[BoardState, ...] = ()
    float_nodes: dict[str, str] = {}
    trials: tuple[Trial, ...] = ()


def encode_report(report: Report) -> bytes:
    """Return the report as JSON; the same report gives the same bytes."""
    return msgspec.json.encode(report, order="deterministic")


def decode_report(data: bytes, where: str) -> Report:
    """Read a report.

    Parameters
    ----------
    where
        The file it comes from, for the error.

    Raises
    ------
    InputError
        It is not a report of this schema.
    """
    return from_json(data, Report, where, max_bytes=_REPORT_BYTES_MAX)


def worst(report: Report) -> int:
    """Return the exit code a report ends in: 1 a gate failed, 8 nothing may be concluded, 0 all is well.

    A failed gate outweighs an undecided one, as its own measurements were good enough to judge.
    """
    outcomes = {verdict.outcome for verdict in report.verdicts}
    if "fail" in outcomes:
        return 1
    if outcomes & {"inconclusive", "invalid"} or not all(measurement.valid for measurement in report.measurements):
        return 8
    return 0

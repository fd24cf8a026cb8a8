"""``edgekit probe``: measure the release a board runs, on the board, and judge what came back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgekit._version import __version__
from edgekit.device import Device
from edgekit.digest import sha256_bytes
from edgekit.measurement import Findings
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.probes import find_probe
from edgekit.pipeline.undertest import UnderTest, under_test
from edgekit.project import Project
from edgekit.report import BundleName, DeviceName, Report
from edgekit.target import Budget

__all__ = ["probe", "report_path"]


def probe(
    device: Device,
    name: str,
    *,
    project: Project,
    folder: Path,
    app: str | None = None,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    progress: Progress = silent,
) -> Report:
    """Run one probe on the current release of a board.

    Parameters
    ----------
    name
        See `edgekit.pipeline.probes.PROBES`.
    project, folder
        What the project declares (its evaluation set, its ``[probe.NAME]``), and where its paths start from.
    app
        None takes the only application on the board.
    threads
        None takes the manifest's, but no more than the board has cores.
    options
        The probe's own, by name; they come before the project's.
    budget
        What it promises comes before the release's own promises.

    Raises
    ------
    UsageError
        There is no such probe; the board holds several applications and none was named, or not that one.
    InputError
        An option or the evaluation set is wrong, or the release is nothing that this probe can measure.
    BusyError
        Somebody else holds the board.
    DeviceError
        The board cannot be reached, or the run failed there.
    """
    chosen = find_probe(name)
    asked = chosen.asked(project, options or {})
    with under_test(device, app, threads, project, folder, reason=f"probe {name} of") as under:
        if budget:
            under = replace(under, manifest=msgspec.structs.replace(under.manifest, budget=budget.over(under.manifest.budget)))
        return _report(under, chosen.measure(under, asked, progress))


def report_path(folder: Path, report: Report, name: str) -> Path:
    """Return where a project keeps the report of a probe unless told otherwise."""
    stamp = report.environment["time"].replace(":", "").replace("+0000", "Z")
    return folder / "build" / "reports" / f"{report.bundle.name}-{name}-{stamp}.json"


def _report(under: UnderTest, findings: Findings) -> Report:
    facts = msgspec.json.encode(under.facts.lasting, order="sorted")
    return Report(
        bundle=BundleName(under.manifest.name, under.manifest.target, under.digest),
        device=DeviceName(under.device.name, under.address, sha256_bytes(facts)),
        simulated=under.simulated,
        measurements=findings.measurements,
        verdicts=findings.verdicts,
        samples=findings.samples,
        environment={
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "edgekit": __version__,
            "board": under.facts.board or under.facts.cpu or under.facts.machine,
            "machine": under.facts.machine,
            **findings.environment,
        },
        states=findings.states,
    )

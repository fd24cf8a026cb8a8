"""``edgekit ci``: take a board, build, deploy, measure, judge, put the board back as it was, give it back.

Whatever happens in between, a Ctrl-C too, what ran before runs again and the board is free; docs/ci.md has the order and the exit codes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import msgspec

from edgekit.bundle import Bundle, open_bundle
from edgekit.device import Device
from edgekit.devices.lease import Hold
from edgekit.digest import write_atomic
from edgekit.errors import DeviceError, EdgekitError, InconsistentError, InputError, UsageError
from edgekit.pipeline import Progress, silent
from edgekit.pipeline.build import build
from edgekit.pipeline.deploy import deploy
from edgekit.pipeline.hold import candidates, kind_of, take_one
from edgekit.pipeline.probation import KEEP_ALL, Before, begin, forget, put_back
from edgekit.pipeline.probe import probe, report_path
from edgekit.pipeline.probes import find_probe
from edgekit.pipeline.probes.soak import INTERRUPTED
from edgekit.pipeline.step import Ended, Found, Steps, shielded
from edgekit.project import CiSection, Project
from edgekit.report import encode_report, worst
from edgekit.runs.run import Run
from edgekit.target import load_target

__all__ = ["Wanted", "ci"]

_MARGIN_S = 120.0
"""What a lease lasts beyond the step it is for."""
_LEASE_MAX_S = 7 * 86400.0
"""What a board grants at most (`edgekit.ondevice.lease`)."""
_FAILED, _INCONSISTENT = 1, InconsistentError.exit_code
_REVISIONS = ("GITHUB_SHA", "CI_COMMIT_SHA", "GIT_COMMIT")
"""Where GitHub Actions, GitLab and Jenkins say what is being tested."""


@dataclass(frozen=True)
class Wanted:
    """What a call asks for beside the project's ``[ci]``.

    Attributes
    ----------
    device, target
        See `edgekit.pipeline.hold.candidates`.
    bundle
        Tested as it is, instead of building one.
    restore
        Put the board back as it was afterwards.
    """

    device: str | None = None
    target: str | None = None
    root: str | None = None
    bundle: Path | None = None
    restore: bool = True


def ci(
    project: Project,
    folder: Path,
    wanted: Wanted,
    *,
    allowed_signers: Path | None = None,
    tell: Callable[[str], None],
    progress: Progress = silent,
) -> Run:
    """Run the whole line on one board, and return what came of it, however it ended.

    Parameters
    ----------
    project, folder
        What the project declares, its ``[ci]`` above all, and where its paths start from.
    allowed_signers
        Whose signatures count, see `edgekit.pipeline.deploy.deploy`.
    tell
        Called with a line for each step that begins or is done again, and for who holds a board that is waited for.

    Raises
    ------
    UsageError
        There is no such probe, or no board to run on; nothing was begun.
    InputError
        A probe's options are wrong; nor was it here.
    """
    for name in project.ci.probes:
        find_probe(name).asked(project, {})
    with suppress(DeviceError):  # a virtual board that is not up: the step that takes a board says so
        candidates(project, wanted.device, wanted.target, root=wanted.root)
    course = _Course(project, folder, wanted, allowed_signers, tell, progress)
    course.go()
    return course.run()


class _Course:
    """The steps in their order, and what each leaves for the next."""

    def __init__(
        self,
        project: Project,
        folder: Path,
        wanted: Wanted,
        signers: Path | None,
        tell: Callable[[str], None],
        progress: Progress,
    ) -> None:
        self._project, self._folder, self._wanted = project, folder, wanted
        self._signers, self._tell, self._progress = signers, tell, progress
        self._terms: CiSection = project.ci
        self._begun_s, self._time = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._steps = Steps(self._begun_s + self._terms.timeout_s, self._terms.retries, tell)
        self._device: Device | None = None
        self._hold: Hold | None = None
        self._bundle: Bundle | None = None
        self._before: Before | None = None
        self._notes: list[str] = []

    def go(self) -> None:
        """Do it all."""
        with ExitStack() as stack:
            why = "what went before"
            try:
                try:
                    self._forward(stack)
                except Ended as end:
                    why = str(end)
                except BaseException as error:  # noqa: BLE001  # it is written down, and what was changed is put back
                    why = "the run"
                    self._steps.stopped(error)
            finally:  # a second Ctrl-C, right after the first, comes before the shield
                with shielded() as came:
                    self._back(f"{why} did not end well")
            if came:
                self._notes.append("told to stop while the board was put back; that came first")

    def run(self) -> Run:
        """Return what has come of it."""
        manifest = self._bundle.manifest if self._bundle else None
        for step in self._steps.done:
            if step.probe and step.code == 0 and not step.verdicts:
                self._notes.append(f"{step.name} judged nothing: it has no budget to hold; see [budget] in edgekit.toml")
        return Run(
            app=manifest.name if manifest else self._project.model.name,
            target=manifest.target if manifest else self._wanted.target or self._terms.target,
            device=self._device.name if self._device else None,
            address=str(self._device.address) if self._device else None,
            release=self._bundle.digest if self._bundle else None,
            revision=next((os.environ[name] for name in _REVISIONS if os.environ.get(name)), None),
            time=self._time,
            seconds=round(time.monotonic() - self._begun_s, 3),
            steps=tuple(self._steps.done),
            notes=tuple(self._notes),
        )

    def _forward(self, stack: ExitStack) -> None:
        terms, run = self._terms, self._steps.run
        device, hold = run("lease", lambda _: self._take(stack), timeout_s=terms.lease_wait_s + _MARGIN_S)
        bundle = self._bundle = run(
            self._made, lambda found: self._make(stack, device, found), timeout_s=terms.build_timeout_s, again=False
        )
        if self._steps.done[-1].code == _FAILED:
            raise Ended(self._made)
        run("deploy", lambda _: self._deploy(bundle, device, hold), timeout_s=terms.deploy_timeout_s)
        wrong: Ended | None = None
        for name in terms.probes:
            try:
                run(name, partial(self._measure, name, bundle, device, hold), timeout_s=terms.probe_timeout_s, probe=True)
            except Ended as end:
                if not isinstance(end.__cause__, (InputError, UsageError)):
                    raise  # what says nothing of the board lets the other probes run
                wrong = wrong or end
        if wrong:
            raise wrong

    @property
    def _made(self) -> str:
        return "bundle" if self._wanted.bundle else "build"

    def _lasting_s(self, step_s: float) -> float:
        """Return how long the lease is to outlast this process: all attempts of a step."""
        return min(step_s * (1 + self._terms.retries) + _MARGIN_S, _LEASE_MAX_S)

    def _take(self, stack: ExitStack) -> tuple[Device, Hold]:
        reason, lasting_s = f"edgekit ci of {self._project.model.name or 'a model'}", self._lasting_s(self._terms.build_timeout_s)
        wait_s, devices = (
            self._terms.lease_wait_s,
            candidates(self._project, self._wanted.device, self._wanted.target, root=self._wanted.root),
        )
        took = take_one(devices, stack, reason=reason, for_s=lasting_s, wait_s=wait_s, tell=self._tell, progress=self._progress)
        self._device, self._hold = took
        return took

    def _make(self, stack: ExitStack, device: Device, found: Found) -> Bundle:
        """Open the bundle to test, or build it: then what the host has found of it is judged here too."""
        if self._wanted.bundle:
            return stack.enter_context(open_bundle(self._wanted.bundle))
        model = self._project.model.path
        if model is None:
            raise InputError("no model", fix='path = "..." under [model] in edgekit.toml, or --bundle PATH')
        built = build(
            self._project,
            self._folder,
            load_target(kind_of(self._project, device, self._wanted.target)),
            model_path=self._folder / model,
            output=self._folder / "build",
            progress=self._progress,
        )
        found.code, found.verdicts, found.measurements = worst(built.report), built.report.verdicts, built.report.measurements
        self._notes += [*built.notes, *built.manifest.taints]
        return stack.enter_context(open_bundle(built.path))

    def _deploy(self, bundle: Bundle, device: Device, hold: Hold) -> None:
        terms = self._terms
        hold.extend(self._lasting_s(terms.deploy_timeout_s))
        if self._before is None and self._wanted.restore:
            self._before = begin(device, bundle)
        deploy(
            bundle,
            device,
            terms=msgspec.structs.replace(self._project.deploy, keep=KEEP_ALL if self._wanted.restore else self._project.deploy.keep),
            folder=self._folder,
            stand_in=terms.stand_in,
            allowed_signers=self._signers,
            progress=self._progress,
        )
        if not self._wanted.restore:
            forget(device, bundle.manifest.name)

    def _measure(self, name: str, bundle: Bundle, device: Device, hold: Hold, found: Found) -> None:
        hold.extend(self._lasting_s(self._terms.probe_timeout_s))
        app = bundle.manifest.name
        report = probe(device, name, project=self._project, folder=self._folder, app=app, progress=self._progress)
        if report.bundle.digest != bundle.digest:
            raise DeviceError(f"{device.address}: {str(report.bundle.digest)[:12]} of {app} runs there, not the release under test")
        path = report_path(self._folder, report, name)
        write_atomic(path, encode_report(report))
        found.report, found.code, found.simulated = str(path), worst(report), report.simulated
        found.verdicts, found.measurements = report.verdicts, report.measurements
        if report.environment.get("ended") == INTERRUPTED:
            raise KeyboardInterrupt  # the soak has kept what came; the rest of the run is not wanted

    def _back(self, why: str) -> None:
        """Put the board back as it was, and give it back."""
        terms, steps = self._terms, self._steps
        done = {step.name for step in steps.done}
        for name in ("lease", self._made, "deploy", *terms.probes):
            if name not in done:
                steps.skip(name, why, probe=name in terms.probes)
        steps.end_s = time.monotonic() + terms.restore_timeout_s + _MARGIN_S
        device, hold, before = self._device, self._hold, self._before
        with suppress(Ended):
            if device and hold and before:
                steps.run("restore", lambda _: self._restore(device, hold, before), timeout_s=terms.restore_timeout_s, fatal=_INCONSISTENT)
            else:
                steps.skip("restore", "nothing was deployed" if self._wanted.restore else "asked not to")
        if device and hold:
            with suppress(Ended):
                steps.run("release", lambda _: self._release(hold), timeout_s=_MARGIN_S, again=False)
        else:
            steps.skip("release", "no board was taken")

    def _restore(self, device: Device, hold: Hold, before: Before) -> None:
        hold.extend(self._lasting_s(self._terms.restore_timeout_s))
        put_back(device, before)

    def _release(self, hold: Hold) -> None:
        try:
            hold.give_back()
        except EdgekitError as error:  # nothing is wrong with the board or the release: the lease ends by itself
            self._notes.append(f"the lease could not be given back, and runs out: {error.message}")

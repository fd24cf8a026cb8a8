"""The probes: one file each, and the table of them. ``edgekit.pipeline.probe`` runs them.

To add one: its file here, its line in `PROBES`, its test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from edgekit.errors import InputError, UsageError
from edgekit.lazy import load
from edgekit.measurement import Findings, Verdict
from edgekit.nearest import did_you_mean
from edgekit.parse import into
from edgekit.pipeline import Progress
from edgekit.pipeline.undertest import UnderTest
from edgekit.project import Project

__all__ = ["PROBES", "Options", "Probe", "Unsupported", "find_probe", "unsupported"]

PROBES = {
    "latency": ("edgekit.pipeline.probes.latency:PROBE", "How long one inference takes, with the bounds of each percentile."),
    "throughput": ("edgekit.pipeline.probes.throughput:PROBE", "How many inferences a second, with streams beside each other."),
    "soak": ("edgekit.pipeline.probes.soak:PROBE", "Latency, temperature and clocks over minutes to days, and whether they drift."),
    "cold": ("edgekit.pipeline.probes.cold:PROBE", "From a fresh process to the first answer: import, load, first inference."),
    "memory": ("edgekit.pipeline.probes.memory:PROBE", "The peak, and what interpreter, runtime, model and running add to it."),
    "energy": ("edgekit.pipeline.probes.energy:PROBE", "Energy of one inference by the board's own power sensors, idle subtracted."),
    "ops": ("edgekit.pipeline.probes.ops:PROBE", "How long each operator takes, where the runtime tells."),
    "accuracy": ("edgekit.pipeline.probes.accuracy:PROBE", "The evaluation set on the board, against the float model, sample by sample."),
    "agreement": (
        "edgekit.pipeline.probes.agreement:PROBE",
        "Without labels: the board's outputs against those of the host and of float.",
    ),
    "consistency": ("edgekit.pipeline.probes.consistency:PROBE", "The same input gives the same bytes, and those the build foresaw."),
    "regression": ("edgekit.pipeline.probes.regression:PROBE", "Whether the current release is slower than another there, timed in turns."),
}
"""Name -> (where it is, one line for a list)."""


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a probe may be asked for: fields with a default each, their bounds and meaning in ``msgspec.Meta``.

    The command line makes an option of each (``min_time_s`` is ``--min-time``), a project's ``[probe.NAME]`` sets them by
    their own names. The class's docstring is the help of the command.
    """


O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class Probe(Generic[O]):
    """One way of measuring a release on a board."""

    name: str
    options: type[O]
    measure: Callable[[UnderTest, O, Progress], Findings]

    def asked(self, project: Project, given: Mapping[str, Any]) -> O:
        """Return the options given, the project's for those left out, and else the defaults.

        Raises
        ------
        InputError
            An option is unknown, of a wrong type or out of bounds.
        """
        if strange := sorted(set(project.probe) - set(PROBES)):
            raise InputError(f"[probe.{strange[0]}]: no probe is called so", fix="edgekit probe --list")
        declared = into(project.probe.get(self.name, {}), self.options, f"[probe.{self.name}]")
        return into({**msgspec.to_builtins(declared), **given}, self.options, f"the options of the probe {self.name}")


class Unsupported(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The agent's answer where a board, or a runtime, has nothing to measure with."""

    unsupported: Annotated[str, msgspec.Meta(max_length=400)]


def unsupported(name: str, answer: Unsupported) -> Findings:
    """Return that nothing was measured, and why: an invalid verdict, so that nobody takes it for a pass."""
    why = answer.unsupported
    return Findings((), (Verdict(name, "invalid", f"unsupported: {why}", {"unsupported": why}),))


def find_probe(name: str) -> Probe[Any]:
    """Return a probe by name.

    Raises
    ------
    UsageError
        There is none of that name; the message offers the nearest.
    """
    if name not in PROBES:
        near = did_you_mean(name, PROBES)
        raise UsageError(f"no probe is called {name!r}", fix=f"did you mean {near!r}?" if near else "edgekit probe --list")
    probe: Probe[Any] = load(PROBES[name][0])
    return probe

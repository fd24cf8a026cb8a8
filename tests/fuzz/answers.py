"""What a hostile board answers to each question that the host asks it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from hypothesis import strategies as st

from edgekit.bundle import Bundle
from edgekit.device import Address, Device
from edgekit.devices import Completed, lease, transfer
from edgekit.devices.python import DevicePython, find_python
from edgekit.devices.session import AgentSession
from edgekit.errors import EdgekitError
from edgekit.latency import latency_measurements
from edgekit.pipeline import activate, compare, releases, service, trust
from edgekit.regression import parse_turns, regression_findings
from tests.fuzz.mutation import broken_json, broken_value
from tests.fuzz.surface import Surface
from tests.unit.bundles import small_manifest
from tests.unit.test_device import FACTS
from tests.unit.test_latency import answer as latency_answer
from tests.unit.test_regression import CURRENT, OTHER
from tests.unit.test_regression import answer as turns_answer

BOARD = Device(name="board", address=Address.parse("pi@board"), root="~/.edgekit")
BUNDLE = Bundle(Path(), "0" * 64, small_manifest(), None, None)
DEPLOYMENT = activate.Deployment(BUNDLE, 60.0, None, "0" * 16)


class HostileBoard:
    """A connection to a board that says what it likes."""

    def __init__(self, lines: list[bytes], stdout: bytes = b"") -> None:
        self.lines, self.stdout = lines, stdout

    def run(self, argv: Any, *, on_line: Callable[[bytes], None] | None = None, **_: Any) -> Completed:
        for line in self.lines:
            if on_line:
                on_line(line)
        return Completed(0, self.stdout, b"")


def session_with(lines: list[bytes]) -> AgentSession:
    session = AgentSession(HostileBoard(lines), BOARD)  # type: ignore[arg-type]
    session._python, session._agent = DevicePython("python3", (3, 8, 0), True), "agent"
    return session


EVENTS: list[dict[str, Any]] = [
    {"event": "progress", "stage": "latency", "done": 1, "total": 2},
    {"event": "result", "data": {"a": [1.5, None], "b": "text"}},
    {"event": "error", "kind": "state", "message": "no", "fix": None},
]


def run_job(lines: list[bytes], _folder: Path) -> None:
    session_with(lines).job("store.status", timeout_s=1)


def measure(session: AgentSession) -> None:
    data = session.job("probe.latency", timeout_s=1)
    latency_measurements(data, address="board", cores=4, simulated=False, p99_budget_ms=20.0)


def take_turns(session: AgentSession) -> None:
    answer = session.job("probe.regression", timeout_s=1)
    turns = parse_turns(answer, (OTHER, CURRENT), "board")
    regression_findings([turns], CURRENT, OTHER, slowdown_max=0.02, cores=4, simulated=False)


def tell_fed(session: AgentSession) -> None:
    compare.read(session.job("probe.accuracy", timeout_s=1), 2, "board")


APP = {
    "name": "meter",
    "current": "0" * 64,
    "previous": None,
    "whole": True,
    "releases": ["0" * 64],
    "bytes": 5,
    "target": "rpi4",
    "state": "committed",
    "since": "2026-01-01T00:00:00Z",
    "why": None,
    "by": "host",
    "next": None,
    "watched": False,
    "signer": "anna",
    "key": "SHA256:x",
    "serial": 7,
    "untrusted": None,
}
GOLDEN = {"ok": True, "count": 8, "max_diff": 0.0, "tolerance": 2.0}
LATENCY = latency_answer()
LATENCY.update((key, LATENCY[key][:200]) for key in ("invoke_ns", "end_to_end_ns"))
FILE = Path(__file__)
PART = {"sha256": "1" * 64, "have_bytes": 0, "tail_bytes": 5, "tail_sha256": "2" * 64, "needed": "AQ=="}
LOOK = {"systemd": 252, "why": None, "linger": True, "user": "pi", "port_taken": False, "odd_path": None}
# Question -> an honest answer, and what the host makes of it.
ANSWERS: dict[str, tuple[Any, Callable[[AgentSession], object]]] = {
    "activate": ({"app": "meter", "changed": True}, lambda session: activate.activate(session, DEPLOYMENT)),
    "admit": ({"signer": "anna", "key": "SHA256:x", "serial": 7}, lambda session: trust.admit(session, BUNDLE)),
    "compare": ({"predictions": [1, 2], "fed": ["0" * 32, "1" * 32], "runtime": {"name": "x", "version": None}}, tell_fed),
    "commit": ({"app": "meter", "pruned": ["0" * 64]}, lambda session: activate.commit(session, DEPLOYMENT, 3)),
    "facts": (msgspec.to_builtins(FACTS), AgentSession.facts),
    "golden": (GOLDEN, lambda session: activate.check_golden(session, DEPLOYMENT)),
    "latency": (LATENCY, measure),
    "lease": ({"lease": {"owner": "anna", "reason": "a test", "left_s": 5.5}, "forced": None}, lease.show),
    "prove": ({"proof": {"golden": GOLDEN, "latency_p99_ms": None}}, lambda session: activate.prove(session, DEPLOYMENT, lambda *_: None)),
    "regression": (turns_answer(np.random.default_rng(1), 1.1, rounds=9), take_turns),
    "service": (LOOK, lambda session: service.look_for_service(session, "meter", 8080)),
    "status": ({"apps": [APP, APP], "free_bytes": 1}, lambda session: releases.ask_status(session, None)),
    "transfer": ({"missing": [PART], "free_bytes": 1 << 30, "links": True}, lambda session: transfer.ask(session, {"1" * 64: FILE})),
}


def convert(case: tuple[str, Any], _folder: Path) -> None:
    name, data = case
    ANSWERS[name][1](session_with([json.dumps({"event": "result", "data": data}).encode()]))


def answers() -> st.SearchStrategy[Any]:
    return st.sampled_from(sorted(ANSWERS)).flatmap(lambda name: broken_value(ANSWERS[name][0]).map(lambda data: (name, data)))


def find(stdout: bytes, _folder: Path) -> None:
    find_python(HostileBoard([], stdout), BOARD, "agent.pyz", b"")  # type: ignore[arg-type]


FOUND = {"version": [3, 11, 2], "agent": None, "wrong": ["apps", "foreign"]}
ANSWERED: dict[str, Surface] = {
    "event": Surface(8, lambda: st.lists(st.sampled_from(EVENTS).flatmap(broken_json), min_size=1, max_size=3), run_job, (EdgekitError,)),
    "answer": Surface(12, answers, convert, (EdgekitError,)),
    "look": Surface(4, lambda: broken_json(FOUND), find, (EdgekitError,)),
}

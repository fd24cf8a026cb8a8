"""Releases that can prove themselves, on the stand-in for LiteRT, with hooks that leave a trace; and the jobs of a deployment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.ondevice import samples
from edgekit.ondevice.releases import read_link

from .conftest import Agent
from .served import GOLDEN, RUNTIME, install

IMAGE = np.full((2, 2, 3), 4, np.uint8)
# The number 254 aborts the process, as a runtime does on a file that it does not expect.
ABORTING = RUNTIME["ai_edge_litert/interpreter.py"].replace(
    "    def allocate_tensors(self):\n        pass",
    "    def allocate_tensors(self):\n        if self.number == 254:\n            import os; os.abort()",
)


class Board:
    """A board with the stand-in, and a file in which hooks write down what they did."""

    def __init__(self, agent: Agent, folder: Path) -> None:
        self.agent, self.folder, self.trace = agent, folder, folder / "trace"
        install(agent, members={**RUNTIME, "ai_edge_litert/interpreter.py": ABORTING})

    def stage(
        self,
        number: int,
        *,
        answer: int | None = None,
        check: str = "exit 0",
        restart: str = "exit 0",
        timeout_s: float = 20.0,
        **health: Any,
    ) -> str:
        """Stage a release whose answers tell its number; ``answer`` is what its golden samples ask for."""
        for name, arrays in (("a", [IMAGE]), ("b", [np.array([[4, number if answer is None else answer]], np.int8)])):
            samples.write(self.folder / (name + ".npz"), arrays)
        golden, outputs = ((self.folder / (name + ".npz")).read_bytes() for name in "ab")
        hooks = {name: b"#!/bin/sh\necho %s %d >> %s\n%s\n" % (name.encode(), number, os.fsencode(self.trace), text.encode())
                 for name, text in (("restart", restart), ("check", check))}  # fmt: skip
        files = {"model.tflite": b"\0\0\0\0TFL3" + bytes([number]), "a.npz": golden, "b.npz": outputs, "c.npz": outputs}
        files.update(("hooks/" + name, text) for name, text in hooks.items())
        asked = {name: {"command": ["./" + name], "timeout_s": timeout_s} for name in hooks}
        return self.agent.place(
            "meter", files, artifact="model.tflite", preprocess={"layout": "nhwc"}, golden=GOLDEN, threads=1, health={**asked, **health}
        )

    def fields(self, release: str, deployment: str = "d" * 16) -> dict[str, Any]:
        return {"app": "meter", "release": release, "deployment": deployment}

    def activate(self, release: str, deployment: str = "d" * 16, deadline_s: float = 60.0) -> dict[str, Any]:
        return self.agent.ask("deploy.activate", **self.fields(release, deployment), deadline_s=deadline_s)

    def deploy(self, release: str, deployment: str) -> None:
        """Go all the way."""
        self.activate(release, deployment)
        self.agent.ask("deploy.prove", **self.fields(release, deployment), threads=1)
        self.agent.ask("deploy.commit", **self.fields(release, deployment), keep=3)

    def refused(self, release: str, deployment: str = "d" * 16) -> dict[str, Any]:
        """Activate what does not prove itself; return the error."""
        self.activate(release, deployment)
        return self.agent.refuse("deploy.prove", **self.fields(release, deployment), threads=1)

    def links(self) -> tuple[str | None, str | None]:
        return read_link(str(self.agent.root), "meter", "current"), read_link(str(self.agent.root), "meter", "previous")

    def status(self) -> dict[str, Any]:
        (app,) = self.agent.ask("store.status", app="meter")["apps"]
        found: dict[str, Any] = app
        return found

    def hooks(self) -> list[str]:
        return self.trace.read_text().splitlines() if self.trace.exists() else []

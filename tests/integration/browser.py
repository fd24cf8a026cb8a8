"""A headless Chromium, driven by its DevTools protocol over a pipe: commands in, answers and events out, each ended by a NUL.

Chromium's ``--remote-debugging-pipe`` (content/browser/devtools/devtools_pipe_handler.cc) reads from descriptor 3 and writes to 4.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "chromium", "find_chromium"]

# Root has no sandbox, and /dev/shm of a container is small. The rest keeps Chromium from calling home.
_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)


def find_chromium() -> str | None:
    """Return where Chromium is, or None."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


class Browser:
    """One page of a Chromium, and all that it said and asked for."""

    def __init__(self, reader: int, writer: int) -> None:
        self._reader, self._writer = reader, writer
        self._rest = b""
        self._last = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []

    def attach(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> Any:
        """Send a command and return its answer; events on the way are kept."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params, **({"sessionId": self._session} if self._session else {})}
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._writer, data) :]
        while True:
            answer = self._read()
            if answer.get("id") == self._last:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self.events.append(answer)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            block = os.read(self._reader, 1 << 16)
            assert block, "Chromium has ended"
            self._rest += block
        line, _, self._rest = self._rest.partition(b"\0")
        found: dict[str, Any] = json.loads(line)
        return found

    def open(self, url: str, *, width: int, dark: bool = False) -> None:
        """Show a page in a window of that width, and wait until it has loaded."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, expression: str) -> Any:
        """Return what an expression of JavaScript is, as plain data."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path, *, height: int | None = None) -> None:
        """Save the page, or its upper part, as PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def complaints(self) -> list[str]:
        """Return what the page has logged at the level of a warning or worse, and every exception."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Log.entryAdded" and params["entry"]["level"] in ("warning", "error"):
                found.append(params["entry"]["text"])
            elif event.get("method") == "Runtime.consoleAPICalled" and params["type"] in ("warning", "error", "assert"):
                found.append(str(params["args"]))
            elif event.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
        return found

    def requests(self) -> list[str]:
        """Return the address of everything the page has asked for."""
        return [event["params"]["request"]["url"] for event in self.events if event.get("method") == "Network.requestWillBeSent"]


@contextmanager
def chromium(executable: str, profile: Path) -> Iterator[Browser]:
    """Run a Chromium with a profile of its own, and end it."""
    (end_in, writer), (reader, end_out) = os.pipe(), os.pipe()
    # The shell puts the pipes where Chromium looks for them; numbers above those keep it from treading on its own feet.
    browser_in, browser_out = (fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (end_in, end_out))
    command = ["/bin/bash", "-c", f'exec "$@" 3<&{browser_in} 4>&{browser_out}', "bash", executable, *_FLAGS, f"--user-data-dir={profile}"]
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, pass_fds=(browser_in, browser_out), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    for end in (end_in, end_out, browser_in, browser_out):
        os.close(end)
    try:
        browser = Browser(reader, writer)
        browser.attach()
        yield browser
        browser.call("Target.setDiscoverTargets", discover=False)
    finally:
        process.terminate()
        process.wait(20)
        os.close(reader)
        os.close(writer)

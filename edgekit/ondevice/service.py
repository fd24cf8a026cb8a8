"""The service as a unit of the user's systemd: jobs `service.look`, `service.install`, `service.show`, `service.remove`.

``edgekit-NAME.service`` runs the agent through ``lib`` with the job `serve` on its stdin, and starts with the board where the user lingers
(loginctl(1)). The service takes up each release by itself: the unit changes only with the port, the Python or the place of the root.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import http.client
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from typing import Any

from .boot import units_folder
from .disk import fsync_path, make_folder, write_file
from .library import LIBRARY, agent_file, offer
from .serve import HOST
from .wire import JOB_SCHEMA, NAME, AgentError, Progress, encode_job, integer, matching, strict_json

__all__ = ["await_release", "install", "look", "remove", "show"]

UNIT = "edgekit-%s.service"
UNIT_BYTES_MAX, JOB_BYTES_MAX = 1 << 16, 1 << 14
SYSTEMCTL_TIMEOUT_S = 60.0
# A release may have to be read from a slow card, and an engine to be brought onto a GPU.
HEALTHY_S, POLL_S, ANSWER_S, ANSWER_BYTES_MAX = 120.0, 0.2, 30.0, 1 << 16
# No word of ExecStart= is to need quoting (systemd.service(5), COMMAND LINES).
PLAIN = re.compile(r"/[A-Za-z0-9_./+,=:@-]*")
# Of the sandbox what a user's manager can do by itself (systemd.exec(5)): the rest needs namespaces, and not every kernel lets a user make
# one. Not MemoryDenyWriteExecute=: runtimes compile kernels. CUDA's driver asks the kernel by AF_NETLINK.
TEXT = """# Written by edgekit deploy --service; edgekit device service --remove takes it away.
[Unit]
Description=edgekit: %(app)s over HTTP on %(host)s:%(port)d
StartLimitIntervalSec=0

[Service]
ExecStart=%(python)s %(library)s
StandardInputData=%(job)s
Restart=on-failure
RestartSec=5
SuccessExitStatus=143
KillSignal=SIGTERM
TimeoutStopSec=15
UMask=0077
LimitCORE=0
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=default.target
"""


def look(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Say whether a service could be installed here; changes nothing."""
    app, port = matching(job.get("app"), NAME, "app"), integer(job, "port", 1, 65535)
    version: int | None = None
    why: str | None = "there is no systemctl"
    if shutil.which("systemctl"):
        code, said = _systemctl("show", "--property=Version")
        found = re.search(r"Version=\D*(\d+)", said)
        version, why = (int(found.group(1)), None) if code == 0 and found else (None, said or "systemctl ended with status %d" % code)
    return {
        "systemd": version,
        "why": why,
        "linger": _lingers(),
        "user": getpass.getuser(),
        "port_taken": _port_of(root, app) != port and _taken(port),
        "odd_path": next((path for path in (sys.executable, root) if not PLAIN.fullmatch(path)), None),
    }


def install(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Write the unit and let it run; one that runs as it should is left alone."""
    app, port = matching(job.get("app"), NAME, "app"), integer(job, "port", 1, 65535)
    path, before = _unit(app), _read(_unit(app))
    if before is not None and _port_of(root, app) is None:
        raise AgentError("state", "%s is there and serves another folder than %s" % (path, root), "remove that service first")
    offer(root)
    line = encode_job("serve", root, {"app": app, "port": port}).rstrip(b"\n")
    library = os.path.join(root, LIBRARY)
    for word in (sys.executable, library):
        matching(word, PLAIN, "a path of the unit")
    named = {"app": app, "host": HOST, "port": port, "python": sys.executable, "library": library}
    text = TEXT % {**named, "job": base64.b64encode(line + b"\n").decode("ascii")}
    if text != before:
        make_folder(units_folder())
        write_file(path, text.encode("ascii"))
    try:
        _run_unit(app, port, text != before)
    except AgentError:
        if text != before:
            _put_back(app, before)
        raise
    return {"app": app, "port": port, "unit": path, "was_there": before is not None}


def _run_unit(app: str, port: int, changed: bool) -> None:
    if changed:
        _must("daemon-reload")
    _must("enable", UNIT % app)
    wants = os.path.join(units_folder(), "default.target.wants")
    if os.path.isdir(wants):
        fsync_path(wants)
    running = None if changed else _ask(port)
    if not running or running.get("agent") != agent_file():
        _must("restart", UNIT % app)


def _put_back(app: str, before: str | None) -> None:
    """Leave no unit that does not run: each later release would be proven by it, and taken back. systemd is asked, and may refuse again."""
    if before is None:
        _systemctl("disable", "--now", UNIT % app)
        os.unlink(_unit(app))
        fsync_path(units_folder())
    else:
        write_file(_unit(app), before.encode("utf-8"))
    _systemctl("daemon-reload")
    if before is not None:
        _systemctl("restart", UNIT % app)


def await_release(root: str, app: str, release: str, seconds: float, progress: Progress) -> int | None:
    """Wait until an app's service names a release as the one that answers, and return its port; `AgentError` when it does not in time.

    None where the app has no service.
    """
    port = _port_of(root, app)
    if port is None:
        return None
    started, said, seconds = time.monotonic(), None, min(seconds, HEALTHY_S)
    while time.monotonic() - started < seconds:
        said = _ask(port)
        if said and said.get("status") == "ok" and said.get("app") == app and said.get("release") == release:
            return port
        progress("service", int(time.monotonic() - started), int(seconds) + 1)
        time.sleep(POLL_S)
    why = said.get("error") or "it answers with release %.12s" % said.get("release") if said else "nothing of ours answers"
    raise AgentError("state", "the service on port %d does not take up %.12s: %.300s" % (port, release, why))


def show(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Describe the services of one app, or of all."""
    wanted = None if job.get("app") is None else matching(job["app"], NAME, "app")
    pattern = re.compile(re.escape(UNIT).replace("%s", "(%s)") % NAME.pattern)
    folder = units_folder()
    found = [pattern.fullmatch(name) for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []
    services = []
    for app in [match.group(1) for match in found if match]:
        port = _port_of(root, app)
        if port is not None and wanted in (None, app):
            said = _ask(port) or {}
            known = {key: said[key] for key in ("release", "since", "error") if isinstance(said.get(key), str)}
            services.append({"app": app, "port": port, "healthy": said.get("status") == "ok", **known})
    return {"services": services, "linger": _lingers(), "user": getpass.getuser()}


def remove(job: dict[str, Any], root: str, _progress: Progress) -> dict[str, Any]:
    """Stop an app's service and take its unit away; asked again, it says yes again."""
    app = matching(job.get("app"), NAME, "app")
    removed = _port_of(root, app) is not None
    if removed:
        _must("disable", "--now", UNIT % app)
        os.unlink(_unit(app))
        fsync_path(units_folder())
        _must("daemon-reload")
    return {"app": app, "removed": removed}


def _unit(app: str) -> str:
    return os.path.join(units_folder(), UNIT % app)


def _read(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            return file.read(UNIT_BYTES_MAX).decode("utf-8", "replace")
    except FileNotFoundError:
        return None


def _port_of(root: str, app: str) -> int | None:
    """Return the port that an app's unit serves from this very root; None where there is no such unit."""
    found = re.search(r"^StandardInputData=([A-Za-z0-9+/=]+)$", _read(_unit(app)) or "", re.MULTILINE)
    if found is None:
        return None
    try:
        job = strict_json(base64.b64decode(found.group(1), validate=True), "the unit's job", JOB_BYTES_MAX)
        ours = isinstance(job, dict) and (job.get("schema"), job.get("root"), job.get("app")) == (JOB_SCHEMA, root, app)
        return integer(job, "port", 1, 65535) if ours else None
    except (ValueError, AgentError):
        return None


def _ask(port: int) -> dict[str, Any] | None:
    """Return what /health says, good or bad; None where nothing of ours answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_S)
    try:
        connection.request("GET", "/health")
        value = strict_json(connection.getresponse().read(ANSWER_BYTES_MAX), "it", ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException, AgentError):
        return None
    finally:
        connection.close()
    return value if isinstance(value, dict) else None


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the service binds
        try:
            probe.bind((HOST, port))
        except OSError:
            return True
    return False


def _lingers() -> bool:
    """Tell whether the user's units run while nobody is logged in (loginctl(1), enable-linger)."""
    if not shutil.which("loginctl"):
        return False
    return "Linger=yes" in _run(["loginctl", "show-user", getpass.getuser(), "--property=Linger"])[1]


def _must(*words: str) -> None:
    code, said = _systemctl(*words)
    if code:
        raise AgentError("state", "systemctl --user %s: %.300s" % (" ".join(words), said or "status %d" % code))


def _systemctl(*words: str) -> tuple[int, str]:
    return _run(["systemctl", "--user", "--no-pager", *words])


def _run(command: list[str]) -> tuple[int, str]:
    """Run a command of systemd's; a session that no login opened is told where the user's manager listens (pam_systemd(8))."""
    runtime = "/run/user/%d" % os.geteuid()
    known = {"XDG_RUNTIME_DIR": runtime} if os.path.isdir(runtime) else {}
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=SYSTEMCTL_TIMEOUT_S, env={**known, **os.environ}, check=False
        )
        return done.returncode, (done.stdout + done.stderr).decode("utf-8", "replace").strip()
    return 1, "no answer within %g s" % SYSTEMCTL_TIMEOUT_S

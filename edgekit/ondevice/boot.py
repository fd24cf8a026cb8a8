"""What settles the apps when the board has started: ``ROOT/boot``, a script of the shell, and a unit of the user's manager that runs it.

Written by `deploy.activate`. Without a manager (no systemd, or no lingering user: loginctl(1), enable-linger) somebody else has to run the
script: a line ``@reboot ROOT/boot`` of crontab(5), or ``/etc/rc.local``. Without that the next command of any host settles.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import subprocess
import sys

from .disk import make_folder, write_file
from .wire import encode_job

__all__ = ["SCRIPT", "keep", "units_folder"]

SCRIPT = "boot"
TEXT = """#!/bin/sh
# Written by edgekit: puts in order what a deployment left behind when the board lost its power. Safe to run at any time.
exec %s %s <<'EOF'
%sEOF
"""
UNIT = """[Unit]
Description=edgekit: settle deployments after a start of the board

[Service]
Type=oneshot
ExecStart=/bin/sh %s

[Install]
WantedBy=default.target
"""
SYSTEMCTL_TIMEOUT_S = 10.0


def units_folder() -> str:
    """Return where the user's own units stand (systemd.unit(5), user unit search path)."""
    return os.path.join(os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config"), "systemd", "user")


def keep(root: str) -> None:
    """Keep the script up to date, and the unit where there is a manager. That there is none is no failure."""
    script = os.path.join(root, SCRIPT)
    job = encode_job("deploy.settle", root, {"app": None}).decode("ascii")
    text = (TEXT % (shlex.quote(sys.executable), shlex.quote(os.path.abspath(sys.argv[0])), job)).encode("utf-8")
    if _read(script) != text:
        write_file(script, text)
        os.chmod(script, 0o700)
    with contextlib.suppress(OSError):  # a home that cannot be written to: then somebody else runs the script
        _keep_unit(root, script)


def _keep_unit(root: str, script: str) -> None:
    name = "edgekit-boot-%s.service" % hashlib.sha256(root.encode("utf-8")).hexdigest()[:8]
    # A percent sign is a specifier to systemd, a quoted word keeps its blanks (systemd.service(5), COMMAND LINES).
    unit = (UNIT % ('"%s"' % script.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%"))).encode("utf-8")
    path, program = os.path.join(units_folder(), name), shutil.which("systemctl")
    if program is None or _read(path) == unit or _run([program, "--user", "show-environment"]) != 0:
        return
    write_file(os.path.join(make_folder(units_folder()), name), unit)
    if _run([program, "--user", "daemon-reload"]) or _run([program, "--user", "enable", "--quiet", name]):
        os.unlink(path)  # tried again next time


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return None


def _run(words: list[str]) -> int:
    null = subprocess.DEVNULL
    try:
        return subprocess.run(words, stdin=null, stdout=null, stderr=null, timeout=SYSTEMCTL_TIMEOUT_S).returncode
    except (OSError, subprocess.TimeoutExpired):
        return -1

"""Bad links, in network namespaces: what was to be sent arrives whole, or the end comes in words and within its time."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgekit.device import Device
from edgekit.devices import connect
from edgekit.devices.session import AgentSession
from edgekit.devices.transfer import Sent, send
from edgekit.errors import DeadlineError, LinkError
from edgekit.pipeline import silent
from edgekit.pipeline.link import persist
from tests.integration.conftest import Lab
from tests.integration.link import Conditions, Link, linked

pytestmark = [
    pytest.mark.netns,
    pytest.mark.sshd,
    pytest.mark.skipif(
        os.geteuid() != 0 or not os.path.exists("/dev/net/tun") or not shutil.which("nsenter"),
        reason="a link of its own needs root, /dev/net/tun and util-linux",
    ),
]


@contextmanager
def board(lab: Lab, conditions: Conditions) -> Iterator[tuple[Link, Device]]:
    """A board behind a bad link."""
    with linked(conditions) as link:
        server = lab.serve(within=link.within, host=link.address)
        try:
            yield link, lab.device(server.port, host=link.address)
        finally:
            server.process.terminate()
            server.process.wait(10)
            lab.servers.remove(server)


def material(folder: Path, size_bytes: int) -> tuple[Path, str]:
    """Return a file that nothing can pack, and its digest."""
    path = folder / "material"
    path.write_bytes(hashlib.shake_128(b"link").digest(size_bytes))
    return path, hashlib.sha256(path.read_bytes()).hexdigest()

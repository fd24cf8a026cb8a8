"""The agent as one file: ``edgekit/ondevice`` zipped so that equal sources give equal bytes. Called by `edgekit.devices.session`."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from edgekit import ondevice
from edgekit.digest import sha256_bytes

__all__ = ["agent_archive"]

# The earliest time a ZIP entry can hold (PKWARE APPNOTE 4.4.6: MS-DOS date).
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3
_MAIN = b"from ondevice.agent import main\n\nraise SystemExit(main())\n"


def agent_archive() -> tuple[str, bytes]:
    """Build the agent.

    Returns
    -------
    tuple
        ``agent-<first 12 of its sha256>.pyz`` and the bytes: a zip that Python runs (PEP 441).
        Stored, not deflated, so that the bytes do not depend on the zlib at hand.
    """
    wing = Path(ondevice.__path__[0])
    files = {f"ondevice/{path.relative_to(wing).as_posix()}": path.read_bytes() for path in wing.rglob("*.py")}
    files["__main__.py"] = _MAIN
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _REGULAR_0644
            archive.writestr(entry, files[name])
    data = buffer.getvalue()
    return f"agent-{sha256_bytes(data)[:12]}.pyz", data

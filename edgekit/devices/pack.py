"""The agent as one file: what of edgekit runs on a board, zipped so that equal sources give equal bytes. Called by the session.

The file runs (``python FILE``: jobs) and imports (``FILE`` on the path: ``from edgekit.runtime import load``).
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import edgekit
from edgekit.digest import sha256_bytes

__all__ = ["agent_archive"]

# The earliest time a ZIP entry can hold (PKWARE APPNOTE 4.4.6: MS-DOS date).
_EPOCH = (1980, 1, 1, 0, 0, 0)
_REGULAR_0644 = 0o100644 << 16
_UNIX = 3
_MAIN = b"from edgekit.ondevice.agent import main\n\nraise SystemExit(main())\n"
# A program may have come here through a link (`edgekit.ondevice.library`); what it imports later is to come from this very file.
_PINNED = b"\n__path__ = [os.path.realpath(__path__[0])]\n"
# Beside the wing: its package, and the face for applications.
_FACE = ("__init__.py", "_version.py", "runtime.py")


def agent_archive() -> tuple[str, bytes]:
    """Build the agent.

    Returns
    -------
    tuple
        ``agent-<first 12 of its sha256>.pyz`` and the bytes: a zip that Python runs (PEP 441).
        Stored, not deflated, so that the bytes do not depend on the zlib at hand.
    """
    package = Path(edgekit.__path__[0])
    paths = [*(package / name for name in _FACE), *(package / "ondevice").rglob("*.py")]
    files = {f"edgekit/{path.relative_to(package).as_posix()}": path.read_bytes() for path in paths}
    files["edgekit/__init__.py"] += _PINNED
    files["__main__.py"] = _MAIN
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.create_system, entry.external_attr = _UNIX, _REGULAR_0644
            archive.writestr(entry, files[name])
    data = buffer.getvalue()
    return f"agent-{sha256_bytes(data)[:12]}.pyz", data

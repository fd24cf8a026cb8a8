"""Write ``edgekit/devices/locks``: for every runtime a board may get, the wheels by exact version and digest.

Run when a version in `edgekit.devices.locks` changes: ``python scripts/lock_device_runtimes.py``. It needs pip and an index.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from edgekit.devices.locks import FOLDER, ROWS, pip_platform
from edgekit.digest import sha256_file, write_atomic

_PIP = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")


def main() -> int:
    """Download each set of wheels once and write down what came."""
    for row in ROWS:
        for tag in row.tags:
            lines = []
            with tempfile.TemporaryDirectory() as name:
                for package, version in row.packages(tag):
                    folder = Path(name, package)
                    words = [*_PIP, *pip_platform(tag, row.machine), "--dest", str(folder), f"{package}=={version}"]
                    subprocess.run(words, check=True)
                    (wheel,) = folder.iterdir()
                    lines.append(f"{package}=={version} --hash=sha256:{sha256_file(wheel)}\n")
            write_atomic(FOLDER / f"{row.lock_name(tag)}.txt", "".join(lines).encode())
            print(row.lock_name(tag))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

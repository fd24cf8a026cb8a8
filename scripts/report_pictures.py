"""Take the pictures of docs/reports.md: a page in a headless Chromium, in both colour schemes, as small PNG files.

::

    python scripts/report_pictures.py report.html docs/report
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

_SIZE = "960,1480"
_COLOURS = 96
_DARK, _LIGHT = 0, 1  # blink::mojom::PreferredColorScheme


def main() -> None:
    page, stem = Path(sys.argv[1]).resolve(), sys.argv[2]
    for name, scheme in (("light", _LIGHT), ("dark", _DARK)):
        with tempfile.TemporaryDirectory() as scratch:
            picture = Path(scratch) / "picture.png"
            flags = [f"--window-size={_SIZE}", f"--blink-settings=preferredColorScheme={scheme}", f"--user-data-dir={scratch}/profile"]
            command = ["chromium", "--headless=new", "--no-sandbox", "--hide-scrollbars", f"--screenshot={picture}", *flags, page.as_uri()]
            subprocess.run(command, check=True, capture_output=True)
            with Image.open(picture) as image:
                image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(f"{stem}-{name}.png", optimize=True)
        print(f"{stem}-{name}.png", Path(f"{stem}-{name}.png").stat().st_size, "bytes")


if __name__ == "__main__":
    main()

"""From a float model to a proven INT8 model running on a real board.

The command line is the face; ``edgekit.pipeline`` holds the same steps as functions. Importing this
package imports nothing heavy.
"""

from __future__ import annotations

import os

from edgekit._version import __version__

__all__ = ["__version__"]

# From 1.29.0, onnxruntime on Linux reports its use to its maker as soon as it is loaded and keeps a device id in the
# home folder. This variable is its full opt-out; it must be set before the first import (its release notes, 1.29.0).
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""From a float model to a proven INT8 model running on a real board.

The command line is the face; ``edgekit.pipeline`` holds the same steps as functions. Importing this
package imports nothing heavy.
"""

from __future__ import annotations

from edgekit._version import __version__

__all__ = ["__version__"]

"""The TFLite emitter: a float graph and its plan become a fully integer .tflite.

``emit`` is the face; ``fuse`` and ``runtimes.scales`` prepare, ``emission`` keeps the state of a lowering,
``lower_*`` hold one operator family each, ``writer`` knows the file format, ``inspect`` reads a file back.
"""

from __future__ import annotations

from edgekit.runtimes.tflite.emit import TfliteRuntime

__all__ = ["TfliteRuntime"]

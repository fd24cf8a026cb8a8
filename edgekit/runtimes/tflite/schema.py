"""The TFLite flatbuffer schema, as the ``ai-edge-litert`` wheel carries it.

The one door to the generated module, which has no type information: whoever needs a name of the
schema (the writer, ``inspect``) takes it from here.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["flatbuffers", "schema"]

schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
flatbuffers: Any = importlib.import_module("flatbuffers")

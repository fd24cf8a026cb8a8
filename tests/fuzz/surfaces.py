"""All surfaces by name."""

from __future__ import annotations

from tests.fuzz.answers import ANSWERED
from tests.fuzz.board import BOARDS
from tests.fuzz.kept import KEPT
from tests.fuzz.parsers import PARSERS
from tests.fuzz.surface import Surface

SURFACES: dict[str, Surface] = {**PARSERS, **ANSWERED, **KEPT, **BOARDS}

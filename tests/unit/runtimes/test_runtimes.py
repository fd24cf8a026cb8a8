"""The table of runtimes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from edgekit.lazy import load
from edgekit.runtimes import RUNTIMES


@pytest.mark.parametrize("reference", RUNTIMES.values(), ids=RUNTIMES.keys())
def test_every_entry_loads_and_keeps_the_contract(reference: str) -> None:
    runtime = load(reference)()
    assert runtime.artifact_name
    assert callable(runtime.emit)


def test_listing_runtimes_does_not_load_their_schema() -> None:
    code = "import edgekit.runtimes, sys; assert not {'ai_edge_litert', 'flatbuffers', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

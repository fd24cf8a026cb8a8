"""Random weights and samples that depend on the test alone, not on which others ran before it in the same process."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.quantize import networks


def _reseed(seed: int) -> None:
    networks.generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state


def pytest_collectstart(collector: pytest.Collector) -> None:
    """What a module draws as it is imported."""
    if isinstance(collector, pytest.Module):
        _reseed(7)


@pytest.fixture(autouse=True, scope="module")
def _drawn_by_fixtures() -> None:
    _reseed(8)


@pytest.fixture(autouse=True)
def _drawn_by_tests() -> None:
    _reseed(9)

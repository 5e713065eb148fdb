"""Places for what holds at every store, and for what several nodes do at one."""

from __future__ import annotations

from pathlib import Path

import pytest

from addresses import SHARED, STORES, Place


@pytest.fixture(params=STORES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place at every store."""
    return Place(request.param, tmp_path)


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place at every store that several nodes may use at once."""
    return Place(request.param, tmp_path)

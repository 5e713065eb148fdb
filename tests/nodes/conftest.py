"""Places that several nodes use at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from addresses import SHARED, Place


@pytest.fixture(params=SHARED)
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A place at every store that several nodes may use at once."""
    return Place(request.param, tmp_path)

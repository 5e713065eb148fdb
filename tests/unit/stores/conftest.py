"""What the tests of the stores share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servers import Valkey, valkey


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with valkey() as server:
        yield server

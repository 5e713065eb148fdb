"""Real servers for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedding.servers import Server


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server; a test that leaves one of its processes behind fails."""
    started: list[Server] = []

    def start(app: str, workers: int, **env: str) -> Server:
        started.append(Server(app, workers, tmp_path, **env))
        return started[-1]

    yield start
    left = [pid for server in started for pid in server.kill()]
    assert not left, f"processes were left behind: {left}"

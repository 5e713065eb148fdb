"""The figures of the page about many nodes are those of the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from asyncsched.clock import SECOND_US
from asyncsched.stores._durable.lost import LOST_LIMIT
from asyncsched.stores._postgres import pulse as postgres_pulse
from asyncsched.stores._postgres.address import LEAST_LEASE_US, Options, lease_us_of
from asyncsched.stores._postgres.connection import LEAST_VERSION
from asyncsched.stores._redis import pulse as redis_pulse
from asyncsched.stores._redis.troubles import OLDEST

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "how-to" / "many-nodes.md"
README = PAGE.parent.parent.parent / "README.md"


@pytest.mark.parametrize("pulse", [postgres_pulse, redis_pulse])
def test_how_soon_the_work_of_a_dead_node_is_taken_over(pulse: object) -> None:
    page, readme = PAGE.read_text(encoding="utf-8"), README.read_text(encoding="utf-8")
    sweep_us = pulse._SWEEP_US  # type: ignore[attr-defined]
    spread = pulse._SWEEP_SPREAD  # type: ignore[attr-defined]
    assert ((1 - spread) * sweep_us, (1 + spread) * sweep_us) == (4 * SECOND_US, 6 * SECOND_US)
    assert "each looks every 4 to 6 s" in page

    def late(lease_us: int) -> int:
        """A lease, a look, and a second to begin."""
        return int((lease_us + (1 + spread) * sweep_us) / SECOND_US) + 1

    default, least = late(lease_us_of(Options("").lease)), late(LEAST_LEASE_US)
    assert f"| within {default} s | with the default |" in page
    assert f"| within {least} s | with `?lease=3s`, the shortest there is |" in page
    assert f"| within {default} s, or {least} if you say so |" in readme
    assert "within lease + 7 s" in page


def test_connections_and_servers() -> None:
    page = PAGE.read_text(encoding="utf-8")
    connections = Options("").connections
    assert f"up to `connections={connections}` more" in page
    assert f"are 60 nodes: {60 * (1 + connections)} connections at most, {60 * 2} while all is quiet" in page
    assert f"PostgreSQL {LEAST_VERSION} or later" in page
    assert f"Redis or Valkey {OLDEST[0]}.{OLDEST[1]} or later" in page
    assert LOST_LIMIT == 3
    assert "three nodes died of it" in page

"""Four workers of one server: with a memory store of its own each, one of them fires; at one store all of them may."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from addresses import new_url
from embedding.servers import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and hands sockets on to servers")


def steps(beats: list[tuple[int, float]]) -> set[float]:
    """The distances between beats."""
    return {round(later - earlier, 6) for (_, earlier), (_, later) in pairwise(beats)}


@pytest.mark.feature("PA1")
@pytest.mark.parametrize("app", ["starlette_app", "fastapi_app"])
def test_pa1_each_fire_once_and_another_takes_over_when_the_active_worker_is_killed(
    app: str, serve: Callable[..., Server]
) -> None:
    server = serve(app, 4)
    server.until(lambda: len(server.notes("SchedulerStarted")) == 4)
    server.until(lambda: len(server.notes("beat")) >= 13)  # three seconds
    beats = server.notes("beat")
    (active,) = {pid for pid, _at in beats}
    assert steps(beats) == {0.25}
    assert {server.double(number)["pid"] for number in range(8)} <= set(server.pids("SchedulerStarted"))
    standing_by = set(server.pids("StandingBy"))
    assert standing_by == set(server.pids("SchedulerStarted")) - {active}
    assert server.said().count("WARNING another process of this host fires the tasks") == len(standing_by) == 3

    os.kill(active, signal.SIGKILL)
    killed_at = time.time()
    server.until(lambda: len(set(server.pids("beat"))) == 2)
    server.until(lambda: len(server.notes("beat")) >= len(beats) + 8)
    ((heir, took_over_at),) = server.notes("TookOver")
    assert heir in standing_by
    assert took_over_at > killed_at
    assert steps([beat for beat in server.notes("beat") if beat[0] == heir]) == {0.25}
    assert set(server.pids("beat")) == {active, heir}
    # The server starts a worker in place of the killed one: it stands by, too.
    server.until(lambda: len(server.pids("StandingBy")) == 4)
    assert server.double(4)["result"] == 8

    server.stop()
    assert sorted(server.pids("SchedulerStopped")) == sorted(set(server.pids("SchedulerStarted")) - {active})


@pytest.mark.feature("PA1")
def test_pa1_each_worker_fires_if_that_is_wanted(serve: Callable[..., Server]) -> None:
    server = serve("starlette_app", 2, EACH_FIRES="1")
    server.until(lambda: len(set(server.pids("beat"))) == 2)
    assert server.pids("StandingBy") == []
    server.stop()


@pytest.mark.feature("PA1")
def test_pa1_two_servers_of_one_host_are_no_group(serve: Callable[..., Server]) -> None:
    one, other = serve("starlette_app", 2), serve("starlette_app", 2)
    one.until(lambda: len(set(one.pids("beat"))) == 2)
    assert len(one.pids("StandingBy")) == 2
    one.stop()
    other.stop()


@pytest.mark.feature("PA1")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_pa1_at_a_store_that_all_share_each_fire_is_one_run_of_whichever_worker(
    kind: str, serve: Callable[..., Server], tmp_path: Path
) -> None:
    server = serve("starlette_app", 4, STORE=new_url(kind, tmp_path))
    server.until(lambda: len(server.notes("SchedulerStarted")) == 4)
    assert [server.double(number)["result"] for number in range(4)] == [0, 2, 4, 6]
    server.until(lambda: len(server.notes("beat")) >= 16)
    server.stop()
    beats = sorted(server.notes("beat"), key=lambda beat: beat[1])
    assert len({at for _pid, at in beats}) == len(beats)
    assert steps(beats[:13]) == {0.25}  # three seconds; the last ones may have been left to whoever comes next
    assert set(server.pids("beat")) <= set(server.pids("SchedulerStarted"))
    assert server.notes("StandingBy") == []
    assert "another process of this host fires" not in server.said()

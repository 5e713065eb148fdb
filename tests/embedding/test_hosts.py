"""Each framework, served by a real server: the scheduler starts and stops with it, and a request submits a run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import pairwise

import pytest

from embedding.servers import Server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and hands sockets on to servers")

HOSTS = ["starlette_app", "fastapi_app", "combined_app", "litestar_app", "quart_app", "aiohttp_app"]


@pytest.mark.feature("PE34")
@pytest.mark.parametrize("app", HOSTS)
def test_pe34_one_start_one_stop_and_a_request_submits_a_run(app: str, serve: Callable[..., Server]) -> None:
    server = serve(app, 1)
    answer = server.double(21)
    assert answer["result"] == 42
    server.until(lambda: len(server.notes("beat")) >= 2)
    server.stop()
    assert server.pids("SchedulerStarted") == server.pids("SchedulerStopped") == [answer["pid"]]
    assert set(server.pids("beat")) == {answer["pid"]}
    assert server.pids("StandingBy") == server.pids("TookOver") == []
    assert "Traceback" not in server.said()
    if app == "combined_app":
        assert server.notes("opened") < server.notes("SchedulerStarted")
        assert server.notes("SchedulerStopped") < server.notes("closed")


@pytest.mark.feature("PE34")
@pytest.mark.parametrize("app", ["litestar_app", "quart_app", "aiohttp_app"])
def test_pe34_of_four_workers_one_fires_and_all_answer(app: str, serve: Callable[..., Server]) -> None:
    server = serve(app, 4)
    server.until(lambda: len(server.notes("SchedulerStarted")) == 4)
    server.until(lambda: len(server.notes("beat")) >= 2)
    answers = [server.double(number) for number in range(12)]
    assert [answer["result"] for answer in answers] == list(range(0, 24, 2))
    workers = set(server.pids("SchedulerStarted"))
    assert {answer["pid"] for answer in answers} <= workers
    (active,) = set(server.pids("beat"))
    assert set(server.pids("StandingBy")) == workers - {active}
    assert all(round(later - earlier, 6) == 0.25 for (_, earlier), (_, later) in pairwise(server.notes("beat")))
    server.stop()
    assert sorted(server.pids("SchedulerStopped")) == sorted(workers)
    assert "Traceback" not in server.said()

"""How far a node may rely on its lease, and when it gives it up by itself: at servers."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis
from tests.faults.frail import KINDS, Frail, Scene, cut, until

from asyncsched import Registry
from asyncsched.clock import SystemClock
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.run import RunStatus
from asyncsched.stores._durable.lease import answer_us, stall_limit_us_of, trusted_us
from asyncsched.stores.postgres import store_at as postgres_at
from asyncsched.stores.redis import store_at as redis_at
from asyncsched.testing.store_contract._making import DONE, a_run, ack_of, claim

STORE_AT: dict[str, Any] = {"postgres": postgres_at, "redis": redis_at}


@pytest.mark.parametrize(("lease", "trusted"), [("3s", "2.25s"), ("8s", "6s"), ("20s", "18s"), ("1d", "86398s")])
def test_a_node_relies_on_its_lease_for_less_than_that_lasts(lease: str, trusted: str) -> None:
    lease_us, expected_us = (round(as_duration("", text).total_seconds() * 1e6) for text in (lease, trusted))
    assert trusted_us(lease_us) == expected_us
    # It is asked for each quarter of it: so one answer may be waited for in vain.
    assert lease_us // 4 + answer_us(lease_us) < trusted_us(lease_us) or lease_us < 8_000_000


@pytest.mark.parametrize("given", ["0.5s", "2d", "soon", 600])
def test_a_stall_limit_that_cannot_be_is_refused(given: Any) -> None:
    with pytest.raises(ConfigError, match="stall_limit="):
        stall_limit_us_of(given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", ["stall_limit=soon", "stall_limit=0.5s"])
def test_a_stall_limit_in_a_url_is_checked_too(kind: str, option: str) -> None:
    scheme = {"postgres": "postgresql"}.get(kind, kind)
    with pytest.raises(ConfigError, match="stall_limit="):
        STORE_AT[kind](f"{scheme}://host/0?{option}")


def left_s(frail: Frail) -> float:
    """For how long the one lease there is still lasts, as the server sees it."""
    if frail.kind == "postgres":
        found = frail.server.sql(
            f"SELECT expires_at - extract(epoch FROM clock_timestamp()) * 1e6 FROM {frail.name}.nodes"
        )
        return float(found) / 1e6
    with redis.Redis.from_url(frail.server.url()) as client:
        seconds, micros = client.time()
        ((_node, expires_us),) = client.zrange(f"{{{frail.name}}}:nodes", 0, -1, withscores=True)
        return expires_us / 1e6 - seconds - micros / 1e6


async def test_a_loop_that_hangs_for_longer_than_its_stall_limit_costs_the_lease(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with AsyncExitStack() as stack:
        opened = []
        for kind in KINDS:
            frail = stack.enter_context(cut(kind))
            store = STORE_AT[kind](frail.url("3s", stall_limit="1s"))
            await store.open("n", SystemClock())
            stack.push_async_callback(store.close)
            await store.submit([run := a_run(due_us=await store.now_us())])
            await claim(store)
            opened.append((frail, store, run))
        with caplog.at_level(logging.ERROR, "asyncsched.stores"):
            time.sleep(5.5)
            assert [left_s(frail) < 0 for frail, *_ in opened] == [True, True]
        said = [one.getMessage() for one in caplog.records if one.name == "asyncsched.stores"]
        assert said == ["the event loop hangs for longer than stall_limit (1 s): the lease is given up"] * 2
        for frail, store, run in opened:
            await until(lambda frail=frail: left_s(frail) > 0)  # type: ignore[misc]
            assert run.lost, "others may have taken this node for dead"
            await store.cycle([await ack_of(store, run, DONE)], 0)
            async with asyncio.timeout(30):
                while not (again := await claim(store)):
                    await asyncio.sleep(0.05)
            assert [one.id for one in again] == [run.id]
            assert (await store.cycle([await ack_of(store, again[0], DONE)], 0)).accepted


async def test_a_lease_is_given_up_before_the_server_lets_it_end() -> None:
    await asyncio.gather(*map(give_up, KINDS))


async def give_up(kind: str) -> None:
    with cut(kind) as frail:
        assert frail.through is not None
        store = STORE_AT[kind](frail.url("3s"))
        await store.open("n", SystemClock())
        try:
            await store.submit([run := a_run(due_us=await store.now_us())])
            await claim(store)
            told: list[Any] = []
            store.heed = told.append
            frail.through.hold()
            await until(lambda: run.lost)
            assert left_s(frail) > 0
            assert [notice.lost for notice in told] == [[run]]
            frail.through.release()
            async with asyncio.timeout(30):
                while not (again := await claim(store)):
                    await asyncio.sleep(0.05)
            assert [one.id for one in again] == [run.id]
        finally:
            await store.close()


async def test_an_end_that_is_told_while_the_lease_comes_into_doubt_counts_once() -> None:
    await asyncio.gather(*map(end_in_doubt, KINDS))


async def end_in_doubt(kind: str) -> None:
    registry = Registry()

    @registry.task(id="short")
    async def short() -> str:
        began.set()
        await over.wait()
        return "done"

    began, over = asyncio.Event(), asyncio.Event()
    with cut(kind) as frail:
        assert frail.through is not None
        scene = Scene(frail.url("3s"), registry)
        async with scene.scheduler:
            run = await short.submit()
            await began.wait()
            frail.through.hold(up=False)
            over.set()
            await until(lambda: run.lost)
            elsewhere = asyncio.ensure_future(scene.scheduler.runs.get(run.id))
            frail.through.release()
            assert await run == "done"
            found = await elsewhere
            assert (found.status, await found) == (RunStatus.SUCCESS, "done")
            living = scene.scheduler._engine.living
            await until(lambda: not living.lost and living.tasks["short"].live == 0)
        assert set(frail.ended().values()) == {1}

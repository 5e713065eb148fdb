"""A task knows its runs: how the last one went, what the last good one gave, and what has been."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncsched import Registry, Task

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def test_a_task_that_has_not_run_knows_nothing(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s")
    async def work() -> None: ...

    def nothing_yet() -> bool:
        known = (work.status, work.last_run_at, work.last_success_at, work.result, work.error)
        return known == (None,) * 5 and list(work.history) == []

    assert nothing_yet()
    assert work.next_fire is None
    async with virtual(registry, at=T0):
        assert nothing_yet()
        assert work.next_fire == at(10)


async def test_it_follows_each_run_from_its_submission_to_its_end(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def work(number: int) -> int:
        await asyncio.sleep(10)
        if number < 0:
            raise ValueError(number)
        return number

    async with virtual(registry, at=T0) as sched:
        await work.using(delay="5s").submit(1)
        assert (work.status, work.last_run_at, work.history) == ("PENDING", None, [])
        await sched.advance("6s")
        assert (work.status, work.last_run_at, work.last_success_at) == ("RUNNING", at(5), None)
        await sched.advance("10s")
        assert (work.status, work.last_success_at, work.result, work.error) == ("SUCCESS", at(15), 1, None)
        await work.submit(-1)
        assert (work.status, work.result) == ("PENDING", 1)
        await sched.advance("10s")
        assert (work.status, work.last_run_at, work.last_success_at, work.result) == ("FAILED", at(16), at(15), 1)
        assert repr(work.error) == "ValueError(-1)"
        await work.submit(2)
        await sched.advance("1s")
        assert repr(work.error) == "ValueError(-1)"  # until something has ended otherwise
        await sched.advance("9s")
        assert (work.status, work.result, work.error) == ("SUCCESS", 2, None)
        assert [run.args for run in work.history] == [(2,), (-1,), (1,)]


async def test_a_retry_is_the_same_run_and_the_latest_attempt(virtual: Any) -> None:
    registry = Registry()
    errors = [OSError("first")]

    @registry.every("1m", retry=1)
    async def work() -> str:
        await asyncio.sleep(1)
        if errors:
            raise errors.pop()
        return "second"

    async with virtual(registry, at=T0) as sched:
        await sched.advance("61s")
        assert (work.status, work.last_run_at, work.error) == ("RUNNING", at(61), None)
        await sched.advance("1s")
        assert (work.status, work.last_run_at, work.last_success_at, work.error) == ("SUCCESS", at(61), at(62), None)
        assert [run.attempt for run in work.history] == [2]


async def test_skips_are_history_but_no_runs(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s")
    async def work() -> str:
        return "good"

    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        await sched.scheduler.tasks.skip_next(work.id)
        await sched.advance("10s")
        assert (work.status, work.result, work.last_run_at) == ("SUCCESS", "good", at(10))
        assert [run.status for run in work.history] == ["SKIPPED", "SUCCESS"]


async def test_a_cancelled_run_has_ended_without_an_error(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def work(fail: bool) -> None:
        if fail:
            raise OSError
        await asyncio.sleep(60)

    async with virtual(registry, at=T0) as sched:
        await work.submit(True)
        await sched.drain()
        assert repr(work.error) == "OSError()"
        for options in ({"delay": "1h"}, {}):
            run = await work.using(**options).submit(False)
            await sched.advance("1s")
            await sched.scheduler.runs.cancel(run.id)
            await sched.drain()
            assert (work.status, work.error, work.history[0]) == ("CANCELLED", None, run)


async def test_what_it_knew_last_stays_when_the_scheduler_is_left_and_comes_back_with_it(virtual: Any) -> None:
    registry = Registry()
    results: list[Any] = ["good", OSError("bad")]

    @registry.every("10s")
    async def work() -> Any:
        result = results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def known() -> tuple[Any, ...]:
        return work.status, work.last_run_at, work.last_success_at, work.result, repr(work.error), len(work.history)

    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")
        before = known()
        assert before == ("FAILED", at(20), at(10), "good", "OSError('bad')", 2)
        await sched.scheduler.stop()
        assert known() == before
        assert work.next_fire is None
        await sched.scheduler.start()
        assert known() == before
        waiting = await work.using(delay="1h").submit()
        await sched.restart()
        assert (work.status, await sched.scheduler.runs.get(waiting.id)) == ("PENDING", waiting)
        assert known()[1:] == before[1:]


async def test_the_task_that_replaces_another_knows_what_that_knew(virtual: Any) -> None:
    async def work() -> str:
        await asyncio.sleep(1)
        return "old"

    registry = Registry()
    old = registry.register(Task(work, every="10s", id="work"))
    async with virtual(registry, at=T0) as sched:
        await sched.advance("20s")
        new = await sched.scheduler.tasks.replace(Task(work, every="1h", id="work"))
        assert (new.status, new.result, new.last_run_at, new.last_success_at) == ("RUNNING", "old", at(20), at(11))
        await sched.advance("1s")
        assert (new.status, new.last_success_at, len(new.history)) == ("SUCCESS", at(21), 2)
        assert old.next_fire is None
        await sched.scheduler.tasks.remove("work")
        again = await sched.scheduler.tasks.add(Task(work, id="work"))
        assert (again.status, again.result, again.last_success_at, len(again.history)) == ("SUCCESS", "old", at(21), 2)


async def test_history_is_as_long_as_its_task_wants_it(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s", history_limit=3)
    async def few() -> None: ...

    @registry.every("1s", history_limit=0)
    async def none() -> str:
        return "kept nowhere else"

    async with virtual(registry, at=T0) as sched:
        await sched.advance("10s")
        assert [run.scheduled_for for run in few.history] == [at(10), at(9), at(8)]
        assert list(none.history) == []
        assert (none.status, none.result, none.last_run_at) == ("SUCCESS", "kept nowhere else", at(10))

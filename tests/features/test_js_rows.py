"""The rows of features about tasks and their runs: what can be called, when it fires next, who suffers from whom."""

from __future__ import annotations

import functools
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Task


@pytest.mark.feature("JS1")
async def test_js1_a_function_and_a_trigger_make_a_task_and_each_run_has_its_own_uuid(virtual: Any) -> None:
    async def work() -> None: ...

    registry = Registry()
    registry.register(Task(work, every="1s"))
    async with virtual(registry) as sched:
        await sched.advance("2s")
        first, second = [uuid.UUID(run.id) for run in sched.runs("work")]
    assert first != second
    assert (first.version, first.variant) == (7, uuid.RFC_4122)


@pytest.mark.feature("JS2")
async def test_js2_seconds_come_first_and_a_year_may_come_last(virtual: Any) -> None:
    registry = Registry()

    @registry.cron("0 2,14,26 * * * *")
    async def six() -> None: ...

    @registry.cron("30 2 0 * * * 2025")
    async def seven() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("30m")
        assert sched.fires("six") == [f"2025-01-01T00:{minute}+00:00" for minute in ("02", "14", "26")]
        assert sched.fires("seven") == ["2025-01-01T00:02:30+00:00"]


class Machine:
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    def method(self) -> None:
        self.seen.append("bound method")

    def __call__(self) -> None:
        self.seen.append("object")


class AsyncMachine(Machine):
    async def __call__(self) -> None:  # type: ignore[override]
        self.seen.append("async object")


@pytest.mark.feature("JS3")
async def test_js3_whatever_can_be_called_can_be_a_task(virtual: Any) -> None:
    seen: list[str] = []

    def function(into: list[str]) -> None:
        into.append("function")

    async def coroutine(into: list[str]) -> None:
        into.append("coroutine")

    def closure() -> None:
        seen.append("closure")

    async def part(into: list[str], word: str) -> None:
        into.append(word)

    registry = Registry()
    soon = {"run_at": datetime(2025, 1, 1, 0, 0, 1, tzinfo=UTC)}
    registry.register(Task(function, args=(seen,), **soon))
    registry.register(Task(coroutine, args=(seen,), **soon))
    registry.register(Task(closure, **soon))
    registry.register(Task(Machine(seen).method, **soon))
    registry.register(Task(functools.partial(part, seen, "partial"), id="partial", **soon))
    registry.register(Task(Machine(seen), id="object", **soon))
    registry.register(Task(AsyncMachine(seen), id="async-object", **soon))
    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        await sched.advance("1 day")
        assert [run.status for run in sched.runs()] == ["SUCCESS"] * 7
    expected = ["function", "coroutine", "closure", "bound method", "partial", "object", "async object"]
    assert sorted(seen) == sorted(expected)


@pytest.mark.feature("JS3")
@pytest.mark.parametrize("nameless", [functools.partial(print), Machine([]), lambda: None])
def test_js3_what_has_no_name_needs_an_id(nameless: Any) -> None:
    with pytest.raises(ValueError, match="no name of its own: give the task an id="):
        Task(nameless)
    assert Task(nameless, id="named").id == "named"


@pytest.mark.feature("JS9")
async def test_js9_the_next_fires_are_known_before_they_come(virtual: Any) -> None:
    async def work() -> None: ...

    now = datetime(2025, 1, 1, tzinfo=UTC)
    async with virtual(Registry(), at=now, tz="UTC") as sched:
        tasks = sched.scheduler.tasks
        assert await tasks.next_fires() == []
        await tasks.add(Task(work, id="over", cron="0 0 0 1 1 * 2020"))
        assert await tasks.next_fires() == []
        await tasks.add(Task(work, id="once", run_at=now + timedelta(seconds=10)))
        assert await tasks.next_fires() == [("once", now + timedelta(seconds=10))]
        assert await tasks.next_fires(5) == [("once", now + timedelta(seconds=10))]
        often = await tasks.add(Task(work, id="often", every="7s"))
        assert await tasks.next_fires(3) == [
            ("often", now + timedelta(seconds=7)),
            ("once", now + timedelta(seconds=10)),
            ("often", now + timedelta(seconds=14)),
        ]
        preview = often.next_fires(5)
        assert len(preview) == 5
        await sched.advance("35s")
        assert [run.scheduled_for for run in sched.runs("often")] == preview
        assert [run.started_at for run in sched.runs("often")] == preview


@pytest.mark.feature("JS11")
async def test_js11_a_raising_function_fails_its_own_runs_only(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s")
    async def failing() -> None:
        raise RuntimeError("on purpose")

    @registry.every("1s")
    async def healthy() -> None: ...

    async with virtual(registry) as sched:
        await sched.advance("10s")
        assert [run.status for run in sched.runs("failing")] == ["FAILED"] * 10
        assert [run.status for run in sched.runs("healthy")] == ["SUCCESS"] * 10
        assert {repr(run.error) for run in sched.runs("failing")} == {"RuntimeError('on purpose')"}


@pytest.mark.feature("JS4")
async def test_js4_add_returns_the_task_which_is_served_from_then_on(virtual: Any) -> None:
    async def work() -> None: ...

    async with virtual(Registry()) as sched:
        tasks = sched.scheduler.tasks
        task = Task(work, every="1s")
        assert await tasks.add(task) is task
        assert task.id in [one.id for one in await tasks.list()]
        await sched.advance("2s")
        assert len(sched.runs("work")) == 2


@pytest.mark.feature("JS5")
async def test_js5_remove_tells_whether_the_task_was_there(virtual: Any) -> None:
    async def work() -> None: ...

    async with virtual(Registry()) as sched:
        tasks = sched.scheduler.tasks
        task = await tasks.add(Task(work, every="1s"))
        await sched.advance("1s")
        assert await tasks.remove(task.id) is True
        assert await tasks.remove(task.id) is False
        await sched.advance("1h")
        assert len(sched.runs()) == 1


@pytest.mark.feature("JS6")
async def test_js6_nothing_ticks_a_test_lets_time_pass(virtual: Any) -> None:
    registry = Registry()

    @registry.cron("* * * * * *")
    async def work() -> None: ...

    async with virtual(registry, at="2025-01-01", tz="UTC") as sched:
        assert sched.runs() == []
        await sched.advance("1s")
        assert len(sched.runs("work")) == 1

"""Rows about tasks and runs that need others."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest

from asyncsched import Registry, Rule, Scheduler, Task, current_run, result_of
from asyncsched.errors import ConfigError

T0 = datetime(2026, 1, 1, tzinfo=UTC)


async def nothing() -> None: ...


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


@pytest.mark.feature("EA7")
async def test_ea7_a_fire_depends_on_a_success_of_its_upstreams(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def up(fail: bool) -> None:
        if fail:
            raise OSError

    registry.register(Task(nothing, id="ever", every="10s", depends_on=[up]))
    registry.register(Task(nothing, id="fresh", every="10s", depends_on=[up.id], dependency="fresh"))

    async with virtual(registry, at=T0) as stage:
        await up.submit(fail=False)
        await stage.advance("10s")
        await up.submit(fail=True)
        await stage.advance("10s")
        assert len(stage.runs("ever")) == 2
        assert [run.scheduled_for for run in stage.runs("fresh")] == [at(10)]
        assert [(run.task, run.scheduled_for, run.reason) for run in stage.skips()] == [("fresh", at(20), "dependency")]


@pytest.mark.feature("EA7")
async def test_ea7_it_waits_for_upstreams_under_way_so_long_and_no_longer(virtual: Any) -> None:
    registry = Registry()
    up = registry.register(Task(asyncio.sleep, id="up", every="10s", args=[3], overlap="allow"))
    registry.register(Task(nothing, id="patient", every="10s", depends_on=[up], dependency_timeout="5s"))
    registry.register(Task(nothing, id="hasty", every="10s", depends_on=[up], dependency_timeout="2s"))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("19s")
        assert [run.started_at for run in stage.runs("patient")] == [at(13)]
        assert [(run.task, run.reason, run.finished_at) for run in stage.skips()] == [("hasty", "dependency", at(12))]


@pytest.mark.feature("EA7")
@pytest.mark.parametrize(
    ("tasks", "says"),
    [
        ({"a": ["b"], "b": ["a"]}, r"a -> b -> a"),
        ({"a": ["z"]}, r"'a' depends on 'z', which is no task's id"),
        ({"a": ["a"]}, r"a -> a"),
    ],
)
async def test_ea7_what_cannot_be_is_refused_by_name(tasks: dict[str, list[str]], says: str) -> None:
    registry = Registry()
    for name, needs in tasks.items():
        registry.register(Task(nothing, id=name, every="1s", depends_on=needs))
    with pytest.raises(ConfigError, match=says):
        await Scheduler(registry=registry).start()


@pytest.mark.feature("EA8")
async def test_ea8_the_last_successful_result_for_whoever_asks(virtual: Any) -> None:
    registry = Registry()
    given: list[tuple[str, Any]] = []

    @registry.task
    async def up(value: int | None) -> int:
        if value is None:
            raise OSError
        return value

    @registry.every("10s", depends_on=[up])
    async def by_name(dep_up: int) -> None:
        given.append(("by name", dep_up))

    @registry.every("10s")
    async def by_default(value: int = result_of(up)) -> None:  # type: ignore[arg-type]
        given.append(("by default", value))

    @registry.every("10s", depends_on=[up])
    async def without() -> None:
        given.append(("without", None))

    async with virtual(registry, at=T0) as stage:
        await up.submit(1)
        await stage.drain()
        await up.submit(2)
        await stage.drain()
        await up.submit(None)
        await stage.advance("10s")
        assert given == [("by name", 2), ("by default", 2), ("without", None)]


@pytest.mark.feature("EA9")
async def test_ea9_a_dependant_starts_when_its_upstream_ends(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def up() -> None:
        await asyncio.sleep(0.0123)

    @registry.after(up, overlap="allow", keep=100)
    async def down() -> None: ...

    async with virtual(registry, at=T0) as stage:
        ups = []
        for _ in range(50):
            ups.append(await up.submit())
            await stage.drain()
        ended = [run.finished_at for run in ups]
        assert ended == [T0 + number * timedelta(seconds=0.0123) for number in range(1, 51)]
        # No tick in between, and no timer: the dependant starts at the very instant.
        assert [run.started_at for run in stage.runs("down")] == ended


@pytest.mark.feature("PE20")
async def test_pe20_runs_among_arguments_make_a_graph(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def square(number: int) -> int:
        await asyncio.sleep(number)
        return number * number

    @registry.task
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @registry.task
    async def half(number: int) -> float:
        return number / 2

    async with virtual(registry, at=T0) as stage:
        squares = await asyncio.gather(*(square.submit(number) for number in range(10)))
        joined = await total.submit([result_of(run) for run in squares])
        halved = await half.submit(result_of(joined))
        assert await asyncio.gather(joined, halved) == [285, 142.5]
        assert [run.started_at for run in stage.runs("total")] == [at(9)]
        assert stage.runs("half") == [halved]


# How the run of a task ends, and whether each rule lets a task run that needs it, or why it is skipped.
ENDS: dict[str, dict[Rule, str]] = {
    "SUCCESS": {
        "all_success": "SUCCESS", "all_done": "SUCCESS", "any_success": "SUCCESS", "any_failed": "rule",
        "none_failed": "SUCCESS",
    },
    "FAILED": {
        "all_success": "upstream_failed", "all_done": "SUCCESS", "any_success": "upstream_failed",
        "any_failed": "SUCCESS", "none_failed": "upstream_failed",
    },
    "CANCELLED": {
        "all_success": "upstream_failed", "all_done": "SUCCESS", "any_success": "upstream_failed",
        "any_failed": "SUCCESS", "none_failed": "upstream_failed",
    },
    "SKIPPED": {
        "all_success": "rule", "all_done": "SUCCESS", "any_success": "rule", "any_failed": "rule",
        "none_failed": "SUCCESS",
    },
}  # fmt: skip


@pytest.mark.feature("PE21")
@pytest.mark.parametrize("end", ENDS)
async def test_pe21_each_rule_at_each_end_down_the_graph(virtual: Any, end: str) -> None:
    registry = Registry()

    async def up() -> None:
        if end == "FAILED":
            raise OSError
        await asyncio.sleep(10)

    top = registry.register(Task(nothing, id="top"))
    registry.register(Task(up, id="up", depends_on=[top], rule="any_failed" if end == "SKIPPED" else "all_success"))
    for rule in get_args(Rule):
        registry.register(Task(nothing, id=rule, depends_on=["up"], rule=rule))
        registry.register(Task(nothing, id=f"below {rule}".replace(" ", "-"), depends_on=[rule]))

    async with virtual(registry, at=T0) as stage:
        await top.submit()
        if end == "CANCELLED":
            await stage.advance("1s")
            await stage.scheduler.runs.cancel(stage.runs("up")[0].id)
        await stage.drain()
        runs = {run.task: run for run in await stage.scheduler.runs.list()}
        assert runs["up"].status == end
        for rule, expected in ENDS[end].items():
            shown = [str(run.reason or run.status) for run in (runs[rule], runs[f"below-{rule}"])]
            assert shown == [expected, expected]


@pytest.mark.feature("PA23")
async def test_pa23_task_after_task_each_flow_with_its_own_results(virtual: Any) -> None:
    registry = Registry()

    @registry.every("5s")
    async def first() -> int:
        return int((stage.now() - T0).total_seconds())

    @registry.after(first)
    def second(value: int = result_of(first)) -> int:
        return value * 10

    @registry.after(second)
    async def third(dep_second: int) -> int:
        return dep_second + 1

    async with virtual(registry, at=T0) as stage:
        await stage.advance("15s")
        assert [run.task.rpartition(".")[2] for run in stage.runs()] == ["first", "second", "third"] * 3
        assert [run.result for run in stage.runs("third")] == [51, 101, 151]
        assert [run.flow for run in stage.runs("third")] == [run.id for run in stage.runs("first")]


@pytest.mark.feature("NB15")
async def test_nb15_a_timed_graph_is_awaitable_and_two_roots_are_joined_when_both_are_new(virtual: Any) -> None:
    registry = Registry()

    async def stamp() -> int:
        return int((stage.now() - T0).total_seconds())

    twos = registry.register(Task(stamp, id="twos", every="2s"))
    threes = registry.register(Task(stamp, id="threes", every="3s"))

    @registry.after(twos, threes)
    async def pair(dep_twos: int, dep_threes: int) -> tuple[int, int]:
        assert current_run().needs
        return dep_twos, dep_threes

    async with virtual(registry, at=T0) as stage:
        first = asyncio.create_task(_awaited(pair))
        await stage.advance("12s")
        assert await first == (2, 3)
        assert [run.result for run in stage.runs("pair")] == [(2, 3), (6, 6), (8, 9), (12, 12)]


async def _awaited(task: Task[..., Any]) -> Any:
    return await (await task.next_run())

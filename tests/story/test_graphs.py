"""Tasks that need tasks: flows, rules, results along the edges, joins, graphs made by hand, and what a failure does."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, get_args

import pytest

from asyncsched import (
    Registry,
    Retry,
    Rule,
    Run,
    RunContext,
    Scheduler,
    Task,
    UpstreamFailed,
    after,
    current_run,
    result_of,
)
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError, RunCancelled, RunSkipped
from asyncsched.links import misfit
from asyncsched.testing import Stage

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def nothing() -> None: ...


def failing() -> None:
    raise OSError("the disk is full")


def ends(stage: Stage) -> dict[str, str]:
    """How the latest run of each task ended, and why if it was skipped."""
    return {run.task: f"{run.status} {run.reason or ''}".strip() for run in [*stage.runs(), *stage.skips()]}


# -- what a flow is


async def test_a_dependant_runs_when_its_upstream_has_succeeded_and_gets_its_result(virtual: Any) -> None:
    registry = Registry()

    @registry.every("10s")
    async def extract() -> list[int]:
        await asyncio.sleep(2)
        return [1, 2, 3]

    @registry.after(extract)
    def transform(rows: list[int] = result_of(extract)) -> int:  # a plain function: it runs in a thread
        return sum(rows)

    @registry.after(transform)
    async def load(dep_transform: int) -> str:  # asked for by name
        return f"loaded {dep_transform}"

    async with virtual(registry, at=T0) as stage:
        await stage.advance("13s")
        (loaded,) = stage.runs("load")
        assert loaded.result == "loaded 6"
        assert loaded.started_at == at(12)
        assert loaded.flow == stage.runs("extract")[0].id
        assert loaded.needs == (stage.runs("transform")[0].id,)


async def test_a_diamond_runs_each_task_once_and_the_last_when_both_sides_have_ended(virtual: Any) -> None:
    registry = Registry()

    async def side(seconds: int) -> int:
        await asyncio.sleep(seconds)
        return seconds

    top = registry.register(Task(nothing, id="top"))
    left = registry.register(Task(side, id="left", args=[1], depends_on=[top]))
    right = registry.register(Task(side, id="right", args=[5], depends_on=["top"]))

    @registry.after(left, right)
    async def bottom(dep_left: int, dep_right: int) -> tuple[int, int]:
        return dep_left, dep_right

    async with virtual(registry, at=T0) as stage:
        await top.submit()
        last = await bottom.next_run()
        assert (await last, last.started_at) == ((1, 5), at(5))
        assert [run.task for run in stage.runs()] == ["top", "left", "right", bottom.id]


async def test_overlapping_flows_never_mix_their_results(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s", overlap="allow")
    async def number() -> int:
        return int(current_run().scheduled_us or 0)

    @registry.after(number, overlap="allow")
    async def slow(dep_number: int) -> int:
        await asyncio.sleep(3 if dep_number // 1_000_000 % 2 else 1)  # flows overtake one another
        return dep_number

    @registry.after(number, overlap="allow")
    async def quick(dep_number: int) -> int:
        return dep_number

    @registry.after(slow, quick, overlap="allow")
    async def both(dep_slow: int, dep_quick: int) -> bool:
        return dep_slow == dep_quick

    async with virtual(registry, at=T0) as stage:
        await stage.advance("30s")
        assert len(stage.runs("both")) >= 27
        assert all(run.result for run in stage.runs("both"))
        assert len({run.flow for run in stage.runs("both")}) == len(stage.runs("both"))


async def test_a_flow_is_there_as_a_whole_as_soon_as_it_has_begun(virtual: Any) -> None:
    registry = Registry()
    first = registry.register(Task(nothing, id="first", every="1h"))
    second = registry.register(Task(nothing, id="second", depends_on=[first]))
    registry.register(Task(nothing, id="third", depends_on=[second]))

    async with virtual(registry, at=T0) as stage:
        run = await first.submit()
        waiting = await stage.scheduler.runs.list(status="PENDING")
        assert {each.task for each in waiting} == {"first", "second", "third"}
        assert {each.flow for each in waiting} == {run.id}
        assert [each.blocked for each in waiting if each.task != "first"] == [True, True]
        await stage.drain()
        assert ends(stage) == dict.fromkeys(("first", "second", "third"), "SUCCESS")


async def test_a_task_in_the_middle_that_is_run_by_hand_begins_a_flow_of_its_own(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top"))
    middle = registry.register(Task(nothing, id="middle", depends_on=[top]))
    registry.register(Task(nothing, id="low", depends_on=[middle]))
    registry.register(Task(nothing, id="both", depends_on=[top, middle]))  # needs something from elsewhere

    async with virtual(registry, at=T0) as stage:
        run = await middle.submit()
        await stage.drain()
        assert [(each.task, each.flow) for each in stage.runs()] == [("middle", run.id), ("low", run.id)]


# -- when something fails


async def test_a_failure_skips_what_is_below_and_says_so_all_the_way_down(virtual: Any) -> None:
    registry = Registry()
    broken = registry.register(Task(failing, id="broken", retry=2))
    registry.register(Task(nothing, id="next", depends_on=[broken]))
    registry.register(Task(nothing, id="last", depends_on=["next"]))
    registry.register(Task(nothing, id="mourn", depends_on=[broken], rule="any_failed"))

    async with virtual(registry, at=T0) as stage:
        await broken.submit()
        await stage.drain()
        assert stage.runs("broken")[0].attempt == 3  # a retry is not an end
        assert ends(stage) == {
            "broken": "FAILED",
            "next": "SKIPPED upstream_failed",
            "last": "SKIPPED upstream_failed",
            "mourn": "SUCCESS",
        }
        with pytest.raises(UpstreamFailed, match=r"'last' never ran, for it needs next \(SKIPPED") as caught:
            stage.skips("last")[0].value()
        assert isinstance(caught.value.__cause__, UpstreamFailed)
        assert isinstance(caught.value.__cause__.__cause__, OSError)
        assert caught.value.upstreams == (stage.skips("next")[0].id,)


@pytest.mark.parametrize("rule", get_args(Rule))
@pytest.mark.parametrize("how", [*product(("succeeds", "fails"), repeat=2)])
async def test_a_rule_says_after_which_ends_a_task_runs(virtual: Any, rule: Rule, how: tuple[str, str]) -> None:
    registry = Registry()
    registry.register(Task(nothing, id="top"))
    for name, end in zip(("one", "other"), how, strict=True):
        registry.register(Task(failing if end == "fails" else nothing, id=name, depends_on=["top"]))
    registry.register(Task(nothing, id="below", depends_on=["one", "other"], rule=rule))
    runs = {
        "all_success": "fails" not in how,
        "all_done": True,
        "any_success": "succeeds" in how,
        "any_failed": "fails" in how,
        "none_failed": "fails" not in how,
    }[rule]

    async with virtual(registry, at=T0) as stage:
        await (await stage.scheduler.tasks.get("top")).submit()
        await stage.drain()
        reason = "rule" if rule == "any_failed" else "upstream_failed"
        assert ends(stage)["below"] == ("SUCCESS" if runs else f"SKIPPED {reason}")


async def test_a_result_that_there_is_not_is_none_or_the_default(virtual: Any) -> None:
    registry = Registry()
    broken = registry.register(Task(failing, id="broken"))

    @registry.after(broken, rule="all_done")
    async def tidy(rows: Any = result_of(broken), dep_broken: Any = "nothing") -> tuple[Any, str]:
        return rows, dep_broken

    async with virtual(registry, at=T0) as stage:
        await broken.submit()
        await stage.drain()
        assert stage.runs("tidy")[0].result == (None, "nothing")


async def test_a_cancelled_run_skips_what_needs_it(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(asyncio.sleep, id="top", args=[60]))
    registry.register(Task(nothing, id="low", depends_on=[top]))

    async with virtual(registry, at=T0) as stage:
        run = await top.submit()
        await stage.advance("1s")
        await stage.scheduler.runs.cancel(run.id)
        await stage.drain()
        assert ends(stage) == {"top": "CANCELLED it was cancelled by hand", "low": "SKIPPED upstream_failed"}
        with pytest.raises(UpstreamFailed) as caught:
            await stage.skips("low")[0]
        assert isinstance(caught.value.__cause__, RunCancelled)


async def test_a_waiting_dependant_can_be_cancelled_alone(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(asyncio.sleep, id="top", args=[60]))
    low = registry.register(Task(nothing, id="low", depends_on=[top]))
    registry.register(Task(nothing, id="lowest", depends_on=["low"]))

    async with virtual(registry, at=T0) as stage:
        await top.submit()
        (waiting,) = await stage.scheduler.runs.list(task="low")
        assert await waiting.cancel()
        await stage.advance("61s")
        assert ends(stage) == {"top": "SUCCESS", "lowest": "SKIPPED upstream_failed"}
        again = await low.submit()  # it is not held to be under way
        assert await again is None


async def test_a_flow_is_cancelled_as_a_whole(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top", every="1m", overlap="allow"))
    for name in ("one", "other"):
        registry.register(Task(asyncio.sleep, id=name, args=[600], depends_on=[top], overlap="allow"))
    registry.register(Task(nothing, id="last", depends_on=["one", "other"], rule="all_done"))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("125s")
        first, second = stage.runs("top")
        assert await stage.scheduler.runs.cancel_flow(first.id) == 3
        await stage.advance("1s")
        statuses = {(run.task, run.flow): str(run.status) for run in await stage.scheduler.runs.list()}
        assert {statuses[name, first.id] for name in ("one", "other", "last")} == {"CANCELLED"}
        assert {statuses[name, second.id] for name in ("one", "other")} == {"RUNNING"}


async def test_retries_and_timeouts_are_those_of_each_task(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top"))

    @registry.after(top, retry=Retry(attempts=3, wait="10s"), timeout="5s")
    async def shaky() -> int:
        await asyncio.sleep(0 if current_run().attempt == 3 else 60)
        return current_run().attempt

    @registry.after(shaky)
    async def low(dep_shaky: int) -> int:
        return dep_shaky

    async with virtual(registry, at=T0):
        await top.submit()
        run = await low.next_run()
        assert (await run, run.started_at) == (3, at(30))


# -- the policy of a dependant


async def test_a_dependant_that_is_still_running_skips_the_next_flow(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top", every="10s"))
    registry.register(Task(asyncio.sleep, id="low", args=[15], depends_on=[top]))
    registry.register(Task(nothing, id="lowest", depends_on=["low"]))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("58s")
        assert [run.started_at for run in stage.runs("low")] == [at(10), at(30), at(50)]
        assert [(run.task, run.reason) for run in stage.skips()] == [("low", "overlap"), ("lowest", "rule")] * 2


async def test_the_newest_flow_overtakes_where_the_policy_says_so(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top", every="10s"))
    registry.register(Task(asyncio.sleep, id="low", args=[15], depends_on=[top], overlap="cancel_previous"))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("46s")
        assert [run.started_at for run in stage.runs("low")] == [at(10), at(20), at(30), at(40)]
        assert [str(run.status) for run in stage.runs("low")] == ["CANCELLED"] * 3 + ["RUNNING"]


async def test_a_paused_dependant_is_skipped(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top"))
    registry.register(Task(nothing, id="low", depends_on=[top]))

    async with virtual(registry, at=T0) as stage:
        await stage.scheduler.tasks.pause("low")
        await top.submit()
        await stage.drain()
        assert ends(stage) == {"top": "SUCCESS", "low": "SKIPPED paused"}


# -- joins


async def test_a_join_runs_when_all_its_sides_have_succeeded_anew_and_takes_the_latest_of_each(virtual: Any) -> None:
    registry = Registry()

    async def now() -> int:
        return int((stage.now() - T0).total_seconds())

    two = registry.register(Task(now, id="two", every="2s"))
    three = registry.register(Task(now, id="three", every="3s"))

    @registry.after(two, three)
    async def pair(dep_two: int, dep_three: int) -> tuple[int, int]:
        return dep_two, dep_three

    @registry.after(pair)
    async def told(dep_pair: tuple[int, int]) -> tuple[int, int]:
        return dep_pair

    async with virtual(registry, at=T0) as stage:
        await stage.advance("12s")
        assert [run.result for run in stage.runs("pair")] == [(2, 3), (6, 6), (8, 9), (12, 12)]
        assert [run.flow for run in stage.runs("told")] == [run.id for run in stage.runs("pair")]
        assert [run.result for run in stage.runs("told")] == [(2, 3), (6, 6), (8, 9), (12, 12)]


async def test_a_join_waits_for_the_next_flow_of_a_side_that_failed(virtual: Any) -> None:
    registry = Registry()

    @registry.every("1s")
    async def shaky() -> None:
        if stage.now() < at(3):
            raise OSError

    steady = registry.register(Task(nothing, id="steady", every="1s"))

    @registry.after(shaky, steady)
    async def both() -> None: ...

    async with virtual(registry, at=T0) as stage:
        await stage.advance("4s")
        assert [run.started_at for run in stage.runs("both")] == [at(3), at(4)]
        assert stage.skips() == []


async def test_what_a_join_has_taken_is_not_forgotten_when_the_scheduler_is_left(virtual: Any) -> None:
    registry = Registry()
    one = registry.register(Task(nothing, id="one"))
    other = registry.register(Task(nothing, id="other"))
    registry.register(Task(nothing, id="both", depends_on=[one, other]))

    async with virtual(registry, at=T0) as stage:
        await one.submit()
        await other.submit()
        await stage.drain()
        latest = await one.submit()
        await stage.drain()
        await stage.advance("1s")
        await stage.restart()
        await stage.drain()
        assert len(stage.runs("both")) == 1
        await other.submit()
        await stage.drain()
        assert len(stage.runs("both")) == 2
        assert latest.id in stage.runs("both")[1].needs


# -- a trigger of its own, and dependencies


async def test_a_fire_waits_for_an_upstream_that_is_under_way(virtual: Any) -> None:
    registry = Registry()
    loading = registry.register(Task(asyncio.sleep, id="loading", every="10s", args=[3, "rows"]))

    @registry.every("10s", depends_on=[loading])
    async def report(dep_loading: str) -> str:
        return dep_loading

    async with virtual(registry, at=T0) as stage:
        await stage.advance("14s")
        (run,) = stage.runs("report")
        assert (run.result, run.scheduled_for, run.started_at) == ("rows", at(10), at(13))


async def test_a_fire_that_has_waited_too_long_is_skipped(virtual: Any) -> None:
    registry = Registry()
    loading = registry.register(Task(asyncio.sleep, id="loading", every="10s", args=[60]))
    registry.register(Task(nothing, id="report", every="10s", depends_on=[loading], dependency_timeout="4s"))
    registry.register(Task(nothing, id="at_once", every="10s", depends_on=[loading], dependency_timeout="0s"))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("15s")
        assert {(run.task, run.reason, run.finished_at) for run in stage.skips()} == {
            ("report", "dependency", at(14)),
            ("at_once", "dependency", at(10)),
        }


async def test_what_fires_together_waits_for_one_another_in_the_order_of_its_needs(virtual: Any) -> None:
    registry = Registry()
    order: list[str] = []

    async def note() -> None:
        order.append(current_run().task)
        await asyncio.sleep(1)

    # Declared, and so armed, the other way round; and more than the engine takes in one turn.
    registry.register(Task(note, id="c", every="10s", depends_on=["b"], dependency="fresh"))
    registry.register(Task(note, id="b", every="10s", depends_on=["a"], dependency="fresh"))
    for number in range(150):
        registry.register(Task(nothing, id=f"other-{number}", every="10s"))
    registry.register(Task(note, id="a", every="10s"))

    async with virtual(registry, at=T0) as stage:
        await stage.advance("33s")
        assert order == ["a", "b", "c"] * 3
        assert stage.skips() == []


# -- graphs that are made by hand


async def test_runs_among_the_arguments_are_waited_for_and_replaced_by_their_results(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def square(number: int) -> int:
        await asyncio.sleep(number)
        return number * number

    @registry.task
    async def total(numbers: list[int], more: dict[str, int]) -> int:
        return sum(numbers) + sum(more.values())

    async with virtual(registry, at=T0) as stage:
        squares = await square.submit_many((number,) for number in range(1, 4))
        run = await total.submit([result_of(one) for one in squares], more={"nine": result_of(squares[2])})
        assert run.blocked
        assert await run == 1 + 4 + 9 + 9
        assert run.started_at == at(3)
        assert run.args == ([1, 4, 9], {"nine": 9})
        assert set(run.needs) == {one.id for one in squares}
        assert stage.skips() == []


async def test_a_run_that_has_ended_already_is_not_waited_for(virtual: Any) -> None:
    registry = Registry()
    add = registry.register(Task(lambda left, right: left + right, id="add"))
    async with virtual(registry, at=T0):
        first = await add.submit(1, 2)
        assert await first == 3
        assert await (await add.submit(first, first)) == 6


async def test_a_result_that_does_not_fit_fails_the_run_by_name(virtual: Any) -> None:
    registry = Registry()
    text = registry.register(Task(asyncio.sleep, id="text", args=[0, "twelve"]))

    @registry.task
    async def half(number: int) -> float:
        return number / 2

    async with virtual(registry, at=T0):
        run: Run[Any] = await half.submit(await text.submit())  # type: ignore[arg-type]
        with pytest.raises(ArgumentsError, match=r"argument number: .*got 'twelve'"):
            await run
        with pytest.raises(ArgumentsError, match="missing a required argument: 'number'"):
            await half.submit(nmber=run)  # type: ignore[call-arg]


async def test_a_failed_run_among_the_arguments_skips_the_run_that_needs_it(virtual: Any) -> None:
    registry = Registry()
    broken = registry.register(Task(failing, id="broken"))
    add = registry.register(Task(sum, id="add"))
    async with virtual(registry, at=T0):
        run = await add.submit([await broken.submit()])
        with pytest.raises(UpstreamFailed, match=r"needs broken \(FAILED") as caught:
            await run
        assert isinstance(caught.value, RunSkipped)
        assert isinstance(caught.value.__cause__, OSError)
        late = await add.submit([run])
        assert (await asyncio.gather(late, return_exceptions=True))[0].__cause__ is caught.value


async def test_a_run_of_another_scheduler_is_refused(virtual: Any) -> None:
    registry, other = Registry(), Registry()
    stranger = other.register(Task(asyncio.sleep, id="stranger", args=[60]))
    echo = registry.register(Task(asyncio.sleep, id="echo", args=[0]))
    async with virtual(registry, at=T0) as stage, Scheduler(registry=other, clock=stage.clock):
        run = await stranger.submit()
        with pytest.raises(MisuseError, match="is not a run of this scheduler: await it"):
            await echo.submit(0, run)
        await run


async def test_a_dependant_that_is_submitted_alone_gets_the_last_result(virtual: Any) -> None:
    registry = Registry()
    number = registry.register(Task(asyncio.sleep, id="number", args=[0, 7]))

    @registry.after(number, overlap="allow")
    async def twice(dep_number: int) -> int:
        return 2 * dep_number

    async with virtual(registry, at=T0):
        with pytest.raises(ArgumentsError, match="argument dep_number is the result of 'number', which has none yet"):
            await twice.submit()
        assert await (await twice.submit(dep_number=5)) == 10
        await (await number.submit())
        assert await (await twice.submit()) == 14


# -- watching


async def test_the_runs_of_a_task_can_be_followed_as_they_end(virtual: Any) -> None:
    registry = Registry()
    seen: list[str] = []

    @registry.every("1s")
    async def beat() -> None:
        if len(seen) == 1:
            raise OSError

    low = registry.register(Task(nothing, id="low", depends_on=[beat]))

    async def follow() -> None:
        async for run in low.runs():
            end = f"{run.status} {run.reason or ''}"
            seen.append(end.strip())

    async with virtual(registry, at=T0) as stage:
        following = asyncio.create_task(follow())
        await stage.advance("3s")
        assert seen == ["SUCCESS", "SKIPPED upstream_failed", "SUCCESS"]
        waiting = asyncio.create_task(low.next_run())
        await stage.advance("0s")
        await stage.scheduler.stop()
        await following
        with pytest.raises(MisuseError, match="the scheduler stopped before task 'low' ran again"):
            await waiting


# -- what cannot be


def refused(says: str, *tasks: Task[..., Any]) -> None:
    async def enter() -> None:
        registry = Registry()
        for task in tasks:
            registry.register(task)
        async with Scheduler(registry=registry):
            pytest.fail("it was entered")

    with pytest.raises(ConfigError, match=says):
        asyncio.run(enter())


def test_wrong_graphs_are_refused_when_the_scheduler_is_entered() -> None:
    a = Task(nothing, id="a", depends_on=["c"])
    b = Task(nothing, id="b", depends_on=["a"])
    refused(
        "wait for each other, each for the one before it: a -> b -> c -> a", a, b, Task(nothing, id="c", depends_on=[b])
    )
    refused("'b' depends on 'app:extrct', which is no task's id: did you mean 'app:extract'",
            Task(nothing, id="app:extract"), Task(nothing, id="b", depends_on=["app:extrct"]))  # fmt: skip
    refused("task 'both' joins 'x', which has history_limit=0",
            Task(nothing, id="x", history_limit=0), Task(nothing, id="y"),
            Task(nothing, id="both", depends_on=["x", "y"]))  # fmt: skip


def gives_text() -> str:
    return ""


def gives_rows() -> list[int]:
    return []


def takes_number(dep_up: float) -> None: ...


def takes_rows(rows: list[str] | None = None, *, dep_up: list[str]) -> None: ...


def test_a_result_that_cannot_fit_its_parameter_is_refused_by_name() -> None:
    def up(function: Any) -> Task[..., Any]:
        return Task(function, id="up")

    below = {"id": "low", "depends_on": ["up"]}
    refused("task 'low': parameter 'dep_up' takes float, and gets str, the result of 'up'",
            up(gives_text), Task(takes_number, **below))  # fmt: skip
    refused("parameter 'dep_up' takes list, and gets None", up(failing), Task(takes_rows, **below))
    allowed = [(gives_rows, takes_rows), (lambda: 5, takes_number), (asyncio.sleep, takes_number)]
    for function, low in allowed:
        assert misfit(low, "dep_up", function) is None


def same(dep_x: int) -> None: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rule": "all_success"}, "rule='all_success' is about what the task depends on: give also depends_on="),
        ({"depends_on": ["x"], "rule": "most"}, "rule='most': one of 'all_success', 'all_done'"),
        ({"depends_on": ["x"], "dependency": "fresh"}, "for tasks with a trigger of their own: say rule="),
        ({"depends_on": ["x"], "every": "1s", "rule": "all_done"}, "for tasks without a trigger of their own"),
        ({"depends_on": ["x"], "every": "1s", "dependency": "new"}, "dependency='new': one of 'ever', 'fresh'"),
        ({"depends_on": ["x"], "every": "1s", "dependency_timeout": "soon"}, "dependency_timeout='soon'"),
        ({"depends_on": ["x", "x"]}, "depends_on= names 'x' twice"),
        ({"depends_on": [5]}, "depends_on=5: give tasks, that is decorated functions, or their ids"),
        ({"depends_on": nothing}, "depends_on=<function nothing"),
        ({"depends_on": ["one:x", "other:x"], "func": same}, "parameter 'dep_x' asks for the result of 'one:x' or of"),
        ({"every": "1s", "func": same}, "missing a required .*'dep_x'"),
    ],
)
def test_wrong_links_are_refused_where_they_are_written(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Task(**{"func": nothing, "id": "t", **options})


def test_the_decorator_names_what_is_no_task() -> None:
    with pytest.raises(ConfigError, match=r"@after\(<function nothing.*that is no task; name the tasks"):
        after(nothing)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name the tasks that it needs"):
        after()


async def test_the_graph_changes_while_the_scheduler_runs(virtual: Any) -> None:
    registry = Registry()
    top = registry.register(Task(nothing, id="top"))
    async with virtual(registry, at=T0) as stage:
        tasks = stage.scheduler.tasks
        with pytest.raises(ConfigError, match="'low' depends on 'tap', which is no task's id: did you mean 'top'"):
            await tasks.add(Task(nothing, id="low", depends_on=["tap"]))
        await tasks.add(Task(nothing, id="low", depends_on=["top"]))
        with pytest.raises(ConfigError, match="low -> top -> low"):
            await tasks.replace(Task(nothing, id="top", depends_on=["low"]))
        with pytest.raises(MisuseError, match=r"'low' depend\(s\) on task 'top': remove or replace that first"):
            await tasks.remove("top")
        await top.submit()
        await stage.drain()
        assert ends(stage) == {"top": "SUCCESS", "low": "SUCCESS"}
        assert await tasks.remove("low")
        assert await tasks.remove("top")


async def test_a_run_of_a_flow_that_is_repeated_gets_the_results_that_it_had(virtual: Any) -> None:
    registry = Registry()

    @registry.task
    async def number(value: int) -> int:
        return value

    @registry.after(number, overlap="allow")
    async def half(dep_number: int) -> float:
        if dep_number % 2 and current_run().retry_of is None:
            raise ValueError
        return dep_number / 2

    @registry.after(half)
    async def told(dep_half: float) -> float:
        return dep_half

    async with virtual(registry, at=T0) as stage:
        await number.submit(5)
        await stage.drain()
        await number.submit(8)
        await stage.drain()
        failed, _fine = stage.runs("half")
        again = await stage.scheduler.runs.retry(failed.id)
        assert await again == 2.5
        await stage.drain()
        assert [run.result for run in stage.runs("told")] == [4, 2.5]


async def test_middleware_and_resources_are_around_a_dependant_as_around_any(virtual: Any) -> None:
    registry = Registry()
    seen: list[str] = []

    @registry.middleware
    async def note(run: Run[Any], call_next: Any) -> Any:
        seen.append(run.task)
        return await call_next()

    top = registry.register(Task(asyncio.sleep, id="top", args=[0, 20]))

    @registry.after(top)
    async def low(dep_top: int, ctx: RunContext, plus: int = 1) -> int:
        assert ctx.flow
        return dep_top + plus

    async with virtual(registry, at=T0) as stage:
        await top.submit()
        await stage.drain()
        assert [run.result for run in stage.runs()] == [20, 21]
        assert await (await low.submit(5, dep_top=1)) == 6
        assert seen == ["top", low.id, low.id]

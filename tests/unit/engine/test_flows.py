"""Flows on the virtual stage, against a reference of ten lines; overlapping flows, long chains, wide graphs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched import Registry, Retry, Rule, Scheduler, Task, current_run
from asyncsched.graph import Ready, verdict
from asyncsched.run import RunStatus
from asyncsched.testing import run, virtual


class Node(NamedTuple):
    """A task of a random graph.

    failures: how many of its attempts fail before one succeeds.
    """

    needs: tuple[int, ...]
    rule: Rule
    failures: int
    attempts: int
    seconds: int


def expected(nodes: list[Node]) -> list[str]:
    """What becomes of each: the reference, from the table of the rules alone, one after the other."""
    ends: list[str] = []
    for node in nodes:
        ups = [ends[need] for need in node.needs]
        bad, good = any(up in ("FAILED", "upstream_failed") for up in ups), "SUCCESS" in ups
        match node.rule if node.needs else "all_done":
            case "all_success":
                end = "upstream_failed" if bad else "rule" if "rule" in ups else "RUN"
            case "any_success":
                end = "RUN" if good else "upstream_failed" if bad else "rule"
            case "any_failed":
                end = "RUN" if bad else "rule"
            case "none_failed":
                end = "upstream_failed" if bad else "RUN"
            case _:
                end = "RUN"
        ends.append(("SUCCESS" if node.failures < node.attempts else "FAILED") if end == "RUN" else end)
    return ends


@st.composite
def graphs(draw: st.DrawFn, largest: int) -> list[Node]:
    """Any graph with one root: node 0 needs nothing, each other one at least one before it."""
    nodes = [Node((), "all_success", draw(st.integers(0, 1)), draw(st.integers(1, 2)), draw(st.integers(0, 3)))]
    for number in range(1, draw(st.integers(1, largest))):
        near = st.integers(max(0, number - 6), number - 1)
        needs = draw(st.sets(near, min_size=1, max_size=min(4, number)))
        nodes.append(
            Node(
                tuple(sorted(needs)),
                draw(st.sampled_from(get_args(Rule))),
                draw(st.sampled_from([0, 0, 0, 1, 2])),
                draw(st.integers(1, 3)),
                draw(st.integers(0, 3)),
            )
        )
    return nodes


def registered(nodes: list[Node]) -> Registry:
    registry = Registry()

    def work(node: Node) -> Callable[[], Any]:
        async def attempt() -> str:
            await asyncio.sleep(node.seconds)
            if current_run().attempt <= node.failures:
                raise OSError
            return current_run().flow

        return attempt

    for number, node in enumerate(nodes):
        options: dict[str, Any] = {"id": str(number), "retry": Retry(attempts=node.attempts, wait="1s")}
        if node.needs:
            options |= {"depends_on": [str(need) for need in node.needs], "rule": node.rule}
        registry.register(Task(work(node), **options))
    return registry


async def outcome(nodes: list[Node]) -> list[str]:
    async with virtual(registered(nodes)) as stage:
        root = await (await stage.scheduler.tasks.get("0")).submit()
        await stage.advance("1h")
        runs = {each.task: each for each in await stage.scheduler.runs.list(limit=1000)}
        assert all(each.status.final for each in runs.values())
        assert {each.flow for each in runs.values()} == {root.id}
        assert {each.result for each in runs.values() if each.status == "SUCCESS"} <= {root.id}
        check_starts(nodes, runs)
        return [end_of(runs[str(number)]) for number in range(len(nodes))]


def end_of(one: Any) -> str:
    return str(one.reason if one.status == "SKIPPED" else one.status)


def check_starts(nodes: list[Node], runs: Mapping[str, Any]) -> None:
    """Each run started at the very instant from which on its rule held, and each attempt once."""
    for number, node in enumerate(nodes):
        one = runs[str(number)]
        if one.status == "SKIPPED":
            assert one.attempt == 0
            continue
        assert one.attempt == min(node.attempts, node.failures + 1)
        if node.needs:
            ups = [runs[str(need)] for need in node.needs]
            instants = sorted({up.finished_us for up in ups})
            states = [
                [(up.status if up.finished_us <= at else RunStatus.PENDING, up.reason) for up in ups] for at in instants
            ]
            ready = next(
                at for at, seen in zip(instants, states, strict=True) if isinstance(verdict(node.rule, seen), Ready)
            )
            assert one.first_us == ready


@settings(max_examples=470, deadline=None)
@given(graphs(largest=12))
def test_a_small_graph_ends_as_the_reference_says(nodes: list[Node]) -> None:
    assert run(outcome(nodes)) == expected(nodes)


@settings(max_examples=60, deadline=None)
@given(graphs(largest=200))
def test_a_large_graph_ends_as_the_reference_says(nodes: list[Node]) -> None:
    assert run(outcome(nodes)) == expected(nodes)


def test_the_examples_are_what_they_are_meant_to_be() -> None:
    nodes = [
        Node((), "all_success", 0, 1, 1),
        Node((0,), "all_success", 1, 1, 1),
        Node((1,), "all_success", 0, 1, 1),
        Node((0, 1), "any_failed", 1, 2, 1),
        Node((2, 3), "any_success", 0, 1, 1),
        Node((3,), "any_failed", 0, 1, 1),
        Node((5,), "none_failed", 0, 1, 1),
    ]
    ends = ["SUCCESS", "FAILED", "upstream_failed", "SUCCESS", "SUCCESS", "rule", "SUCCESS"]
    assert expected(nodes) == run(outcome(nodes)) == ends


# -- overlapping flows


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), min_size=2, max_size=12))
def test_overlapping_flows_of_a_diamond_never_mix(delays: list[tuple[int, int, int]]) -> None:
    """Each flow takes its own time on each side, and the next begins a second later."""

    async def main() -> None:
        registry = Registry()

        @registry.task
        async def top(number: int) -> int:
            return number

        @registry.after(top, overlap="allow")
        async def left(dep_top: int) -> int:
            await asyncio.sleep(delays[dep_top][0])
            return dep_top

        @registry.after(top, overlap="allow")
        async def right(dep_top: int) -> int:
            await asyncio.sleep(delays[dep_top][1])
            return dep_top

        @registry.after(left, right, overlap="allow")
        async def bottom(dep_left: int, dep_right: int) -> tuple[int, int]:
            await asyncio.sleep(delays[dep_left][2])
            return dep_left, dep_right

        async with virtual(registry) as stage:
            roots = []
            for number in range(len(delays)):
                roots.append(await top.submit(number))
                await stage.advance("1s")
            await stage.drain()
            found = {each.flow: each for each in stage.runs("bottom")}
            assert [found[root.id].result for root in roots] == [(number, number) for number in range(len(delays))]
            begun = roots[0].created_us
            for number, (left_s, right_s, _bottom_s) in enumerate(delays):
                assert found[roots[number].id].first_us == begun + (number + max(left_s, right_s)) * 1_000_000

    run(main())


# -- size


@pytest.mark.parametrize("end", ["succeeds", "fails"])
def test_a_chain_of_a_thousand_comes_to_its_end(end: str) -> None:
    async def first() -> None:
        if end == "fails":
            raise OSError

    async def link() -> None: ...

    async def main() -> None:
        registry = Registry()
        task: Task[Any, Any] = registry.register(Task(first, id="0"))
        head = task
        for number in range(1, 1000):
            task = registry.register(Task(link, id=str(number), depends_on=[task]))
        async with virtual(registry) as stage:
            await head.submit()
            await stage.drain()
            runs = await stage.scheduler.runs.list(limit=2000)
            assert len(runs) == 1000
            statuses = [str(each.status) for each in runs if each.task != "0"]
            assert statuses == ["SUCCESS" if end == "succeeds" else "SKIPPED"] * 999
            (last,) = await stage.scheduler.runs.list(task="999")
            error, depth = last.error, 0
            while error is not None:
                error, depth = error.__cause__, depth + 1
            assert depth == (0 if end == "succeeds" else 1000)

    run(main())


def test_ten_thousand_runs_of_one_flow() -> None:
    async def node() -> None: ...

    async def main() -> None:
        registry = Registry()
        registry.register(Task(node, id="0"))
        for number in range(1, 10_000):
            layer = (number - 1) // 100
            needs = {0} if not layer else {1 + (layer - 1) * 100 + (number * step) % 100 for step in (1, 7, 31)}
            registry.register(Task(node, id=str(number), depends_on=[str(need) for need in needs]))
        async with virtual(registry) as stage:
            await (await stage.scheduler.tasks.get("0")).submit()
            await stage.drain()
            assert len(await stage.scheduler.runs.list(limit=20_000, status="SUCCESS")) == 10_000

    run(main())


def test_a_chain_of_runs_that_goes_on_for_ever_keeps_no_more_than_the_history() -> None:
    """Each run is handed the one before it: what has ended lets go of what it needed."""

    class Result:
        pass

    async def main() -> int:
        registry = Registry()

        @registry.task(history_limit=5)
        async def step(before: Any) -> Result:
            return Result()

        async with Scheduler(registry=registry) as scheduler:  # a stage would keep them all
            latest: Any = await step.submit(None)
            for _ in range(50):
                latest = await step.submit(latest)
                await scheduler.idle()
            del latest
            gc.collect()
            return sum(isinstance(one, Result) for one in gc.get_objects())

    assert asyncio.run(main()) <= 10

"""The way to a server is cut, holds everything up, or loses answers (F5, F6, F14), on PostgreSQL and Redis.

A real proxy stands between; the scheduler and the server are real.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import Callable

import pytest

from asyncsched import Registry, Scheduler, current_run
from asyncsched.errors import StoreError
from asyncsched.events import NodeLost, RunLost, StoreBack, StoreLost
from asyncsched.run import RunStatus

from .crew import LONG, seeded
from .frail import KINDS, PATIENCE_S, Frail, Scene, cut, persist, until
from .nodes import Node, node
from .proxy import Proxy

LEASE_S = 3.0
# What a caller waits at most for an answer that never comes: for a statement, and for a connection after it.
ANSWER_S = 16.0


class Work:
    """Tasks, and what their attempts have noted: when they began, and when they ended that were given up."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.began: list[float] = []
        self.over: list[tuple[float, bool]] = []
        self.done: Counter[int] = Counter()
        self._declare(self.registry)

    def _declare(self, registry: Registry) -> None:
        @registry.task(id="add", history_limit=100_000)
        async def add(number: int) -> int:
            self.done[number] += 1
            return number + 1

        @registry.task(id="hold", history_limit=100_000)
        async def hold(seconds: float) -> str:
            self.began.append(time.monotonic())
            try:
                await asyncio.sleep(seconds)
            except asyncio.CancelledError:
                self.over.append((time.monotonic(), current_run().lost))
                raise
            return "held"

        @registry.task(id="stay", history_limit=100_000, on_lost="continue")
        async def stay() -> None:
            while not current_run().lost:
                await asyncio.sleep(0.01)
            self.over.append((time.monotonic(), True))

        @registry.every("200ms", id="tick", history_limit=100_000)
        async def tick() -> None: ...


class Stalls:
    """How long the loop was held up at most, by who asks it every 10 ms; and the same for a thread beside it."""

    async def __aenter__(self) -> Stalls:
        self.longest_s = 0.0
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._asking.cancel()
        await asyncio.wait([self._asking])

    async def _ask(self) -> None:
        while True:
            before, cpu = time.monotonic(), time.thread_time()
            await asyncio.sleep(0.01)
            # What the machine gave to others was not taken by the loop.
            late = min(time.monotonic() - before - 0.01, time.thread_time() - cpu)
            self.longest_s = max(self.longest_s, late)


def reset(through: Proxy) -> None:
    through.refusing = True
    through.cut()


CUTS: dict[str, Callable[[Proxy], None]] = {
    "reset": reset,
    "black hole": lambda through: through.hold(),
    "nothing comes back": lambda through: through.hold(up=False),
    "nothing goes there": lambda through: through.hold(down=False),
}


@pytest.mark.timeout(300)
@pytest.mark.full_speed
async def test_whoever_is_cut_off_is_told_stops_in_time_and_goes_on_by_itself() -> None:
    """On each server by each kind of cut, all at once: they wait most of the time."""
    for kind in KINDS:
        with cut(kind):  # the server is there from here on
            pass
    async with Stalls() as stalls:
        for _ in range(5 if LONG else 1):
            tried = [cut_off(kind, how) for kind in KINDS for how in (CUTS if LONG else ("reset", "black hole"))]
            failed = [error for error in await asyncio.gather(*tried, return_exceptions=True) if error is not None]
            if failed:
                raise BaseExceptionGroup("some cuts", failed)
    print(f"the loop was held up for {stalls.longest_s:.3f} s at most")
    assert stalls.longest_s < 0.25


async def cut_off(kind: str, how: str) -> None:
    work = Work()
    with cut(kind) as frail:
        assert frail.through is not None
        scene = Scene(frail.url("3s"), work.registry)
        try:
            async with asyncio.timeout(PATIENCE_S), scene.scheduler:
                told = LONG or how == "reset"
                await notice_and_go_on(scene, work, frail.through, CUTS[how], told=told)
        except BaseException as error:
            error.add_note(f"{kind}: {how}")
            raise


async def notice_and_go_on(
    scene: Scene, work: Work, through: Proxy, cuts: Callable[[Proxy], None], *, told: bool
) -> None:
    """``told``: stay cut off until every caller has been told; else until the lease is given up."""
    add, hold, stay = (work.registry[name] for name in ("add", "hold", "stay"))
    await until(lambda: scene.succeeded("tick"))
    held, stayed = await hold.submit(600), await stay.submit()
    await until(lambda: work.began and len(scene.scheduler._engine.living.runs) >= 2)
    cuts(through)
    began, made = time.monotonic(), through.made
    submitting = asyncio.ensure_future(add.submit(1))
    await until(lambda: len(work.over) == 2)
    assert {lost for _at, lost in work.over} == {True}
    assert not scene.scheduler._engine.store._known.here  # type: ignore[attr-defined]
    if told:
        with pytest.raises(StoreError):
            await submitting
        assert time.monotonic() - began < ANSWER_S
        await until(lambda: scene.all(StoreLost))
    assert through.made - made < 20, "it tries again and again without rest"
    assert not scene.all(StoreBack)
    through.release()
    await asyncio.gather(submitting, return_exceptions=True)
    if told:
        await until(lambda: scene.all(StoreBack))
    count = len(scene.succeeded("tick"))
    await until(lambda: len(scene.succeeded("tick")) > count and len(work.began) == 2)
    assert (await persist(add, 2, key="again")).task == "add"
    assert len(scene.all(StoreLost)) <= 1
    assert len(scene.all(NodeLost)) == 1
    assert {one.run.task for one in scene.all(RunLost)} == {"hold", "stay"}
    for run in (held, stayed):  # not run.cancel(), which asks all schedulers of this loop, those without a server too
        await scene.scheduler.runs.cancel(run.id)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_slow_way_is_slow_and_nothing_else(kind: str) -> None:
    work = Work()
    with cut(kind) as frail:
        assert frail.through is not None
        scene = Scene(frail.url("3s"), work.registry)
        async with scene.scheduler:
            await until(lambda: scene.succeeded("tick"))
            frail.through.rate = 50_000
            runs = [await persist(work.registry["add"], number, key=str(number)) for number in range(3)]
            assert await asyncio.gather(*runs) == [1, 2, 3]
            assert not scene.all(NodeLost)


# -- answers that are lost after the server has done what it was asked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(600)
@pytest.mark.full_speed
async def test_where_answers_are_lost_each_order_runs_to_one_end(kind: str) -> None:
    losses, work, random = 200 if LONG else 15, Work(), seeded(f"answers {kind}")
    with cut(kind) as frail:
        assert frail.through is not None
        scene, runs = Scene(frail.url("3s"), work.registry), {}
        async with scene.scheduler:
            await until(lambda: scene.succeeded("tick"))
            frail.through.loses = lambda said: carries_out(kind, said) and random.random() < 0.25
            while frail.through.lost < losses or len(runs) < losses * 2:
                numbers = range(len(runs), len(runs) + 5)
                pieces = [persist(work.registry["add"], number, key=str(number)) for number in numbers]
                runs |= dict(zip(numbers, await asyncio.gather(*pieces), strict=True))
            frail.through.loses = lambda _said: False
            async with asyncio.timeout(PATIENCE_S):
                assert await asyncio.gather(*runs.values()) == [number + 1 for number in runs]
            found = await scene.scheduler.runs.list(task="add", limit=100_000)
        assert Counter(run.args[0] for run in found) == Counter(range(len(runs)))
        assert {run.status for run in found} == {RunStatus.SUCCESS}
        assert set(frail.ended().values()) == {1}
        print(f"{kind}: {frail.through.lost} answers lost, {len(runs)} orders, {work.done.total()} executions")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(600)
@pytest.mark.full_speed
async def test_what_was_claimed_and_nobody_heard_of_is_handed_back_and_runs(kind: str) -> None:
    losses, work = 200 if LONG else 4, Work()
    with cut(kind) as frail:
        assert frail.through is not None
        whole = Frail(kind, frail.server)
        whole.name = frail.name
        named = {"node": "hears-nothing", "tz": "UTC"}
        asking = Scheduler(whole.url("3s"), registry=Work().registry, queues=[], roles={"run"}, tz="UTC")
        async with Scheduler(frail.url("3s"), registry=work.registry, roles={"run"}, **named), asking as asks:
            for number in range(losses):
                before = frail.through.lost
                frail.through.loses = lambda said: claims(kind, said, named["node"])
                run = await (await asks.tasks.get("add")).submit(number)
                await until(lambda before=before: frail.through.lost > before)
                frail.through.loses = lambda _said: False
                async with asyncio.timeout(PATIENCE_S):
                    assert await run == number + 1
        assert work.done.keys() == set(range(losses))
        assert set(frail.ended().values()) == {1}


def claims(kind: str, said: bytes, node: str) -> bool:
    """Whether this may be a claim of the node: what starts a run says its name."""
    return node.encode() in said and (b"EVAL" in said if kind == "redis" else said[:1] == b"B")


def carries_out(kind: str, said: bytes) -> bool:
    """Whether this may be something that changes what is stored."""
    if kind == "redis":
        return b"EVAL" in said
    return b"COMMIT" in said or (said[:1] == b"B" and len(said) > 100)  # once prepared, with more than a name to say


# -- hints that are lost


async def starts(asking: Node, serving: Node, count: int) -> list[float]:
    """How long runs that were submitted at one node waited for their start at the other, in seconds."""
    waited = []
    for _ in range(count):
        asked = time.monotonic()
        run_id = await asking.submit("work", 0.0)
        waited.append((await serving.said("began", run_id))["at"] - asked)
    return waited


@pytest.mark.feature("PQ12")
@pytest.mark.timeout(900 if LONG else 180)
async def test_pq12_a_submit_wakes_another_process_and_without_hints_it_looks_by_itself() -> None:
    await asyncio.gather(*map(cut_the_listener, KINDS))


async def cut_the_listener(kind: str) -> None:
    with cut(kind) as frail:
        url = frail.url()
        async with node(url, serves=False) as asking, node(url) as serving:
            await starts(asking, serving, 1)
            told_s = statistics.median(await starts(asking, serving, 15))
            late = []
            for _ in range(200 if LONG else 3):
                await until(lambda: frail.drop_connections(listeners=True))
                late += await starts(asking, serving, 1)
    print(
        f"{kind}: it starts {told_s * 1000:.0f} ms after a submit, without hints after {max(late):.3f} s at the latest"
    )
    assert told_s < 0.25, "it was not told: a look comes once a second"
    assert max(late) < 5

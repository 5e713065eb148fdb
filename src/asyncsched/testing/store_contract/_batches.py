"""Nothing at all, very much, and much at once."""

from __future__ import annotations

import asyncio

from asyncsched.graph import Tally
from asyncsched.limits import Unique
from asyncsched.run import RunStatus
from asyncsched.stores import Decision, RunFilter, Store
from asyncsched.testing.store_contract._bench import START_US
from asyncsched.testing.store_contract._making import (
    DONE,
    UNFINISHED,
    a_run,
    ack_of,
    claim,
    declared,
    end,
    ids,
    keyed_run,
    names,
    needing,
    order,
    told,
)  # fmt: skip

MANY = 10_000


class BatchPromises:
    """Every verb takes a batch of any size, and whoever asks at once is answered one after another."""

    async def test_an_empty_batch_does_nothing(self, store: Store) -> None:
        standing = await store.put_task(declared())
        await store.submit([run := a_run()])
        assert not any(await store.reconcile([]))
        assert await store.standings([]) == []
        assert await store.fire([]) == set()
        assert await store.submit([]) == []
        assert await store.cancel([], "nothing") == []
        assert await store.followers([]) == []
        assert await store.settle([]) == []
        assert await store.lookback([]) == {}
        assert await store.fire([order(standing)]) == {"t"}
        assert names(await claim(store)) == [run.id]

    async def test_very_many_runs_are_submitted_claimed_and_acknowledged_together(self, store: Store) -> None:
        await store.put_task(declared(history_limit=MANY))
        runs = [a_run() for _ in range(MANY)]
        assert await store.submit(runs) == runs
        claimed = (await store.cycle([], MANY)).claimed
        assert names(claimed) == names(runs)
        await end(store, *claimed)
        assert await ids(store, status=UNFINISHED) == []
        assert len(await store.runs(RunFilter(status={RunStatus.SUCCESS}, limit=2 * MANY))) == MANY

    async def test_very_many_runs_are_cancelled_together(self, store: Store) -> None:
        runs = [a_run(due_us=START_US + 1) for _ in range(MANY)]
        await store.submit(runs)
        assert sorted(names(await store.cancel(names(runs), "not wanted"))) == sorted(names(runs))
        assert await ids(store, status=UNFINISHED) == []

    async def test_very_many_tasks_are_declared_and_fire_together(self, store: Store) -> None:
        tasks = [f"t{number}" for number in range(MANY // 10)]
        found = await store.reconcile([declared(task) for task in tasks])
        assert (found.added, [one.task for one in found.standings]) == (tasks, tasks)
        assert len(await store.standings(tasks)) == len(tasks)
        assert await store.fire([order(one, runs=[a_run(one.task)]) for one in found.standings]) == set(tasks)
        assert {run.task for run in await claim(store, MANY)} == set(tasks)

    async def test_a_run_may_need_very_many_and_very_many_may_need_one(self, store: Store) -> None:
        ups = [needing("up") for _ in range(MANY // 10)]
        low = needing("low", *ups)
        lower = [needing("lower", low) for _ in range(MANY // 10)]
        await store.submit([*ups, low, *lower])
        await end(store, *await claim(store, MANY))
        assert await told(store, *names(ups)) == {low.id: Tally(succeeded=len(ups))}
        await store.settle([Decision(low, low.token, None)])
        await end(store, *await claim(store, MANY))
        followers = await store.followers([low.id])
        assert len(followers) == len(lower)
        assert len(await store.settle([Decision(one.run, one.token, None) for one in followers])) == len(lower)
        assert sorted(names(await claim(store, MANY))) == sorted(names(lower))

    async def test_who_asks_at_once_is_answered_as_if_one_after_another(self, store: Store) -> None:
        standing = await asyncio.gather(*(store.submit([keyed_run(once=Unique())]) for _ in range(20)))
        assert len({run.id for runs in standing for run in runs}) == 1
        await store.submit([a_run() for _ in range(50)])
        claims = await asyncio.gather(*(claim(store, 7) for _ in range(10)))
        claimed = [run for runs in claims for run in runs]
        assert (len(claimed), len({run.id for run in claimed})) == (51, 51)
        acks = [await ack_of(store, run, DONE) for run in claimed]
        ends = await asyncio.gather(*(store.cycle([ack], 0) for ack in acks for _ in range(2)))
        assert sum(len(cycled.accepted) for cycled in ends) == len(acks)

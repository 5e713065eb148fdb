"""A law over any sequence of verbs: order holds, keys keep their limits, and every run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsched.retry import Retry
from asyncsched.run import Outcome, Raised, Run, Succeeded
from asyncsched.stores import RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, Bench
from asyncsched.testing.store_contract._making import a_run, ack_of, declared

Step = tuple[str, Any, Any, Any]
LIMITS = {"k": 1, "l": 2}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from(["a", "b"]), st.sampled_from([None, "k", "l"]), st.integers(0, 3)),
        st.tuples(st.just("cycle"), st.integers(0, 3), st.sampled_from(["good", "bad", "none"]), st.integers(0, 3)),
        st.tuples(st.just("advance"), st.integers(1, 2), st.none(), st.none()),
        st.tuples(st.just("drop"), st.sampled_from(["a", "b"]), st.none(), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.none(), st.none()),
    ),
    max_size=40,
)
# A store over a network may take its time. Each example has a bench of its own, and the law is inherited.
LAW = settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
)


class Life(Protocol):
    """What is known of runs from outside, and the steps that make them live."""

    async def step(self, number: int, step: Step) -> None:
        """Take a step."""

    async def end(self) -> None:
        """Let everything end, and look at what has been."""


async def live_through(
    make_bench: Callable[[], Bench], tasks: Iterable[str], life_at: Callable[[Store, Bench], Life], steps: list[Step]
) -> None:
    """Take these steps at a store of its own that has these tasks, then let everything end."""
    bench = make_bench()
    try:
        store = await bench.enter("n1")
        await store.reconcile([declared(task, history_limit=1_000) for task in tasks])
        life = life_at(store, bench)
        for number, step in enumerate(steps):
            await life.step(number, step)
        await life.end()
        await store.close()
    finally:
        await bench.clear()


class _Life:
    """What is known of the runs from outside, and the steps that make them live."""

    def __init__(self, store: Store, bench: Bench) -> None:
        self.store, self.bench = store, bench
        self.running: dict[str, Run[Any]] = {}
        self.started: list[str] = []
        self.submitted: list[tuple[str, str | None]] = []
        self.at_once: list[str] = []

    async def step(self, number: int, step: Step) -> None:
        verb, first, second, third = step
        if verb == "submit":
            due_us = await self.store.now_us() + third * SECOND
            limit, name = LIMITS.get(second, 1), f"r{number}"
            run = a_run(first, name=name, limit_key=second, limit=limit, due_us=due_us, priority=third % 2)
            await self.store.submit([run])
            self.submitted.append((name, second))
            self.at_once.extend([name] if not third else [])
        elif verb == "cycle":
            await self.exchange(first, second, third)
        elif verb == "advance":
            await self.bench.advance(first * SECOND)
        elif verb == "cancel":
            chosen = [name for name, _key in self.submitted[first::10]]
            assert not {run.id for run in await self.store.cancel(chosen, "chosen")} & self.running.keys()
        else:
            await self.store.drop_task(first)

    async def exchange(self, limit: int, outcome: str, number: int) -> None:
        running = self.running
        ending = [] if outcome == "none" else list(running.values())[:number]
        how: Outcome = Succeeded(1) if outcome == "good" else Raised(ValueError())
        acks = [await ack_of(self.store, run, how, Retry(attempts=3, wait="1s")) for run in ending]
        cycled = await self.store.cycle(acks, limit)
        assert cycled.accepted == acks
        for run in ending:
            del running[run.id]
        assert len(cycled.claimed) <= limit
        for run in cycled.claimed:
            assert run.id not in running
            key = run.terms.limit_key
            holding = [other for other in running.values() if other.terms.limit_key == key]
            assert key is None or len(holding) < LIMITS[key]
            running[run.id] = run
            self.started.extend([run.id] if run.attempt == 1 else [])
        order_of_claims = [(-run.priority, run.due_us) for run in cycled.claimed]
        assert order_of_claims == sorted(order_of_claims)
        now_us = await self.store.now_us()
        assert all(run.due_us <= now_us for run in cycled.claimed)

    async def end(self) -> None:
        """Let everything end, and look at what has been."""
        for _ in range(len(self.submitted) + 2):
            await self.bench.advance(10 * SECOND)
            await self.exchange(100, "good", 100)
        found = await self.store.runs(RunFilter(limit=1_000))
        assert sorted(run.id for run in found) == sorted(name for name, _key in self.submitted)
        assert all(run.status.final for run in found)
        for key in ("k", "l"):
            of_key = [name for name, its_key in self.submitted if its_key == key and name in self.at_once]
            assert [name for name in self.started if name in of_key] == [
                name for name in of_key if name in self.started
            ]
        assert (await self.store.cycle([], 100)).next_due_us is None


class OrderLaw:
    """Whatever happens: who may start does, in turn, and nothing is forgotten."""

    @settings(LAW, max_examples=60)
    @given(steps=STEPS)
    async def test_whatever_happens_keys_keep_their_limits_order_holds_and_every_run_ends(
        self, make_bench: Callable[[], Bench], steps: list[Step]
    ) -> None:
        await live_through(make_bench, ("a", "b"), _Life, steps)

"""A law over any sequence of verbs: no limit and no rate is passed, and nothing waits that could start."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.limits import Rate
from asyncsched.retry import Retry
from asyncsched.run import Outcome, Raised, Run, RunStatus, Succeeded
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import SECOND, Bench
from asyncsched.testing.store_contract._making import ack_of, keyed_run, names
from asyncsched.testing.store_contract._order_law import LAW, Step, live_through

LIMITS: dict[str, tuple[int | None, Rate | None]] = {
    "a": (1, None),
    "b": (2, Rate(3, 4 * SECOND)),
    "c": (None, Rate(2, 3 * SECOND)),
    "d": (1, Rate(1, 2 * SECOND)),
}
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.sampled_from("abcd"), st.integers(1, 4), st.sampled_from([0, 0, 0, 2])),
        st.tuples(st.just("cycle"), st.sampled_from([0, 1, 2, 100, 100]), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("advance"), st.integers(0, 3), st.integers(0, 1), st.none()),
        st.tuples(st.just("cancel"), st.integers(0, 9), st.none(), st.none()),
    ),
    max_size=40,
)


class _Model:
    """What is known of each run from outside, kept for ever."""

    def __init__(self) -> None:
        self.runs: dict[str, Run[Any]] = {}
        self.running: dict[str, Run[Any]] = {}
        self.tried: set[str] = set()
        self.starts: dict[str, list[int]] = defaultdict(list)

    def holders(self, key: str) -> set[str]:
        """Those that have begun and have not ended."""
        return {name for name in self.tried if self.runs[name].terms.limit_key == key}

    def rate_us(self, key: str, now_us: int) -> int:
        """When one more may start."""
        rate = LIMITS[key][1]
        if rate is None or len(self.starts[key]) < rate.count:
            return now_us
        return max(now_us, self.starts[key][-rate.count] + rate.period_us)

    def could_start_us(self, run: Run[Any], now_us: int) -> int | None:
        """When the run could start if nothing else happened; ``None``: only after something has ended."""
        key, limit = str(run.terms.limit_key), LIMITS[str(run.terms.limit_key)][0]
        if run.due_us > now_us:
            return run.due_us
        if limit is not None and run.id not in self.tried and len(self.holders(key)) >= limit:
            return None
        return self.rate_us(key, now_us)

    def start(self, run: Run[Any], now_us: int) -> None:
        key = str(run.terms.limit_key)
        could_us = self.could_start_us(run, now_us)
        assert could_us is not None, "no place"
        assert could_us <= now_us, "too early"
        if run.id not in self.tried:
            before = [other for name, other in self.runs.items() if name < run.id and name not in self.tried]
            at_once = [other for other in before if other.terms.limit_key == key and other.due_us == other.created_us]
            assert all(other.status is not RunStatus.PENDING for other in at_once), "out of turn"
        self.starts[key].append(now_us)
        self.tried.add(run.id)
        self.running[run.id] = run

    def waiting(self) -> list[Run[Any]]:
        return [run for run in self.runs.values() if run.status is RunStatus.PENDING]

    def check_rates(self) -> None:
        """No while had more starts than the rate of its key allows."""
        for key, starts in self.starts.items():
            rate = LIMITS[key][1]
            for at_us in () if rate is None else starts:
                assert rate is not None
                assert sum(at_us <= other < at_us + rate.period_us for other in starts) <= rate.count


class _Life:
    """The steps that make the runs live, beside the model of them."""

    def __init__(self, store: Store, bench: Bench) -> None:
        self.store, self.bench, self.model = store, bench, _Model()

    async def step(self, number: int, step: Step) -> None:
        verb, first, second, third = step
        model = self.model
        if verb == "submit":
            await self.submit(first, [f"{number:03}-{more}" for more in range(second)], delay_us=third * SECOND)
        elif verb == "cycle":
            await self.exchange(first, list(model.running.values())[:second], good=third)
        elif verb == "advance":
            await self.bench.advance(first * SECOND + second)
        else:
            chosen = list(model.runs)[first::10]
            cancelled = names(await self.store.cancel(chosen, "chosen"))
            assert not set(cancelled) & set(model.running)
            model.tried -= set(cancelled)

    async def submit(self, key: str, run_ids: list[str], *, delay_us: int) -> None:
        limit, rate = LIMITS[key]
        now_us = await self.store.now_us()
        for run_id in run_ids:
            run = keyed_run(run_id, key=key, limit=limit, rate=rate, now_us=now_us, due_us=now_us + delay_us)
            self.model.runs[run_id] = run
            await self.store.submit([run])

    async def exchange(self, limit: int, ending: list[Run[Any]], *, good: bool) -> None:
        model = self.model
        now_us = await self.store.now_us()
        how: Outcome = Succeeded(1) if good else Raised(ValueError())
        acks = [await ack_of(self.store, run, how, Retry(attempts=3, wait="1s")) for run in ending]
        cycled = await self.store.cycle(acks, limit)
        assert cycled.accepted == acks
        for run in ending:
            del model.running[run.id]
            if run.status.final:
                model.tried.discard(run.id)
        for run in cycled.claimed:
            model.start(run, now_us)
        if len(cycled.claimed) < limit:
            coming = [model.could_start_us(run, now_us) for run in model.waiting()]
            assert cycled.next_due_us == min((at_us for at_us in coming if at_us is not None), default=None)
            assert cycled.next_due_us is None or cycled.next_due_us > now_us

    async def end(self) -> None:
        """Let everything end, and look at what has been."""
        model = self.model
        for _ in range(4 * len(model.runs) + 4):
            await self.exchange(100, list(model.running.values()), good=True)
            await self.bench.advance(SECOND)
        assert all(run.status.final for run in model.runs.values())
        assert (await self.store.cycle([], 100)).next_due_us is None
        model.check_rates()


class LimitLaw:
    """Whatever happens: no limit is passed, and who could start does not wait."""

    @settings(LAW, max_examples=100)
    @given(steps=STEPS)
    async def test_no_limit_is_passed_nothing_waits_that_could_start_and_every_run_ends(
        self, make_bench: Callable[[], Bench], steps: list[Step]
    ) -> None:
        await live_through(make_bench, ("t",), _Life, steps)

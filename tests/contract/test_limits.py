"""What a store must do about limits: places by key, rates, and submits that are one run."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsched.clock import from_us
from asyncsched.edges import Edges
from asyncsched.ids import RunIds
from asyncsched.limits import Cooldown, Debounce, Once, Rate, Unique
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Outcome, Raised, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter, Standing, Store
from asyncsched.triggers import Every

from .conftest import START_US, Bench

SECOND = 1_000_000
RATE = Rate(2, 10 * SECOND)
AGAIN = Retry(attempts=9, wait="1s")
_ids = RunIds(Random(7))


def a_run(
    name: str | None = None, *, key: str | None = "k", limit: int | None = None, rate: Rate | None = None,
    once: Once | None = None, once_key: str = "o", now_us: int = START_US, due_us: int | None = None,
    queue: str = "default", args: tuple[Any, ...] = (), task: str = "t", priority: int = 0,
) -> Run[Any]:  # fmt: skip
    terms = Terms(
        priority=priority, queue=queue, limit_key=key, limit=limit, rate=rate, once=once,
        once_key=None if once is None else once_key,
    )  # fmt: skip
    due_us = now_us if due_us is None else due_us
    return Run(name or _ids.make(START_US), task, now_us, due_us, terms=terms, args=args)


async def claim(store: Store, limit: int = 100) -> list[Run[Any]]:
    return (await store.cycle([], limit)).claimed


async def end(store: Store, *runs: Run[Any], outcome: Outcome | None = None, retry: Retry = NO_RETRY) -> None:
    """Let claimed runs end, with success if nothing else is said."""
    now_us = await store.now_us()
    acks = [Ack(run, run.token, settle(outcome or Succeeded(1), run.attempt, retry, now_us)) for run in runs]
    assert (await store.cycle(acks, 0)).accepted == acks


def names(runs: Iterable[Run[Any]]) -> list[str]:
    return [run.id for run in runs]


# --- places


async def test_a_key_without_a_limit_bounds_nothing(store: Store) -> None:
    await store.submit([a_run(str(number)) for number in range(5)])
    assert names(await claim(store)) == list("01234")


async def test_keys_are_apart_and_each_is_first_come_first_served(store: Store) -> None:
    await store.submit([a_run(name, key=name[0], limit=1) for name in ("a1", "a2", "b1", "a3", "b2")])
    for expected in (["a1", "b1"], ["a2", "b2"], ["a3"]):
        claimed = await claim(store)
        assert names(claimed) == expected
        await end(store, *claimed)


async def test_of_those_that_wait_for_a_key_the_greater_priority_goes_first(store: Store) -> None:
    await store.submit(
        [a_run("0", limit=1), *(a_run(name, limit=1, priority=int(name) // 10) for name in ("10", "20", "21"))]
    )
    for expected in ("0", "20", "21", "10"):
        claimed = await claim(store)
        assert names(claimed) == [expected]
        await end(store, *claimed)


async def test_a_run_that_waits_for_its_next_try_keeps_its_place(store: Store, bench: Bench) -> None:
    await store.submit([a_run("1", limit=1), a_run("2", limit=1)])
    (run,) = await claim(store)
    await end(store, run, outcome=Raised(ValueError()), retry=AGAIN)
    assert await claim(store) == []
    await bench.advance(SECOND)
    assert names(await claim(store)) == ["1"]


# --- rates


async def test_no_more_start_in_a_while_than_the_rate_allows(store: Store, bench: Bench) -> None:
    await store.submit([a_run(str(number), rate=RATE) for number in range(5)])
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["0", "1"], START_US + 10 * SECOND)
    await end(store, *cycled.claimed)
    await bench.advance(10 * SECOND - 1)
    assert await claim(store) == []
    await bench.advance(1)
    assert names(await claim(store)) == ["2", "3"]
    await bench.advance(10 * SECOND)
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["4"], None)


async def test_a_rate_looks_back_from_each_start(store: Store, bench: Bench) -> None:
    await store.submit([a_run("0", rate=RATE)])
    assert names(await claim(store)) == ["0"]
    await bench.advance(4 * SECOND)
    await store.submit([a_run(name, rate=RATE) for name in "123"])
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["1"], START_US + 10 * SECOND)
    await bench.advance(6 * SECOND)
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["2"], START_US + 14 * SECOND)


async def test_it_is_the_start_that_counts_not_that_the_run_was_ready(store: Store, bench: Bench) -> None:
    await store.submit([a_run(str(number), rate=RATE) for number in range(4)])
    await bench.advance(60 * SECOND)
    assert names(await claim(store, 1)) == ["0"]
    await bench.advance(5 * SECOND)
    assert names(await claim(store)) == ["1"]
    await bench.advance(5 * SECOND)
    assert names(await claim(store)) == ["2"]
    await bench.advance(5 * SECOND)
    assert names(await claim(store)) == ["3"]


async def test_each_key_has_a_rate_of_its_own_and_others_go_on(store: Store) -> None:
    runs = [a_run(f"{key}{number}", key=key, rate=Rate(1, SECOND)) for key in "ab" for number in range(2)]
    await store.submit([*runs, a_run("free", key=None)])
    assert sorted(names(await claim(store))) == ["a0", "b0", "free"]


async def test_a_retry_is_a_start_and_goes_before_those_that_have_not_begun(store: Store, bench: Bench) -> None:
    await store.submit([a_run(name, rate=RATE) for name in "1234"])
    claimed = await claim(store)
    await end(store, *claimed, outcome=Raised(ValueError()), retry=AGAIN)
    await bench.advance(5 * SECOND)
    assert await claim(store) == []
    await bench.advance(5 * SECOND)
    assert names(await claim(store)) == ["1", "2"]
    await bench.advance(10 * SECOND)
    assert names(await claim(store)) == ["3", "4"]


async def test_a_retry_that_waits_for_the_rate_with_its_place_is_not_stuck_behind_others(
    store: Store, bench: Bench
) -> None:
    await store.submit([a_run(name, limit=1, rate=Rate(1, 10 * SECOND)) for name in "12"])
    (run,) = await claim(store)
    await end(store, run, outcome=Raised(ValueError()), retry=AGAIN)
    await bench.advance(SECOND)
    cycled = await store.cycle([], 100)
    assert (cycled.claimed, cycled.next_due_us) == ([], START_US + 10 * SECOND)
    await bench.advance(9 * SECOND)
    (run,) = await claim(store)
    assert (run.id, run.attempt) == ("1", 2)


async def test_a_place_that_is_not_free_is_waited_for_without_an_instant(store: Store, bench: Bench) -> None:
    await store.submit([a_run(name, limit=1, rate=Rate(5, 10 * SECOND)) for name in "12"])
    cycled = await store.cycle([], 100)
    assert (names(cycled.claimed), cycled.next_due_us) == (["1"], None)
    await end(store, *cycled.claimed)
    assert names(await claim(store)) == ["2"]


async def test_a_run_that_was_ready_by_the_rate_and_is_cancelled_makes_way(store: Store) -> None:
    await store.submit([a_run(name, rate=RATE) for name in "1234"])
    await store.cancel(["1", "3"], "not wanted")
    assert names(await claim(store)) == ["2", "4"]


async def test_a_start_by_a_node_that_vanished_has_been_one(bench: Bench) -> None:
    store = await bench.enter("n1")
    await store.submit([a_run(name, rate=Rate(1, 10 * SECOND)) for name in "12"])
    assert names(await claim(store)) == ["1"]
    store = await bench.enter("n2")
    assert await claim(store) == []
    await bench.advance(10 * SECOND)
    assert names(await claim(store)) == ["1"]
    await store.close()


async def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_the_rate(store: Store, bench: Bench) -> None:
    await bench.advance(3_600 * SECOND)
    now_us = await store.now_us()
    await store.submit([a_run(str(number), rate=RATE, now_us=START_US) for number in range(3)])
    assert len(await claim(store)) == 2
    await bench.advance(-3_600 * SECOND)
    if await store.now_us() >= now_us:
        pytest.skip("the clock of this store is nobody's to set")
    cycled = await store.cycle([], 100)
    assert cycled.next_due_us is not None
    assert cycled.next_due_us <= await store.now_us() + 10 * SECOND
    await bench.advance(10 * SECOND)
    assert names(await claim(store)) == ["2"]


# --- submits that are one run


async def test_a_run_that_nothing_makes_one_with_another_stands_by_itself(store: Store) -> None:
    runs = [a_run(), a_run(once=Unique()), a_run(once=Unique(), once_key="p")]
    assert names(await store.submit(runs)) == names(runs)


async def test_of_many_submits_of_one_key_one_stands_while_it_lives(store: Store) -> None:
    runs = [a_run(once=Unique(), args=(number,)) for number in range(100)]
    standing = await store.submit(runs)
    assert set(names(standing)) == {runs[0].id}
    (run,) = await claim(store)
    assert (run.id, run.args) == (runs[0].id, (0,))
    assert names(await store.submit([a_run(once=Unique())])) == [run.id]
    await end(store, run, outcome=Raised(ValueError()), retry=Retry(attempts=2, wait="1s"))
    assert names(await store.submit([a_run(once=Unique())])) == [run.id]


async def test_after_its_end_another_is_made_unless_its_success_is_not_long_ago(store: Store, bench: Bench) -> None:
    async def submit(keep: int) -> str:
        (standing,) = await store.submit([a_run(once=Unique(keep), once_key=str(keep))])
        return standing.id

    first, kept = await submit(0), await submit(60 * SECOND)
    await end(store, *await claim(store))
    assert await submit(0) != first
    await bench.advance(60 * SECOND - 1)
    assert await submit(60 * SECOND) == kept
    await bench.advance(1)
    assert await submit(60 * SECOND) != kept


@pytest.mark.parametrize("how", ["failed", "cancelled"])
async def test_a_run_that_came_to_nothing_stands_no_longer(store: Store, how: str) -> None:
    (run,) = await store.submit([a_run(once=Unique(60 * SECOND))])
    if how == "failed":
        await end(store, *await claim(store), outcome=Raised(ValueError()))
    else:
        await store.cancel([run.id], "not wanted")
    (other,) = await store.submit([a_run(once=Unique(60 * SECOND))])
    assert other.id != run.id


async def test_the_last_of_many_submits_moves_the_run_that_waits(store: Store, bench: Bench) -> None:
    once = Debounce(5 * SECOND)
    first = None
    for number in range(10):
        now_us = await store.now_us()
        run = a_run(once=once, now_us=now_us, due_us=now_us + 5 * SECOND, args=(number,))
        (standing,) = await store.submit([run])
        first = first or standing.id
        assert standing.id == first
        assert (await store.cycle([], 100)).next_due_us == run.due_us
        await bench.advance(SECOND)
    assert await claim(store) == []
    await bench.advance(4 * SECOND - 1)
    assert await claim(store) == []
    await bench.advance(1)
    (run,) = await claim(store)
    assert (run.id, run.args, run.due_us) == (first, (9,), START_US + 14 * SECOND)
    assert (await store.cycle([], 100)).next_due_us is None


@pytest.mark.parametrize("how", ["due", "running", "ended", "between attempts", "cancelled"])
async def test_a_run_whose_last_submit_has_been_is_left_alone(store: Store, bench: Bench, how: str) -> None:
    once = Debounce(5 * SECOND)
    (run,) = await store.submit([a_run(once=once, due_us=START_US + 5 * SECOND, args=(1,))])
    if how == "cancelled":
        await store.cancel([run.id], "not wanted")
    await bench.advance(5 * SECOND)
    if how in ("running", "ended", "between attempts"):
        claimed = await claim(store)
        if how == "ended":
            await end(store, *claimed)
        elif how == "between attempts":
            await end(store, *claimed, outcome=Raised(ValueError()), retry=Retry(attempts=2, wait="1h"))
    now_us = await store.now_us()
    new = a_run(once=once, now_us=now_us, due_us=now_us + 5 * SECOND, args=(2,))
    assert names(await store.submit([new])) == [new.id]
    found = await store.run(run.id)
    assert found is not None
    assert found.args == (1,)
    await bench.advance(5 * SECOND)
    assert new.id in names(await claim(store))


async def test_a_submit_soon_after_one_that_made_a_run_is_that_run(store: Store, bench: Bench) -> None:
    once = Cooldown(60 * SECOND)
    (first,) = await store.submit([a_run(once=once)])
    await end(store, *await claim(store), outcome=Raised(ValueError()))
    for _ in range(2):
        await bench.advance(30 * SECOND - 1)
        assert names(await store.submit([a_run(once=once, now_us=await store.now_us())])) == [first.id]
    await bench.advance(2)
    (other,) = await store.submit([a_run(once=once, now_us=await store.now_us())])
    assert other.id != first.id
    await store.cancel([other.id], "not wanted")
    (third,) = await store.submit([a_run(once=once, now_us=await store.now_us())])
    assert third.id != other.id


async def test_a_run_that_stands_for_another_is_written_once(store: Store) -> None:
    await store.submit([a_run(f"r{number}", once=Cooldown(SECOND)) for number in range(3)])
    assert names(await store.runs(RunFilter())) == ["r0"]
    assert await store.run("r1") is None


async def test_what_stands_for_a_key_outlives_the_node(bench: Bench) -> None:
    store = await bench.enter("n1")
    (run,) = await store.submit([a_run(once=Unique())])
    await store.close()
    store = await bench.enter("n2")
    assert names(await store.submit([a_run(once=Unique())])) == [run.id]
    await store.close()


# --- fires


async def standing_task(store: Store) -> Standing:
    return await store.put_task(Declared("t", "every 10 s", Every("10s", from_us(START_US)), START_US, 100))


def order(standing: Standing, runs: Sequence[Run[Any]]) -> FireOrder:
    assert standing.next_us is not None
    return FireOrder(standing.task, standing.version, standing.next_us, standing.next_us + 10 * SECOND, runs, (), 0)


@pytest.mark.parametrize(("once", "reason"), [(Unique(), "overlap"), (Cooldown(60 * SECOND), "cooldown")])
async def test_a_fire_for_which_another_run_stands_is_a_recorded_skip(store: Store, once: Once, reason: str) -> None:
    standing = await standing_task(store)
    (earlier,) = await store.submit([a_run("earlier", once=once)])
    fired = a_run("fired", once=once)
    fired.scheduled_us = START_US
    assert await store.fire([order(standing, [fired])]) == {"t"}
    assert (fired.status, fired.reason, fired.finished_us) == (RunStatus.SKIPPED, reason, START_US)
    found = await store.run("fired")
    assert found is not None
    assert (found.status, found.reason) == (RunStatus.SKIPPED, reason)
    assert names(await claim(store)) == ["earlier"]
    await end(store, earlier)
    assert [run.status for run in store.recent("t")] == [RunStatus.SUCCESS, RunStatus.SKIPPED]


async def test_a_fire_stands_for_its_key(store: Store) -> None:
    standing = await standing_task(store)
    fired = [a_run(name, once=Unique()) for name in ("one", "two")]
    await store.fire([order(standing, fired)])
    assert [run.status for run in fired] == [RunStatus.PENDING, RunStatus.SKIPPED]
    assert names(await store.submit([a_run(once=Unique())])) == ["one"]


async def test_an_order_that_does_not_count_stands_for_nothing(store: Store) -> None:
    standing = await standing_task(store)
    await store.fire([order(standing, [])])
    assert await store.fire([order(standing, [a_run("late", once=Unique())])]) == set()
    run = a_run(once=Unique())
    assert names(await store.submit([run])) == [run.id]


# --- graphs


def below(root: Run[Any], **options: Any) -> Run[Any]:
    run = a_run(task="below", **options)
    run.edges = Edges(root.id, (root.id,), upstreams=(root,), blocked=True)
    return run


async def test_what_is_below_a_submit_for_which_another_run_stands_is_not_written(store: Store) -> None:
    first, second = a_run("first", once=Unique()), a_run("second", once=Unique())
    first.edges, second.edges = Edges("first"), Edges("second")
    runs = [first, below(first, name="first below"), second, below(second, name="second below"), a_run("other")]
    assert names(await store.submit(runs)) == ["first", "first below", "first", "first", "other"]
    assert sorted(names(await store.runs(RunFilter()))) == ["first", "first below", "other"]


async def test_what_is_below_a_fire_that_is_skipped_for_another_run_is_not_written(store: Store) -> None:
    standing = await standing_task(store)
    await store.submit([a_run("earlier", once=Unique())])
    fired = a_run("fired", once=Unique())
    fired.edges = Edges("fired")
    await store.fire([order(standing, [fired, below(fired, name="below")])])
    assert sorted(names(await store.runs(RunFilter()))) == ["earlier", "fired"]


async def test_a_run_that_needs_others_does_not_move_and_moves_none(store: Store) -> None:
    once = Debounce(5 * SECOND)
    upstream = a_run("upstream")
    runs = [upstream, *(a_run(name, once=once, due_us=START_US + 5 * SECOND) for name in ("one", "tied", "two"))]
    runs[2].edges = Edges("tied", ("upstream",), upstreams=(upstream,), kind="hand", blocked=True)
    assert names(await store.submit(runs)) == names(runs)


# --- laws over any sequence of verbs

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


class Model:
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


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_no_limit_is_passed_nothing_waits_that_could_start_and_every_run_ends(
    make_bench: Callable[[], Bench], steps: list[tuple[str, Any, Any, Any]]
) -> None:
    asyncio.run(live_through(make_bench(), steps))


async def live_through(bench: Bench, steps: list[tuple[str, Any, Any, Any]]) -> None:
    store, model = await bench.enter("n1"), Model()
    await store.reconcile([Declared("t", "", None, None, 1_000)])

    async def exchange(limit: int, ending: list[Run[Any]], *, good: bool) -> None:
        now_us = await store.now_us()
        how: Outcome = Succeeded(1) if good else Raised(ValueError())
        acks = [Ack(run, run.token, settle(how, run.attempt, Retry(attempts=3, wait="1s"), now_us)) for run in ending]
        cycled = await store.cycle(acks, limit)
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

    for number, (verb, first, second, third) in enumerate(steps):
        if verb == "submit":
            limit, rate = LIMITS[first]
            now_us = await store.now_us()
            for more in range(second):
                due_us = now_us + third * SECOND
                run = a_run(f"{number:03}-{more}", key=first, limit=limit, rate=rate, now_us=now_us, due_us=due_us)
                model.runs[run.id] = run
                await store.submit([run])
        elif verb == "cycle":
            await exchange(first, list(model.running.values())[:second], good=third)
        elif verb == "advance":
            await bench.advance(first * SECOND + second)
        else:
            chosen = list(model.runs)[first::10]
            cancelled = names(await store.cancel(chosen, "chosen"))
            assert not set(cancelled) & set(model.running)
            model.tried -= set(cancelled)
    for _ in range(4 * len(model.runs) + 4):
        await exchange(100, list(model.running.values()), good=True)
        await bench.advance(SECOND)
    assert all(run.status.final for run in model.runs.values())
    assert (await store.cycle([], 100)).next_due_us is None
    for key, starts in model.starts.items():
        rate = LIMITS[key][1]
        for at_us in starts if rate is not None else ():
            assert rate is not None
            assert sum(at_us <= other < at_us + rate.period_us for other in starts) <= rate.count
    await store.close()

"""Each policy as the engine carries it out, against its model: random tasks, failures, jumps of the clock."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.unit.test_fires import Listed, fate_of
from tests.unit.test_overlap import promised

from asyncsched import Registry, Retry, Task, current_run
from asyncsched.blackout import Blackout, blacked_out
from asyncsched.clock import from_us, to_us
from asyncsched.policy import Policy
from asyncsched.run import RunStatus, SkipReason
from asyncsched.spread import jittered_us
from asyncsched.testing import Stage, run, virtual
from asyncsched.triggers import Trigger

SECOND = 1_000_000
T0 = datetime(2026, 1, 1, tzinfo=UTC)
START = to_us(T0)
OFTEN = settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def since(instant: datetime | None) -> float:
    assert instant is not None
    return (instant - T0).total_seconds()


def ms(instant: datetime | None) -> int:
    return round(since(instant) * 1_000)


def alone(task: Task[..., Any]) -> Registry:
    registry = Registry()
    registry.register(task)
    return registry


# --- overlap


@OFTEN
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9)), max_size=14),
    st.sampled_from(["skip", "allow", "queue_one", "queue_all", "cancel_previous"]),
)
def test_overlap(gaps_and_durations: list[tuple[int, int]], overlap: str) -> None:
    # In milliseconds. Fires at whole seconds, and each end a little later than one: none of both at one instant.
    fires = list(accumulate(1_000 * gap for gap, _ in gaps_and_durations))
    durations = [1_000 * duration + number + 1 for number, (_, duration) in enumerate(gaps_and_durations)]

    async def work() -> None:
        await asyncio.sleep(durations[fires.index(ms(current_run().scheduled_for))] / 1_000)

    trigger: Trigger = Listed(tuple(START + at * SECOND // 1_000 for at in fires))
    task = Task(work, trigger=trigger, overlap=overlap, id="work")  # type: ignore[arg-type]

    async def main() -> None:
        async with virtual(alone(task), at=T0) as sched:
            await sched.advance("1h")
            ended = {fires.index(ms(one.scheduled_for)): one for one in task.history}
            ran = {number: one for number, one in ended.items() if one.status is RunStatus.SUCCESS}
            expected = promised(overlap, fires, durations)
            assert {number: (ms(one.started_at), ms(one.finished_at)) for number, one in ran.items()} == expected.ran
            skipped = sorted(number for number, one in ended.items() if one.reason == SkipReason.OVERLAP)
            assert skipped == expected.skipped
            cancelled = {number: ms(one.finished_at) for number, one in ended.items() if one.status == "CANCELLED"}
            assert cancelled == expected.cancelled

    run(main)


# --- missed fires, grace, blackouts, jitter, pauses, as often as it may

Move = tuple[Literal["advance", "jump", "back", "down", "pause", "resume"], int]


@dataclass
class Book:
    """What becomes of the fires of a task whose runs take no time, by what its policy promises."""

    policy: Policy
    period: int
    now: int = START
    paused: bool = False
    over: bool = False
    runs: list[tuple[int, int]] = field(default_factory=list)
    skips: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.next = self.now + self.period

    def starts(self, at_us: int) -> int:
        return jittered_us("work", at_us, self.policy.jitter_us)

    def look(self) -> None:
        """All that is due is handled now."""
        due = []
        while not (self.paused or self.over) and self.starts(self.next) <= self.now:
            due.append(self.next)
            self.next += self.period
        dark = [at for at in due if blacked_out(self.policy.blackout, at, "UTC")]
        self.skips.update(("blackout", at) for at in dark)
        fate = fate_of([at for at in due if at not in dark], self.now, self.policy, self.starts)
        self.skips.update(("missed", at) for at in fate.skipped)
        for planned in fate.runs:
            if not self.over:
                self.runs.append(planned)
                self.over = len(self.runs) == self.policy.max_runs

    def advance(self, us: int) -> None:
        end = self.now + us
        while not (self.paused or self.over) and self.starts(self.next) <= end:
            self.now = max(self.now, self.starts(self.next))
            self.look()
        self.now = end

    def move(self, kind: str, us: int) -> None:
        match kind:
            case "advance":
                self.advance(us)
            case "jump":
                self.now += us
                self.look()
            case "back":
                self.now -= us
            case "down":
                self.now += us
                self.look()
            case "pause":
                self.paused = True
            case "resume" if self.paused:
                self.paused = False
                while not self.over and self.next <= self.now:
                    self.skips["paused", self.next] += 1
                    self.next += self.period
                self.look()


async def carry_out(sched: Stage, kind: str, seconds: int) -> None:
    span = timedelta(seconds=seconds)
    match kind:
        case "advance":
            await sched.advance(span)
        case "jump":
            await sched.jump(span)
        case "back":
            await sched.jump(f"-{seconds}s")
        case "down":
            await sched.crash()
            await sched.advance(span)
            await sched.restart()
        case "pause":
            await sched.scheduler.tasks.pause("work")
        case "resume":
            await sched.scheduler.tasks.resume("work")
    await sched.clock.loop.settle()


def check_moves(moves: list[tuple[str, int]], period: int, options: dict[str, Any]) -> None:
    async def work() -> None: ...

    task = Task(work, every=timedelta(seconds=period), overlap="allow", id="work", history_limit=10_000, **options)
    book = Book(task.policy, period * SECOND)

    async def main() -> None:
        async with virtual(alone(task), at=T0, tz="UTC") as sched:
            for kind, seconds in [*moves, ("resume", 0), ("advance", 3 * period + 7_200)]:
                await carry_out(sched, kind, seconds)
                book.move(kind, seconds * SECOND)
                assert to_us(sched.now()) == book.now
            records = task.history
            ran = sorted((to_us(one.scheduled_for), one.stands_for) for one in records if one.status == "SUCCESS")
            assert ran == sorted(book.runs)
            skipped = [one for one in records if one.status == "SKIPPED"]
            assert all(one.stands_for == 1 for one in skipped)
            assert Counter((one.reason, to_us(one.scheduled_for)) for one in skipped) == book.skips
            assert task.next_fire == (None if book.over else from_us(book.next))

    run(main)


SPANS = st.integers(0, 40) | st.integers(0, 3_600)
MOVES = st.lists(st.tuples(st.sampled_from(["advance", "jump", "back", "down"]), SPANS), max_size=6)
PERIODS = st.sampled_from([45, 60, 300, 1_700])


@OFTEN
@given(
    MOVES,
    PERIODS,
    st.sampled_from(["latest", "skip", "all"]),
    st.sampled_from([0, 2, 100]),
    st.sampled_from([None, "0s", "1m", "20m"]),
)
def test_missed_fires(moves: list[Move], period: int, missed: str, limit: int, grace: str | None) -> None:
    check_moves(moves, period, {"missed": missed, "missed_limit": limit, "grace": grace})


@OFTEN
@given(MOVES, PERIODS, st.sampled_from(["latest", "skip", "all"]), st.sampled_from(["00:20-01:00", "00:01-00:02"]))
def test_blackouts(moves: list[Move], period: int, missed: str, window: str) -> None:
    check_moves(moves, period, {"missed": missed, "blackout": Blackout.of(window)})


@OFTEN
@given(MOVES, PERIODS, st.sampled_from(["latest", "skip", "all"]), st.sampled_from(["1s", "1m", "1h"]))
@example(moves=[("jump", 3_000)], period=45, missed="skip", jitter="1h")
def test_jitter(moves: list[Move], period: int, missed: str, jitter: str) -> None:
    check_moves(moves, period, {"missed": missed, "jitter": jitter})


@OFTEN
@given(
    st.lists(st.tuples(st.sampled_from(["advance", "jump", "back", "pause", "resume"]), SPANS), max_size=8),
    st.sampled_from([300, 1_700]),  # so that no more than 100 fires fall into a pause: more share a record
    st.sampled_from(["latest", "skip", "all"]),
)
def test_pauses(moves: list[Move], period: int, missed: str) -> None:
    check_moves(moves, period, {"missed": missed})


@OFTEN
@given(MOVES, PERIODS, st.sampled_from(["latest", "skip", "all"]), st.integers(1, 8))
def test_as_often_as_it_may(moves: list[Move], period: int, missed: str, most: int) -> None:
    check_moves(moves, period, {"missed": missed, "max_runs": most})


# --- attempts: retries, timeouts, the time of all of them together


@dataclass
class Life:
    """One run: when its attempts began, how and when it ended."""

    attempts: list[float] = field(default_factory=list)
    status: str = ""
    ended: float = 0.0


def life_of(durations: list[int], fails: int, retry: Retry, timeout: int | None, whole: int | None) -> Life:
    life, now = Life(), 0.0
    for attempt in range(1, 99):
        life.attempts.append(now)
        takes = durations[(attempt - 1) % len(durations)]
        late = timeout is not None and takes > timeout
        now += min(takes, timeout) if timeout is not None else takes
        if whole is not None and now > whole:
            life.status, life.ended = "FAILED", whole
            return life
        if attempt > fails and not late:
            life.status, life.ended = "SUCCESS", now
            return life
        error: BaseException = TimeoutError() if late else OSError()
        delay_us = retry.delay_us(attempt, error, elapsed_us=int(now * SECOND))
        if delay_us is None:
            life.status, life.ended = "FAILED", now
            return life
        now += delay_us / SECOND
        if whole is not None and now >= whole:
            life.status, life.ended = "FAILED", whole
            return life
    raise AssertionError("a run that never ends")


RETRIES: st.SearchStrategy[Callable[[], Retry]] = st.builds(
    lambda attempts, wait, factor, step, cap, stop, on: Retry(
        attempts=attempts, wait=timedelta(seconds=wait), factor=factor, step=timedelta(seconds=step), cap=cap,
        stop_after=stop, on=on,
    ),
    st.integers(1, 6), st.integers(0, 5), st.sampled_from([1, 2, 3]), st.integers(0, 2), st.sampled_from([None, "7s"]),
    st.sampled_from([None, "10s", "1m"]), st.sampled_from([None, OSError, TimeoutError]),
)  # fmt: skip


@OFTEN
@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=6),
    st.integers(0, 6),
    RETRIES,
    st.none() | st.integers(1, 6),
    st.none() | st.sampled_from([3.55, 10.55, 40.55]),
)
def test_attempts(durations: list[int], fails: int, retry: Retry, timeout: int | None, whole: float | None) -> None:
    # A time limit that is met to the microsecond is a race: no sum of up to six of these ends as the others do.
    limit = None if timeout is None else timeout + 0.3
    expected = life_of(durations, fails, retry, limit, whole)  # type: ignore[arg-type]
    began: list[float] = []

    async def work() -> None:
        attempt = current_run().attempt
        began.append(since(datetime.now(UTC)))
        await asyncio.sleep(durations[(attempt - 1) % len(durations)])
        if attempt <= fails:
            raise OSError

    options = {
        "timeout": None if limit is None else timedelta(seconds=limit),
        "run_timeout": None if whole is None else timedelta(seconds=whole),
    }
    task = Task(work, id="work", retry=retry, **options)  # type: ignore[arg-type]

    async def main() -> None:
        async with virtual(alone(task), at=T0) as sched:
            one = await task.submit()
            await sched.advance("2h")
            assert began == pytest.approx(expected.attempts, abs=1e-5)
            assert (one.status, since(one.finished_at)) == (expected.status, pytest.approx(expected.ended, abs=1e-5))

    run(main)


# --- runs that expire


@OFTEN
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 12)), min_size=1, max_size=10),
    st.integers(0, 8),
)
def test_expired(submits: list[tuple[int, int, int]], expires: int) -> None:
    within = expires + 0.5
    model: list[tuple[str, float]] = [("", 0.0)] * len(submits)
    queue = sorted(
        (sum(gap for gap, _, _ in submits[: number + 1]) + later, number)
        for number, (_, later, _) in enumerate(submits)
    )
    free = 0.0
    for due, number in queue:
        start = max(free, due)
        if start >= due + within:
            model[number] = ("SKIPPED", due + within)
        else:
            free = start + submits[number][2]
            model[number] = ("SUCCESS", free)

    async def work(number: int) -> None:
        await asyncio.sleep(submits[number][2])

    task = Task(work, id="work", expires=timedelta(seconds=within), max_running=1)

    async def main() -> None:
        async with virtual(alone(task), at=T0) as sched:
            runs = []
            for number, (gap, later, _takes) in enumerate(submits):
                await sched.advance(timedelta(seconds=gap))
                runs.append(await task.using(delay=timedelta(seconds=later)).submit(number))
            await sched.advance("1h")
            assert [(one.status, since(one.finished_at)) for one in runs] == model

    run(main)

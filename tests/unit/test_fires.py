"""Which fires are due, which run, which are skipped: against a model that keeps every instant in a list."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncsched.blackout import Blackout
from asyncsched.clock import from_us, to_us
from asyncsched.fires import LATE_US, Due, Overdue, Planned, due_fires, exhausted, first_fire
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.spread import jittered_us
from asyncsched.triggers import Between, Binding, Cron, Every, Never, Once, Trigger

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
YEAR = timedelta(days=365)
RECORDS = 100


@dataclass(frozen=True)
class Listed(Trigger):
    """These instants and no others."""

    instants: tuple[int, ...] = ()

    def next_after(self, moment: datetime) -> datetime | None:
        found = self.next_us(to_us(moment))
        return None if found is None else from_us(found)

    def next_us(self, after_us: int) -> int | None:
        return next((instant for instant in self.instants if instant > after_us), None)


def policy(**options: Any) -> Policy:
    return Policy.of(options)


def decided(trigger: Trigger, first_us: int, now_us: int, rules: Policy, steps: int = 5_000) -> tuple[Due, Overdue]:
    overdue = Overdue(trigger, first_us, now_us, rules, "Europe/Berlin")
    for _turn in range(100_000):
        if overdue.walk(steps):
            return due_fires(overdue, rules), overdue
    raise AssertionError("the count does not end")


# --- the model


class Fate(NamedTuple):
    """For each run its instant and how many fires it stands for; the instants of the skipped fires."""

    runs: list[tuple[int, int]]
    skipped: list[int]


def model(trigger: Trigger, first_us: int, now_us: int, rules: Policy) -> Fate:
    instants = []
    at_us: int | None = first_us
    while at_us is not None and at_us <= now_us:
        instants.append(at_us)
        at_us = trigger.next_us(at_us)
    return fate_of(instants, now_us, rules)


def fate_of(
    instants: list[int], now_us: int, rules: Policy, starts: Callable[[int], int] = lambda at_us: at_us
) -> Fate:
    fresh = [at for at in instants if now_us - starts(at) <= LATE_US]
    late = [at for at in instants if now_us - starts(at) > LATE_US]
    old: list[int] = []
    if rules.grace is not None:
        grace_us = rules.grace // timedelta(microseconds=1)
        old = [at for at in late if now_us - starts(at) > grace_us]
        late = [at for at in late if now_us - starts(at) <= grace_us]
    single = [(at, 1) for at in fresh]
    if not late and not old:
        return Fate(single, [])
    if rules.missed == "skip":
        return Fate(single, old + late)
    if rules.missed == "all":
        run = late[-rules.missed_limit :] if rules.missed_limit else []
        return Fate([(at, 1) for at in run] + single, old + late[: len(late) - len(run)])
    young = late + fresh
    return Fate([(young[-1], len(young))] if young else [], old)


def check(trigger: Trigger, first_us: int, now_us: int, rules: Policy, steps: int) -> None:
    due, overdue = decided(trigger, first_us, now_us, rules, steps)
    fate = model(trigger, first_us, now_us, rules)
    assert [tuple(planned) for planned in due.runs] == fate.runs
    assert sum(planned.stands_for for planned in due.skips) == len(fate.skipped)
    assert {planned.scheduled_us for planned in due.skips} <= set(fate.skipped)
    assert len(due.skips) <= 2 * RECORDS
    if len(fate.skipped) <= RECORDS:
        assert due.skips == tuple(Planned(at_us) for at_us in fate.skipped)
    if fate.skipped:
        assert due.skips[-1].scheduled_us == fate.skipped[-1]
    for group in (due.runs, due.skips):
        assert all(one.scheduled_us < other.scheduled_us for one, other in pairwise(group))
    assert overdue.count == sum(planned.stands_for for planned in due.runs + due.skips)
    assert overdue.next_us == trigger.next_us(now_us)
    late_runs = any(now_us - planned.scheduled_us > LATE_US for planned in due.runs)
    if due.one_by_one:
        assert (rules.missed, rules.overlap) == ("all", "skip")
    elif late_runs:
        assert rules.missed == "latest" or rules.overlap == "allow"


POLICIES = st.builds(
    lambda missed, limit, grace, overlap: policy(missed=missed, missed_limit=limit, grace=grace, overlap=overlap),
    st.sampled_from(["latest", "skip", "all"]),
    st.sampled_from([0, 1, 3, 100, 250]),
    st.none() | st.timedeltas(timedelta(0), timedelta(hours=1)) | st.sampled_from([timedelta(0), timedelta(seconds=1)]),
    st.sampled_from(["skip", "allow"]),
)
STEPS = st.sampled_from([1, 7, 5_000])


@settings(max_examples=1_000)
@given(
    st.lists(st.one_of(st.integers(1, 3 * SECOND), st.integers(1, 3_600 * SECOND)), max_size=150),
    st.integers(0, 3 * SECOND) | st.integers(0, 3_600 * SECOND),
    POLICIES,
    STEPS,
)
def test_every_due_fire_of_any_trigger_is_a_run_or_a_recorded_skip(
    gaps: list[int], lateness: int, rules: Policy, steps: int
) -> None:
    instants = [START]
    for gap in gaps:
        instants.append(instants[-1] + gap)
    check(Listed(tuple(instants)), START, instants[len(instants) // 2] + lateness, rules, steps)


@settings(max_examples=60)
@example(period_us=SECOND, fires=3_600, lateness=0, rules=Policy.of({"grace": "50m"}), steps=5_000)
@given(
    st.sampled_from([2_000, 10_007, SECOND // 4, SECOND, 10 * SECOND, 3_600 * SECOND]),
    st.integers(0, 4_000),
    st.integers(0, 2 * SECOND),
    POLICIES,
    STEPS,
)
def test_every_due_fire_of_an_interval_is_a_run_or_a_recorded_skip(
    period_us: int, fires: int, lateness: int, rules: Policy, steps: int
) -> None:
    trigger = Every(timedelta(microseconds=period_us), from_us(START))
    now_us = START + fires * period_us + min(lateness, period_us - 1)
    check(trigger, START, now_us, rules, steps)


@settings(max_examples=30)
@given(st.integers(0, 3 * 86_400 * SECOND), POLICIES, STEPS)
def test_every_due_fire_of_a_cron_line_is_a_run_or_a_recorded_skip(lateness: int, rules: Policy, steps: int) -> None:
    trigger = Cron("*/5 8-18 * * *").bind(Binding(zone="Europe/Berlin", anchor_us=START))
    first_us = trigger.next_us(to_us(datetime(2026, 3, 28, 12, tzinfo=UTC)))
    assert first_us is not None
    check(trigger, first_us, first_us + lateness, rules, steps)


# --- with blackouts

WINDOWS = st.lists(
    st.builds(
        Blackout,
        st.sampled_from(["00:00", "00:01", "01:30", "02:00", "23:59:58"]),
        st.sampled_from(["00:00:10", "00:10", "02:30", "03:00"]),
        days=st.sampled_from([None, "sun", "mon-fri"]),
    )
    | st.integers(0, 7_200).map(lambda second: Blackout(at_second(second), at_second(second + 600))),
    min_size=1,
    max_size=3,
)
CHANGE = to_us(datetime(2026, 3, 28, 23, tzinfo=UTC))  # midnight in Berlin, two hours before its clocks are changed


def at_second(second: int) -> datetime:
    return from_us(CHANGE + second * SECOND)


def in_the_dark(at_us: int, windows: list[Blackout]) -> bool:
    """By the wall clock that datetime shows."""
    local = from_us(at_us).astimezone(ZoneInfo("Europe/Berlin"))
    second = local.hour * 3600 + local.minute * 60 + local.second
    for window in windows:
        if isinstance(window.start, datetime):
            assert isinstance(window.end, datetime)
            if window.start <= from_us(at_us) < window.end:
                return True
            continue
        start, end = (sum(int(part) * size for part, size in zip(str(text).split(":"), (3600, 60, 1), strict=False))
                      for text in (window.start, window.end))  # fmt: skip
        for day, low, high in ((local, start, end if end > start else 86_400), (local - timedelta(days=1), -1, end)):
            begins = window.days is None or (window.days == "sun") == (day.weekday() == 6)
            if window.days == "mon-fri":
                begins = day.weekday() < 5
            if low <= second < high and begins and (low >= 0 or end <= start):
                return True
    return False


def check_dark(trigger: Trigger, first_us: int, now_us: int, rules: Policy, steps: int) -> None:
    due, overdue = decided(trigger, first_us, now_us, rules, steps)
    instants = [first_us]
    while (at_us := trigger.next_us(instants[-1])) is not None and at_us <= now_us:
        instants.append(at_us)
    dark = [at_us for at_us in instants if in_the_dark(at_us, list(rules.blackout))]
    fate = fate_of([at_us for at_us in instants if at_us not in set(dark)], now_us, rules)
    assert [tuple(planned) for planned in due.runs] == fate.runs
    for recorded, expected in ((due.skips, fate.skipped), (due.dark, dark)):
        assert sum(planned.stands_for for planned in recorded) == len(expected)
        assert {planned.scheduled_us for planned in recorded} <= set(expected)
        if len(expected) <= RECORDS:
            assert recorded == tuple(Planned(at_us) for at_us in expected)
    assert overdue.count == sum(planned.stands_for for planned in due.runs + due.skips + due.dark) == len(instants)


@settings(max_examples=1_000)
@given(st.lists(st.integers(1, 600 * SECOND), max_size=60), st.integers(0, 600 * SECOND), WINDOWS, POLICIES, STEPS)
def test_every_due_fire_is_a_run_or_skipped_as_missed_or_for_a_blackout(
    gaps: list[int], lateness: int, windows: list[Blackout], rules: Policy, steps: int
) -> None:
    instants = [CHANGE]
    for gap in gaps:
        instants.append(instants[-1] + gap)
    rules = replace(rules, blackout=tuple(windows))
    check_dark(Listed(tuple(instants)), CHANGE, instants[len(instants) // 2] + lateness, rules, steps)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([SECOND // 4, SECOND, 10 * SECOND, 3_600 * SECOND]),
    st.integers(0, 6_000),
    WINDOWS,
    POLICIES,
    STEPS,
    st.booleans(),
)
def test_leaps_of_an_interval_keep_to_their_side_of_a_blackout(
    period_us: int, fires: int, windows: list[Blackout], rules: Policy, steps: int, bound: bool
) -> None:
    trigger: Trigger = Every(timedelta(microseconds=period_us), from_us(CHANGE))
    if bound:
        trigger = Between(trigger, None, from_us(CHANGE + max(1, fires // 2) * period_us))
    check_dark(trigger, CHANGE, CHANGE + fires * period_us, replace(rules, blackout=tuple(windows)), steps)


def test_a_year_of_seconds_with_a_blackout_each_night_is_arithmetic_too() -> None:
    rules = policy(blackout="02:00-04:00")
    overdue = Overdue(Every("1s", from_us(START)), START, START + YEAR // timedelta(microseconds=1), rules, "UTC")
    turns = 1
    while not overdue.walk(5_000):
        turns += 1
    assert turns < 300
    due = due_fires(overdue, rules)
    assert [one.stands_for for one in due.dark] == [365 * 7_200]
    assert [one.stands_for for one in due.runs] == [365 * 79_200 + 1]


def test_fires_of_a_pause_are_recorded_together_whether_dark_or_not() -> None:
    rules = policy(blackout=Blackout(from_us(START + 20 * SECOND), from_us(START + 30 * SECOND)))
    overdue = Overdue(Every("10s", from_us(START)), START + 10 * SECOND, START + 40 * SECOND, rules, "UTC")
    assert overdue.walk(100)
    assert planned(overdue.records()) == [(10, 1), (20, 1), (30, 1), (40, 1)]


def test_what_is_dark_is_no_longer_missed() -> None:
    due = every_10_s(65, missed="skip", blackout=Blackout(from_us(START + 20 * SECOND), from_us(START + 40 * SECOND)))
    assert (planned(due.skips), planned(due.dark)) == ([(10, 1), (40, 1), (50, 1), (60, 1)], [(20, 1), (30, 1)])
    fresh = every_10_s(20, missed="latest", blackout=Blackout(from_us(START), from_us(START + 15 * SECOND)))
    assert (planned(fresh.runs), planned(fresh.dark), fresh.skips) == ([(20, 1)], [(10, 1)], ())
    none = every_10_s(20, blackout=Blackout(from_us(START), from_us(START + 60 * SECOND)))
    assert (none.runs, planned(none.dark)) == ((), [(10, 1), (20, 1)])


# --- with jitter


@settings(max_examples=1_000)
@given(
    st.integers(1, 40 * SECOND),
    st.integers(1, 100 * SECOND),
    st.integers(0, 600 * SECOND),
    POLICIES,
    STEPS,
)
def test_with_jitter_it_is_the_jittered_instant_that_is_due_late_or_old(
    period: int, jitter: int, lateness: int, rules: Policy, steps: int
) -> None:
    trigger = Every(timedelta(microseconds=max(period, (lateness + jitter) // 800 + 1)), from_us(START))
    rules = replace(rules, jitter=timedelta(microseconds=jitter))

    def starts(at_us: int) -> int:
        return jittered_us("t", at_us, jitter)

    now_us = starts(START) + lateness
    instants = []
    at_us: int | None = START
    while at_us is not None and starts(at_us) <= now_us:
        instants.append(at_us)
        at_us = trigger.next_us(at_us)
    overdue = Overdue(trigger, START, now_us, rules, "UTC", "t")
    while not overdue.walk(steps):
        pass
    due, fate = due_fires(overdue, rules), fate_of(instants, now_us, rules, starts)
    assert (overdue.count, overdue.next_us) == (len(instants), at_us)
    assert [tuple(planned) for planned in due.runs] == fate.runs
    assert sum(planned.stands_for for planned in due.skips) == len(fate.skipped)
    assert {planned.scheduled_us for planned in due.skips} <= set(fate.skipped)


@pytest.mark.parametrize(("jitter", "most_asked"), [("1m", 10_000), ("2h", 40_000)])
def test_a_year_of_jittered_seconds_is_arithmetic_too(jitter: str, most_asked: int) -> None:
    asked = 0

    class Counted(Every):
        def next_us(self, after_us: int) -> int | None:
            nonlocal asked
            asked += 1
            return super().next_us(after_us)

    rules = policy(jitter=jitter, grace="1h")
    now_us = START + YEAR // timedelta(microseconds=1)
    overdue = Overdue(Counted("1s", from_us(START)), START, now_us, rules, "UTC", "t")
    while not overdue.walk(500):
        pass
    due = due_fires(overdue, rules)
    assert sum(one.stands_for for one in due.runs + due.skips) == overdue.count
    for number, border_us in ((overdue.count, now_us + 1), (overdue.old, now_us - 3_600 * SECOND)):
        before, after = (overdue.starts_us(START + at * SECOND) for at in (number - 1, number))
        assert before < border_us <= after
    assert overdue.next_us == START + overdue.count * SECOND
    assert asked < most_asked


def test_the_fires_of_a_pause_go_by_their_nominal_instants() -> None:
    trigger, rules = Every("10s", from_us(START)), policy(jitter="1h")
    overdue = Overdue(trigger, START, START + 60 * SECOND, rules)
    assert overdue.walk(100)
    assert [one.scheduled_us for one in overdue.records()] == [START + at * 10 * SECOND for at in range(7)]


# --- by hand


def every_10_s(now_s: float, **options: Any) -> Due:
    """The fires at 10, 20, 30 ... s after the start, handled at ``now_s``."""
    trigger = Every("10s", from_us(START))
    return decided(trigger, START + 10 * SECOND, START + int(now_s * SECOND), policy(**options))[0]


def planned(due: tuple[Planned, ...]) -> list[tuple[int, int]]:
    return [((one.scheduled_us - START) // SECOND, one.stands_for) for one in due]


def test_a_fire_in_time_is_one_run() -> None:
    assert every_10_s(10) == every_10_s(11, missed="skip") == Due((Planned(START + 10 * SECOND),))


def test_a_fire_is_missed_when_it_is_more_than_a_second_late() -> None:
    assert planned(every_10_s(11.0, missed="skip").runs) == [(10, 1)]
    due = every_10_s(11.000001, missed="skip")
    assert (planned(due.runs), planned(due.skips)) == ([], [(10, 1)])


def test_latest_is_one_run_for_all() -> None:
    due = every_10_s(65)
    assert (planned(due.runs), due.skips, due.one_by_one) == ([(60, 6)], (), False)


def test_skip_is_a_record_for_each_and_what_is_in_time_runs() -> None:
    due = every_10_s(60.5, missed="skip")
    assert (planned(due.runs), planned(due.skips)) == ([(60, 1)], [(at, 1) for at in (10, 20, 30, 40, 50)])


def test_all_runs_oldest_first_one_after_another_unless_they_may_overlap() -> None:
    due = every_10_s(65, missed="all")
    assert (planned(due.runs), due.skips, due.one_by_one) == ([(at, 1) for at in range(10, 61, 10)], (), True)
    assert not every_10_s(65, missed="all", overlap="allow").one_by_one


def test_all_is_at_most_the_limit_the_latest_of_them() -> None:
    due = every_10_s(65, missed="all", missed_limit=3)
    assert (planned(due.runs), planned(due.skips)) == ([(40, 1), (50, 1), (60, 1)], [(10, 1), (20, 1), (30, 1)])


def test_a_limit_of_none_at_all_leaves_what_is_in_time() -> None:
    due = every_10_s(60, missed="all", missed_limit=0)
    assert (planned(due.runs), len(due.skips)) == ([(60, 1)], 5)


@pytest.mark.parametrize(
    ("missed", "runs", "skips"),
    [
        ("latest", [(60, 3)], [(10, 1), (20, 1), (30, 1)]),
        ("all", [(40, 1), (50, 1), (60, 1)], [(10, 1), (20, 1), (30, 1)]),
        ("skip", [], [(at, 1) for at in range(10, 61, 10)]),
    ],
)
def test_what_is_older_than_the_grace_is_skipped(
    missed: str, runs: list[tuple[int, int]], skips: list[tuple[int, int]]
) -> None:
    due = every_10_s(65, missed=missed, grace="25s")
    assert (planned(due.runs), planned(due.skips)) == (runs, skips)


def test_without_any_grace_only_what_is_in_time_runs() -> None:
    due = every_10_s(61, grace="0s")
    assert (planned(due.runs), len(due.skips)) == ([(60, 1)], 5)
    assert every_10_s(62, grace="0s").runs == ()


def test_the_old_are_told_from_the_young_however_many_those_are() -> None:
    trigger = Every("1s", from_us(START))
    due, _ = decided(trigger, START, START + 3_599 * SECOND, policy(grace="50m"))
    assert (planned(due.runs), planned(due.skips)) == ([(3_599, 3_001)], [(598, 599)])


def test_many_skips_share_one_record_that_counts_them() -> None:
    assert len(every_10_s(1_005, missed="skip").skips) == 100
    assert planned(every_10_s(1_015, missed="skip").skips) == [(1_010, 101)]
    due = every_10_s(5_005, missed="all", missed_limit=2)
    assert (planned(due.runs), planned(due.skips)) == ([(490 * 10 + 90, 1), (5_000, 1)], [(4_980, 498)])


# --- long absences


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
@pytest.mark.parametrize("grace", [None, "1d", "1h"])
def test_a_year_of_missed_seconds_of_an_interval_is_arithmetic(missed: str, grace: str | None) -> None:
    asked = 0

    class Counted(Every):
        def next_us(self, after_us: int) -> int | None:
            nonlocal asked
            asked += 1
            return super().next_us(after_us)

    rules = policy(missed=missed, grace=grace)
    overdue = Overdue(Counted("1s", from_us(START)), START + SECOND, START + YEAR // timedelta(microseconds=1), rules)
    while not overdue.walk(5_000):
        pass
    due = due_fires(overdue, rules)
    seconds = YEAR // timedelta(seconds=1)
    assert overdue.count == seconds
    assert sum(one.stands_for for one in due.runs + due.skips) == seconds
    assert planned(due.runs)[-1][0] == seconds
    if grace is not None:
        old = seconds - (86_400 if grace == "1d" else 3_600) - 1
        assert planned(due.skips)[0] == (old, old)
    assert asked < 10_000
    assert len(overdue.kept) < 1_200


def test_a_long_absence_of_a_cron_line_is_counted_in_steps() -> None:
    trigger = Cron("* * * * * *").bind(Binding(zone="UTC", anchor_us=START))
    overdue = Overdue(trigger, START, START + 2_999 * SECOND, DEFAULT_POLICY)
    steps = [overdue.walk(1_000) for _ in range(3)]
    assert steps == [False, False, True]
    assert due_fires(overdue, DEFAULT_POLICY).runs == (Planned(START + 2_999 * SECOND, 3_000),)
    assert overdue.next_us == START + 3_000 * SECOND


def test_a_trigger_that_ends_while_it_is_overdue_has_no_next_fire() -> None:
    due, overdue = decided(Once(from_us(START)), START, START + 86_400 * SECOND, DEFAULT_POLICY)
    assert (due.runs, overdue.next_us) == ((Planned(START),), None)


@pytest.mark.parametrize("missed", ["latest", "skip", "all"])
def test_thousands_of_fires_within_a_second_are_each_accounted_for_once(missed: str) -> None:
    trigger = Every(timedelta(microseconds=100), from_us(START))
    due, overdue = decided(trigger, START, START + 2 * SECOND, policy(missed=missed))
    assert overdue.count == sum(one.stands_for for one in due.runs + due.skips) == 20_001
    assert len(due.runs) + len(due.skips) <= 1_000 + 2 * RECORDS + 1
    instants = [one.scheduled_us for one in due.runs]
    assert instants == sorted(set(instants))


# --- the first fire


@pytest.mark.parametrize(
    ("trigger", "immediate", "first_s"),
    [
        (Every("10s", from_us(START)), False, 10),
        (Every("10s", from_us(START)), True, 5),
        (Once(from_us(START + 60 * SECOND)), False, 60),
        (Once(from_us(START - 60 * SECOND)), False, -60),
        (Once(from_us(START - 60 * SECOND)), True, 5),
        (Never(), False, None),
        (Between(Every("10s", from_us(START)), from_us(START + 35 * SECOND)), False, 40),
        (Between(Every("10s", from_us(START)), from_us(START + 35 * SECOND)), True, 35),
        (Between(Every("10s", from_us(START)), from_us(START)), True, 5),
        (Between(Every("10s", from_us(START)), None, from_us(START + 5 * SECOND)), True, None),
        (Between(Once(from_us(START - 60 * SECOND)), None, from_us(START)), False, -60),
        (Between(Once(from_us(START - 60 * SECOND)), from_us(START)), False, None),
    ],
)
def test_when_a_new_task_first_fires(trigger: Trigger, immediate: bool, first_s: int | None) -> None:
    found = first_fire(trigger, START + 5 * SECOND, immediate=immediate)
    assert found == (None if first_s is None else START + first_s * SECOND)


# --- as often as it may


@pytest.mark.parametrize(("most", "made", "over"), [(None, 10**9, False), (3, 2, False), (3, 3, True), (3, 4, True)])
def test_a_task_fires_no_more_when_it_has_run_as_often_as_it_may(most: int | None, made: int, over: bool) -> None:
    assert exhausted(policy(max_runs=most), made) is over

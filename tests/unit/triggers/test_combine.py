"""AnyOf, AllOf, Except, Between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.clock import to_us
from asyncsched.errors import TriggerError
from asyncsched.triggers import (
    AllOf,
    AnyOf,
    Between,
    Binding,
    Calendar,
    Cron,
    Daily,
    Every,
    Except,
    Never,
    Once,
    Trigger,
)
from effort import LINES_IN_50_MS, counted_lines, lines_of

T0 = datetime(2025, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def utc(trigger: Trigger, start: datetime, end: datetime) -> list[datetime]:
    return [fire.astimezone(UTC) for fire in trigger.between(start, end)]


def first(trigger: Trigger, count: int, start: datetime = T0) -> list[str]:
    return [f"{fire:%m-%d %H:%M:%S}" for fire in islice(trigger.upcoming(start), count)]


def at(hour: int, day: int = 1) -> datetime:
    return datetime(2025, 1, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    "parts",
    [
        (Cron("*/7 * * * *", tz="UTC"), Every("11m", start=T0)),
        (Daily("09:00", tz="Europe/Berlin"), Every("2h", start=T0), Cron("0 8 * * *", tz="UTC")),
        (Daily("02:30", tz="America/New_York"), Cron("0 3 * * *", tz="America/New_York")),
        (Every("6m", start=T0), Every("10m", start=T0 + timedelta(minutes=2)), Cron("12 * * * *", tz="UTC")),
    ],
)
def test_any_and_all_are_the_union_and_the_section_of_the_sets(parts: tuple[Trigger, ...]) -> None:
    start, end = datetime(2025, 3, 1, tzinfo=UTC), datetime(2025, 3, 31, 2, tzinfo=UTC)
    sets = [set(utc(part, start, end)) for part in parts]
    assert utc(AnyOf(*parts), start, end) == sorted(set.union(*sets))
    assert utc(AllOf(*parts), start, end) == sorted(set.intersection(*sets))
    assert sets[0].intersection(*sets[1:]), "the parts are chosen so that they meet"


def test_intervals_meet_by_arithmetic() -> None:
    one, other = Every("1001m", start=T0), Every("14h", start=T0 + timedelta(minutes=7))
    found, lines = lines_of(lambda: AllOf(one, other).next_after(T0))
    assert lines < 500  # a look at each fire would take thousands
    grid = {T0 + k * timedelta(minutes=1001) for k in range(2000)}
    assert found == next(fire for fire in other.upcoming(T0) if fire in grid)


def test_common_intervals_begin_with_the_later_start() -> None:
    late = AllOf(Every("2h", start=T0), Every("3h", start=T0 + 99 * HOUR))
    assert late.next_after(T0) == T0 + 102 * HOUR
    assert late.next_after(T0 + 102 * HOUR) == T0 + 108 * HOUR


def test_intervals_that_never_meet_are_refused_where_it_can_be_seen() -> None:
    odd = Every("2h", start=T0 + HOUR)
    with pytest.raises(TriggerError, match="never meet"):
        AllOf(Every("4h", start=T0), odd)
    still_open = AllOf(Every("4h"), odd)
    with pytest.raises(TriggerError, match="never meet"):
        still_open.bind(Binding(zone="UTC", anchor_us=to_us(T0)))
    bound = still_open.bind(Binding(zone="UTC", anchor_us=to_us(T0 + HOUR)))
    assert bound.next_after(T0) == T0 + HOUR


@pytest.mark.parametrize(
    "trigger",
    [
        AllOf(Daily("09:00", tz="UTC"), Daily("09:30", tz="UTC")),
        AllOf(Cron("* * * * * mon", tz="UTC"), Cron("* * * * * tue", tz="UTC")),
        AllOf(Every("1s", start=T0), Cron("*/2 * * * *", tz="UTC"), Cron("1-59/2 * * * *", tz="UTC")),
        Except(Every("1s", start=T0), Every("500ms", start=T0)),
        Except(Cron("* * * * * *", tz="Europe/Rome"), Cron("*/1 * * * * *", tz="Europe/Rome")),
    ],
)
def test_a_search_without_end_is_ended_and_told(trigger: Trigger) -> None:
    with counted_lines() as lines, pytest.raises(TriggerError, match=r"in sight.*2025-01-01"):
        trigger.next_after(T0)
    assert lines.count < LINES_IN_50_MS  # 30,000 to 240,000
    with pytest.raises(TriggerError, match="in sight"):
        trigger.bind(Binding(zone="UTC", anchor_us=to_us(T0)))


def test_what_has_ended_is_an_end_and_no_error() -> None:
    past = Once(datetime(2020, 1, 1, tzinfo=UTC))
    for trigger in (AllOf(past, Daily("00:00", tz="UTC")), Except(past, "sat"), Between(Never(), T0)):
        assert trigger.bind(Binding(zone="UTC", anchor_us=to_us(T0))).next_after(T0) is None
    assert AnyOf(past, Once(T0)).next_after(past.at) == T0


BERLIN = "Europe/Berlin"
LEFT_OUT: list[tuple[tuple[Any, ...], Callable[[datetime], bool]]] = [
    (("sat", "sunday"), lambda local: local.isoweekday() > 5),
    (
        ("mon-wed", date(2025, 3, 30), "2025-10-26"),
        lambda local: local.isoweekday() < 4 or (local.month, local.day) in {(3, 30), (10, 26)},
    ),
    ((Cron("* * * * * sun", tz=BERLIN),), lambda local: local.isoweekday() == 7),
    ((Cron("0-29 * * * *", tz=BERLIN),), lambda local: local.minute < 30 and local.second == 0),
    (
        (Cron("* 8-17 * * *", tz=BERLIN), Cron("* * * 3 * *", tz=BERLIN)),
        lambda local: (8 <= local.hour < 18 and local.second == 0) or local.day == 3,
    ),
    (
        (Cron("0 * * * 10 sun", tz=BERLIN), Cron("@daily", tz=BERLIN)),
        lambda local: (
            (local.second == 0 and local.month == 10 and local.isoweekday() == 7) or f"{local:%H:%M:%S}" == "00:00:00"
        ),
    ),
    (
        (AnyOf(Cron("* 2 * * *", tz=BERLIN), Daily("09:00", tz=BERLIN)),),
        lambda local: (local.hour == 2 and local.second == 0) or f"{local:%H:%M:%S}" == "09:00:00",
    ),
]


@pytest.mark.parametrize(("excluded", "left_out"), LEFT_OUT)
@pytest.mark.parametrize("period", ["20m", "37m30s"])
@pytest.mark.parametrize("start", [datetime(2025, 3, 26, tzinfo=UTC), datetime(2025, 10, 24, tzinfo=UTC)])
def test_except_is_what_looking_at_every_instant_leaves(
    excluded: tuple[Any, ...], left_out: Callable[[datetime], bool], period: str, start: datetime
) -> None:
    every = Every(period, start=T0)
    end = start + timedelta(days=8)
    fires = [fire for fire in every.between(start, end) if not left_out(fire.astimezone(ZoneInfo(BERLIN)))]
    assert utc(Except(every, *excluded, tz=BERLIN), start, end) == fires


@pytest.mark.parametrize(
    ("trigger", "fires"),
    [
        (Except(Every("1s", start=T0), Cron("* * * * * wed,thu", tz="UTC")), ["01-03 00:00:00", "01-03 00:00:01"]),
        (Except(Every("1s", start=T0), Cron("* * 0-17 * * *", tz="UTC")), ["01-01 18:00:00", "01-01 18:00:01"]),
        (Except(Every("1m", start=T0), Cron("* * * 1-8 *", tz="UTC")), ["09-01 00:00:00", "09-01 00:01:00"]),
        (Except(Cron("* * * * * *", tz="UTC"), Cron("* 0-9 * * *", tz="UTC")), ["01-01 00:00:01", "01-01 00:00:02"]),
        (Except(Every("500ms", start=T0), Cron("* * * * * *", tz="UTC")), ["01-01 00:00:00", "01-01 00:00:01"]),
    ],
)
def test_days_and_hours_are_passed_at_once(trigger: Trigger, fires: list[str]) -> None:
    found, lines = lines_of(partial(first, trigger, 2))
    assert found == fires
    assert lines < 60_000  # two days are 172,800 seconds


def test_the_days_left_out_are_those_of_the_zone() -> None:
    saturday_in_seoul = Except(Every("1h", start=T0), "sat", tz="Asia/Seoul")
    assert first(saturday_in_seoul, 1, at(14, 3)) == ["01-04 15:00:00"]
    by_trigger = Except(Daily("08:00", tz="Asia/Seoul"), "2025-01-02")
    assert str(by_trigger.next_after(T0)) == "2025-01-03 08:00:00+09:00"
    bound = Except(Every("1h", start=T0), "sat").bind(Binding(zone="Asia/Seoul", anchor_us=0))
    assert bound == saturday_in_seoul
    assert by_trigger.bind(Binding(zone="UTC", anchor_us=0)).tz == "Asia/Seoul"


def test_a_day_that_the_clock_comes_back_to_is_left_out_twice() -> None:
    # In Sao Paulo midnight of Sunday, 18 February 2018, was 23:00 of the Saturday once more.
    half_hours = Every("30m", start=datetime(2018, 1, 1, tzinfo=UTC))
    trigger = Except(half_hours, "saturday", tz="America/Sao_Paulo")
    assert trigger.next_after(datetime(2018, 2, 17, 12, tzinfo=UTC)) == datetime(2018, 2, 18, 3, tzinfo=UTC)


def test_between_takes_its_start_and_not_its_end() -> None:
    hourly = Every("1h", start=T0)
    assert first(Between(hourly, at(10), at(13)), 9) == ["01-01 10:00:00", "01-01 11:00:00", "01-01 12:00:00"]
    assert first(Between(hourly, end=at(2)), 9) == ["01-01 01:00:00"]
    assert first(Between(hourly, start=at(5)), 1) == ["01-01 05:00:00"]


def test_naive_bounds_are_in_the_zone_of_the_trigger_then_of_the_task() -> None:
    start = datetime(2024, 11, 3, 1, 30, fold=1)
    own = Between(Daily("01:45", tz="America/New_York", overlap="both"), start)
    assert own.bind(Binding(zone="UTC", anchor_us=0)).start == datetime(2024, 11, 3, 6, 30, tzinfo=UTC)
    assert own.next_us(0) == to_us(datetime(2024, 11, 3, 6, 45, tzinfo=UTC))
    tasks = Between(Every("1h"), datetime(2025, 1, 1, 12)).bind(Binding(zone="Asia/Seoul", anchor_us=0))
    assert tasks.start == at(3)


def test_parts_are_bound_with_the_whole() -> None:
    binding = Binding(zone="Asia/Seoul", anchor_us=to_us(T0), key="app:f")
    parts = (Daily("09:00"), Every("1h"), Cron("H 9 * * *"))
    bound = tuple(part.bind(binding) for part in parts)
    assert AnyOf(*parts).bind(binding) == AnyOf(*bound)
    assert AllOf(*parts[:2]).bind(binding) == AllOf(*bound[:2])
    assert Except(*parts[1:]).bind(binding) == Except(*bound[1:], tz="Asia/Seoul")
    assert Between(parts[0], T0).bind(binding) == Between(bound[0], T0)


def test_instants_are_shown_in_the_first_zone_among_the_parts() -> None:
    for trigger in (
        AnyOf(Every("1h"), Daily("09:00", tz="Asia/Seoul"), Daily("09:00", tz="UTC")),
        AllOf(Every("1h"), Daily("09:00", tz="Asia/Seoul")),
        Except(AnyOf(Daily("09:00", tz="Asia/Seoul")), "sat"),
        Between(Daily("09:00", tz="Asia/Seoul"), T0),
    ):
        found = trigger.next_after(T0)
        assert found is not None
        assert found.utcoffset() == timedelta(hours=9)


@dataclass(frozen=True)
class Hourly(Trigger):
    """A user's own trigger, of which nothing is known but its answers."""

    def next_after(self, moment: datetime) -> datetime | None:
        return moment.replace(minute=0, second=0, microsecond=0) + HOUR


def test_users_triggers_are_combined_too() -> None:
    assert first(AllOf(Hourly(), Daily("09:00", tz="UTC")), 2) == ["01-01 09:00:00", "01-02 09:00:00"]
    assert first(Except(Hourly(), Cron("* 2-22 * * *", tz="UTC")), 3) == [
        "01-01 01:00:00",
        "01-01 23:00:00",
        "01-02 00:00:00",
    ]


@pytest.mark.parametrize(
    "make",
    [
        AnyOf,
        AllOf,
        lambda: AnyOf("every 5s"),
        lambda: AllOf(T0),
        lambda: Except(Daily("09:00")),
        lambda: Except("daily", "sat"),
        lambda: Except(Daily("09:00"), "mon-sun"),
        lambda: Except(Daily("09:00"), "someday"),
        lambda: Except(Daily("09:00"), "2025-02-30"),
        lambda: Except(Daily("09:00"), T0),
        lambda: Except(Daily("09:00"), "* * * * sat"),
        lambda: Between(Daily("09:00")),
        lambda: Between(Daily("09:00"), T0, T0),
        lambda: Between(Daily("09:00"), datetime(2025, 1, 2), datetime(2025, 1, 1)),
        lambda: Between(Daily("09:00"), "2025-01-01"),
        lambda: Between(None, T0),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], Trigger]) -> None:
    with pytest.raises(TriggerError):
        make()


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (AnyOf(Every("2s"), Every("3s")), "every 2 seconds or every 3 seconds"),
        (AllOf(Every("2s"), Daily("09:00")), "every 2 seconds and also every day at 09:00"),
        (
            Except(Daily("09:00"), "2025-12-25", "sun", "sat"),
            "every day at 09:00, except saturday, sunday and 2025-12-25",
        ),
        (Except(Every("1h"), Daily("09:00")), "every hour, except every day at 09:00"),
        (Between(Daily("09:00"), T0, at(5)), "every day at 09:00, from 2025-01-01T00:00Z, until 2025-01-01T05:00Z"),
    ],
)
def test_words(trigger: Trigger, words: str) -> None:
    assert trigger.describe() == words
    assert Trigger.from_json(trigger.to_json()) == trigger


def test_a_pause_of_years_costs_nothing() -> None:
    trigger = AllOf(
        Every("1s", start=T0), Calendar("00:00", years=50, on="1 january", start=date(2000, 1, 1), tz="UTC")
    )
    found, lines = lines_of(partial(trigger.next_after, T0))
    assert found == datetime(2050, 1, 1, tzinfo=UTC)
    assert lines < 12_000

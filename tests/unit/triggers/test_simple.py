"""Every, Daily, Once and Never."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.clock import to_us
from asyncsched.errors import ConfigError, TriggerError
from asyncsched.triggers import Binding, Cron, Daily, Every, Never, Once, Trigger

T0 = datetime(2025, 1, 1, tzinfo=UTC)
NEW_YORK = "America/New_York"


def first(trigger: Trigger, count: int, start: datetime = T0) -> list[datetime]:
    return list(islice(trigger.upcoming(start), count))


def shown(trigger: Trigger, count: int, start: datetime = T0) -> list[str]:
    return [f"{fire:%m-%d %H:%M %Z}" for fire in first(trigger, count, start)]


def test_every_is_its_start_and_each_period_after_it() -> None:
    every = Every("1h30m", start=datetime(2025, 1, 1, 0, 0, 0, 7, tzinfo=UTC))
    assert first(every, 3) == [
        datetime(2025, 1, 1, 0, 0, 0, 7, tzinfo=UTC) + k * timedelta(minutes=90) for k in range(3)
    ]
    assert every.next_after(datetime(1980, 1, 1, tzinfo=UTC)) == every.start


def test_every_has_no_drift_after_a_billion_periods() -> None:
    every = Every(timedelta(microseconds=333_333), start=T0)
    fire = T0 + 1_000_000_000 * timedelta(microseconds=333_333)
    assert every.next_after(fire - timedelta(microseconds=1)) == fire
    assert every.next_after(fire) == fire + timedelta(microseconds=333_333)


def test_every_never_looks_at_a_wall_clock() -> None:
    every = Every("1h").bind(Binding(zone=NEW_YORK, anchor_us=to_us(datetime(2024, 3, 10, 4, 30, tzinfo=UTC))))
    fires = [fire.astimezone(ZoneInfo(NEW_YORK)).strftime("%H:%M") for fire in first(every, 4, every.start)]
    assert fires == ["00:30", "01:30", "03:30", "04:30"]


def test_every_without_start_counts_from_the_epoch_until_it_is_bound() -> None:
    assert first(Every("7h"), 1, datetime(1970, 1, 1, tzinfo=UTC)) == [datetime(1970, 1, 1, 7, tzinfo=UTC)]
    bound = Every("7h").bind(Binding(zone="UTC", anchor_us=to_us(T0) + 5))
    assert bound.next_after(T0) == T0 + timedelta(microseconds=5)
    assert bound.bind(Binding(zone="UTC", anchor_us=0)) == bound


@pytest.mark.parametrize(
    ("start", "instant"),
    [
        (datetime(2024, 3, 10, 2, 30), datetime(2024, 3, 10, 7, tzinfo=UTC)),
        (datetime(2024, 11, 3, 1, 30), datetime(2024, 11, 3, 5, 30, tzinfo=UTC)),
        (datetime(2024, 11, 3, 1, 30, fold=1), datetime(2024, 11, 3, 6, 30, tzinfo=UTC)),
    ],
)
def test_a_naive_start_of_every_is_in_the_bound_zone(start: datetime, instant: datetime) -> None:
    assert Every("1d", start=start).bind(Binding(zone=NEW_YORK, anchor_us=0)).start == instant


@pytest.mark.parametrize("period", ["0s", "36526d", timedelta(0), timedelta(seconds=-1), 5, None])
def test_every_refuses_periods_that_are_none(period: Any) -> None:
    with pytest.raises(TriggerError, match="period="):
        Every(period)


def test_every_ends_with_the_year_2199() -> None:
    assert Every("1d").next_after(datetime(2199, 12, 30, 23, tzinfo=UTC)) == datetime(2199, 12, 31, tzinfo=UTC)
    assert Every("1d").next_after(datetime(2199, 12, 31, tzinfo=UTC)) is None
    assert Every("1d").next_after(datetime.max.replace(tzinfo=UTC)) is None


@pytest.mark.parametrize(
    ("at", "days", "lines"),
    [
        ("02:30", None, ["30 2 * * *"]),
        ("02:30:15", "mon-fri", ["15 30 2 * * mon-fri"]),
        (["01:30", "02:15"], "sat,sun", ["30 1 * * 6,0", "15 2 * * 6,0"]),
        ("00:00", "fri-mon", ["0 0 * * fri-mon"]),
        (time(1, 59, 59), "7", ["59 59 1 * * 0"]),
    ],
)
@pytest.mark.parametrize("zone", [NEW_YORK, "Australia/Lord_Howe", "America/Sao_Paulo", "Pacific/Apia"])
@pytest.mark.parametrize("options", [{}, {"gap": "skip", "overlap": "both"}, {"overlap": "last"}])
def test_daily_is_its_cron_lines(
    at: Any, days: str | None, lines: list[str], zone: str, options: dict[str, Any]
) -> None:
    start, end = datetime(2011, 6, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC)
    # In UTC: in their own zone the two passes of a doubled time are equal datetimes.
    expected = {fire.astimezone(UTC) for line in lines for fire in Cron(line, tz=zone, **options).between(start, end)}
    found = [fire.astimezone(UTC) for fire in Daily(at, days, tz=zone, **options).between(start, end)]
    assert found == sorted(expected)


def test_between_two_moments_of_one_zone_is_between_two_instants() -> None:
    zone = ZoneInfo(NEW_YORK)
    gap = datetime(2024, 3, 10, 3, tzinfo=zone)
    assert list(Daily("02:30", tz=NEW_YORK).between(gap, gap + timedelta(hours=1))) == [gap]
    second_pass = datetime(2024, 11, 3, 1, 30, fold=1, tzinfo=zone)
    fires = Every("15m").between(datetime(2024, 11, 3, 1, 30, tzinfo=zone), second_pass)
    assert [f"{fire:%H:%M}" for fire in fires] == ["05:30", "05:45", "06:00", "06:15"]


def test_daily_in_a_gap_and_an_overlap() -> None:
    daily = Daily("02:30", tz=NEW_YORK)
    assert shown(daily, 2, datetime(2024, 3, 9, 12, tzinfo=UTC)) == ["03-10 03:00 EDT", "03-11 02:30 EDT"]
    assert shown(Daily("01:30", tz=NEW_YORK), 2, datetime(2024, 11, 3, 5, 40, tzinfo=UTC)) == [
        "11-04 01:30 EST",
        "11-05 01:30 EST",
    ]


def test_daily_is_one_value_however_it_is_spelled() -> None:
    assert Daily(["17:30", "9:00", "09:00:00"], "MON-FRI") == Daily((time(9), "17:30"), "1,2,3,4,5")
    assert Daily("09:00", "mon-sun") == Daily("09:00")
    assert len({Daily("09:00", "sat,sun"), Daily("09:00", "SUN,SAT"), Daily("09:00", "sat,sun", tz="UTC")}) == 2
    assert Daily("09:00", gap="skip") != Daily("09:00")


@pytest.mark.parametrize(
    "at",
    ["25:00", "7pm", "24:00", "12:60", "12:00:60", "1200", "", "٠٩:٠٠", 9, None, [], ["09:00", "x"], time(9, 0, 0, 1)],
)
def test_daily_refuses_what_is_no_time_of_day(at: Any) -> None:
    with pytest.raises(TriggerError, match=r"time of day|at="):
        Daily(at)


@pytest.mark.parametrize("days", ["", "*", "mon#1", "fril", "8", "someday", "mon tue", "H", 5])
def test_daily_refuses_what_are_no_weekdays(days: Any) -> None:
    with pytest.raises(TriggerError, match="week"):
        Daily("09:00", days)


@pytest.mark.parametrize(
    "options", [{"gap": "before"}, {"overlap": "second"}, {"tz": "Mars/Base"}, {"tz": timezone(timedelta(hours=1))}]
)
def test_options_that_are_unknown_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Daily("09:00", **options)
    with pytest.raises(ConfigError):
        Once(T0, **options)


def test_an_open_zone_is_filled_in_once_and_its_instants_are_shown_there() -> None:
    daily = Daily("09:00").bind(Binding(zone="Asia/Seoul", anchor_us=0))
    assert daily == Daily("09:00", tz=ZoneInfo("Asia/Seoul"))
    assert daily.bind(Binding(zone="UTC", anchor_us=0)) == daily
    assert str(daily.next_after(T0)) == "2025-01-02 09:00:00+09:00"


def test_daily_at_both_ends_of_time() -> None:
    assert Daily("09:00", tz="UTC").next_after(datetime(1900, 1, 1, tzinfo=UTC)) == datetime(1970, 1, 1, 9, tzinfo=UTC)
    last = datetime(2199, 12, 31, 9, tzinfo=ZoneInfo("Asia/Tokyo"))
    assert Daily("09:00", tz="Asia/Tokyo").next_after(last - timedelta(hours=1)) == last
    assert Daily("09:00", tz="Asia/Tokyo").next_after(last) is None
    assert Daily("09:00", tz="UTC").next_after(datetime.max.replace(tzinfo=UTC)) is None


def test_once_aware_is_that_instant_and_no_other() -> None:
    once = Once(T0 + timedelta(microseconds=3))
    assert first(once, 9, T0) == [T0 + timedelta(microseconds=3)]
    assert once.next_after(T0 + timedelta(microseconds=3)) is None
    assert once == Once(once.at.astimezone(ZoneInfo("Asia/Seoul")))


@pytest.mark.parametrize(
    ("at", "options", "instants"),
    [
        (datetime(2024, 11, 3, 1, 30), {}, ["05:30"]),
        (datetime(2024, 11, 3, 1, 30, fold=1), {}, ["06:30"]),
        (datetime(2024, 11, 3, 1, 30, fold=1), {"overlap": "first"}, ["05:30"]),
        (datetime(2024, 11, 3, 1, 30), {"overlap": "last"}, ["06:30"]),
        (datetime(2024, 11, 3, 1, 30), {"overlap": "both"}, ["05:30", "06:30"]),
        (datetime(2024, 3, 10, 2, 30), {}, ["07:00"]),
        (datetime(2024, 3, 10, 2, 30, fold=1), {}, ["07:00"]),
        (datetime(2024, 3, 10, 2, 30), {"gap": "skip"}, []),
        (datetime(2024, 7, 1, 2, 30, fold=1), {}, ["06:30"]),
    ],
)
def test_once_naive_follows_the_clock_of_its_zone(at: datetime, options: dict[str, Any], instants: list[str]) -> None:
    once = Once(at, tz=NEW_YORK, **options)
    found = [f"{fire.astimezone(UTC):%H:%M}" for fire in once.upcoming(datetime(2024, 1, 1, tzinfo=UTC))]
    assert found == instants
    assert Trigger.from_json(once.to_json()) == once


def test_once_on_a_date_that_never_was_is_the_first_instant_after() -> None:
    once = Once(datetime(2011, 12, 30, 12), tz="Pacific/Apia")
    assert once.next_after(datetime(2011, 12, 1, tzinfo=UTC)) == datetime(2011, 12, 30, 10, tzinfo=UTC)


def test_once_tells_the_two_passes_apart() -> None:
    passes = [Once(datetime(2024, 11, 3, 1, 30, fold=fold), tz=NEW_YORK) for fold in (0, 1)]
    assert passes[0] != passes[1]
    assert passes[1] == Once(datetime(2024, 11, 3, 1, 30), tz=NEW_YORK, overlap="last")


@pytest.mark.parametrize("at", ["2025-01-01", date(2025, 1, 1), datetime(1969, 12, 31), datetime(2200, 1, 1)])
def test_once_refuses_what_is_no_moment(at: Any) -> None:
    with pytest.raises(TriggerError, match="at="):
        Once(at)


def test_never_is_never() -> None:
    assert Never().next_after(T0) is None
    assert Trigger.from_json(Never().to_json()) == Never()


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (Every("5s"), "every 5 seconds"),
        (Every("60s"), "every minute"),
        (Every("2d"), "every 48 hours"),
        (Every("90m"), "every 1h30m"),
        (Every("1h", start=datetime(2026, 1, 1, 8)), "every hour from 2026-01-01 08:00"),
        (Every("1h", start=datetime(2026, 1, 1, 8, tzinfo=UTC)), "every hour from 2026-01-01T08:00Z"),
        (Daily(["09:00", "17:30"]), "every day at 09:00 and 17:30"),
        (Daily("09:00", "mon-fri", tz="Europe/Berlin"), "every weekday at 09:00 in Europe/Berlin"),
        (Daily("09:00", "sun,mon"), "every monday and sunday at 09:00"),
        (Daily("09:00", gap="skip"), "every day at 09:00, but not when the clock jumps over it"),
        (Once(datetime(2027, 1, 1)), "once at 2027-01-01 00:00"),
        (Once(T0, overlap="both"), "once at 2025-01-01T00:00Z, in both passes of a doubled hour"),
        (Never(), "never"),
    ],
)
def test_words(trigger: Trigger, words: str) -> None:
    assert trigger.describe() == words


def test_naive_moments_are_no_instants() -> None:
    for trigger in (Every("1s"), Daily("09:00"), Once(T0), Never()):
        with pytest.raises(TriggerError, match="naive"):
            trigger.next_after(datetime(2025, 1, 1))


def test_a_bound_interval_is_the_one_that_begins_there() -> None:
    begin = datetime(2026, 1, 1, 0, 0, 0, 123, tzinfo=UTC)
    bound = Every("5m").bind(Binding(zone="UTC", anchor_us=to_us(begin)))
    made = Every("5m", start=begin)
    assert (bound, hash(bound), str(bound), bound.grid_us) == (made, hash(made), str(made), made.grid_us)
    assert pickle.loads(pickle.dumps(bound)) == bound


def test_binding_an_heir_of_an_interval_keeps_what_it_adds() -> None:
    @dataclass(frozen=True)
    class Shift(Every):
        name: str = ""

    bound = Shift("8h", name="early").bind(Binding(zone="UTC", anchor_us=0))
    assert bound == Shift("8h", datetime(1970, 1, 1, tzinfo=UTC), name="early")

"""The rows of features about triggers other than cron lines: intervals, calendars, sets of triggers, English."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.clock import to_us
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
    parse_trigger,
)

T0 = datetime(2025, 1, 1, tzinfo=UTC)
T1 = datetime(2026, 1, 1, tzinfo=UTC)


def first(trigger: Trigger, count: int, start: datetime = T0) -> list[datetime]:
    return [fire.astimezone(UTC) for fire in islice(trigger.upcoming(start), count)]


def dates(trigger: Trigger, count: int, start: datetime = T0) -> list[str]:
    return [f"{fire:%Y-%m-%d}" for fire in islice(trigger.upcoming(start), count)]


def reloaded(trigger: Trigger) -> Trigger:
    """The trigger as a store gives it back: through JSON text."""
    return Trigger.from_json(json.loads(json.dumps(trigger.to_json())))


@pytest.mark.feature("PE1")
def test_pe1_a_calendar_counts_months_and_weeks_and_knows_nth_and_last_weekdays() -> None:
    friday = parse_trigger("last friday of the month at 09:00")
    assert friday == Calendar("09:00", months=1, on="last friday")
    in_zone = friday.bind(Binding(zone="Europe/Berlin", anchor_us=to_us(T0)))
    assert first(in_zone, 3) == [datetime(2025, *day, 8, tzinfo=UTC) for day in ((1, 31), (2, 28), (3, 28))]
    start = datetime(2024, 12, 31, tzinfo=UTC).date()
    assert dates(Calendar("09:00", months=2, on=31, start=start, tz="UTC"), 4) == [
        "2025-08-31",
        "2025-10-31",
        "2025-12-31",
        "2026-08-31",
    ]
    clamped = Calendar("09:00", months=2, on=31, start=start, tz="UTC", overflow="clamp")
    assert dates(clamped, 4) == ["2025-02-28", "2025-04-30", "2025-06-30", "2025-08-31"]
    assert dates(Calendar(months=1, on="second tuesday", tz="UTC"), 2) == ["2025-01-14", "2025-02-11"]
    assert dates(Calendar(weeks=2, on="monday", start=start, tz="UTC"), 3) == ["2025-01-13", "2025-01-27", "2025-02-10"]


@pytest.mark.feature("PE2")
def test_pe2_except_and_between_say_what_is_left() -> None:
    daily = Except(Daily("09:00", tz="UTC"), "sat", "sun")
    assert [f"{fire:%A}" for fire in first(daily, 2, datetime(2025, 1, 3, tzinfo=UTC))] == ["Friday", "Monday"]
    hours = Between(Every("1h"), T0 + timedelta(hours=10), T0 + timedelta(hours=13))
    assert [fire.hour for fire in first(hours, 9)] == [10, 11, 12]
    assert hours.next_after(T0 + timedelta(hours=12)) is None


HOURLY = Cron("0 * * * *", tz="UTC")
SETS: list[tuple[Trigger, Callable[[int], bool]]] = [
    (
        AllOf(Every("36h", start=T0), Daily(["00:00", "12:00"], "mon-fri", tz="UTC")),
        lambda hour: hour % 36 == 0 and weekday(hour),
    ),
    (AllOf(Cron("0 */3 * * *", tz="UTC"), Cron("0 */4 * * *", tz="UTC")), lambda hour: hour % 12 == 0),
    (Except(Every("7h", start=T0), "sat", "sun", tz="UTC"), lambda hour: hour % 7 == 0 and weekday(hour)),
    (Except(Every("1h", start=T0), Cron("* * * * * sat,sun", tz="UTC")), lambda hour: weekday(hour)),
    (Except(HOURLY, Every("2h", start=T0), Every("3h", start=T0)), lambda hour: hour % 2 != 0 and hour % 3 != 0),
    (
        Between(Every("5h", start=T0), T0 + timedelta(hours=100), T0 + timedelta(hours=3000)),
        lambda hour: hour % 5 == 0 and 100 <= hour < 3000,
    ),
]


@pytest.mark.feature("PE2")
@pytest.mark.parametrize(("trigger", "wanted"), SETS)
def test_pe2_each_is_what_looking_at_every_hour_of_a_year_finds(
    trigger: Trigger, wanted: Callable[[int], bool]
) -> None:
    expected = [T0 + timedelta(hours=hour) for hour in range(365 * 24) if wanted(hour)]
    assert [fire.astimezone(UTC) for fire in trigger.between(T0, T1)] == expected


def weekday(hour: int) -> bool:
    return (T0 + timedelta(hours=hour)).isoweekday() < 6


@dataclass(frozen=True)
class Sunrise(Trigger):
    """A sun that comes up at 07:00 UTC on 1 January, then a minute earlier each day, and earlier still in the east."""

    east: float
    first: datetime = datetime(2025, 1, 1, 7, tzinfo=UTC)
    earlier: timedelta = timedelta(minutes=1)

    def next_after(self, moment: datetime) -> datetime | None:
        rise = self.first - timedelta(minutes=4 * self.east)
        days = max(0, (moment - rise) // (timedelta(days=1) - self.earlier) + 1)
        return rise + days * (timedelta(days=1) - self.earlier)


@pytest.mark.feature("PE5")
def test_pe5_a_users_own_trigger_works_as_a_built_in_one() -> None:
    sunrise = Sunrise(east=-15.0)
    assert [f"{fire:%d %H:%M}" for fire in first(sunrise, 3)] == ["01 08:00", "02 07:59", "03 07:58"]
    again = reloaded(sunrise)
    assert again == sunrise
    assert first(again, 50) == first(sunrise, 50)
    assert parse_trigger(str(sunrise)) == sunrise
    weekdays = reloaded(Except(AnyOf(sunrise, Daily("12:00", tz="UTC")), "sat", "sun"))
    assert [f"{fire:%d %H:%M}" for fire in first(weekdays, 8)[5:]] == ["03 12:00", "06 07:55", "06 12:00"]


@pytest.mark.feature("LS3")
def test_ls3_a_star_in_front_is_every_second_and_the_words_say_so() -> None:
    day = (T0, T0 + timedelta(days=1))
    assert len(list(Cron("* 0 4 * * *", tz="UTC").between(*day))) == 60
    assert Cron("* 0 4 * * *").describe().startswith("every second of 04:00")
    assert len(list(Cron("0 0 4 * * *", tz="UTC").between(*day))) == 1
    assert Cron("0 0 4 * * *").describe().startswith("at 04:00")
    assert len(first(Cron("* 0 4 * * *", tz="UTC"), 5)) == 5


@pytest.mark.feature("LS5")
def test_ls5_any_of_two_intervals_fires_once_an_instant() -> None:
    fires = first(AnyOf(Every("2s", start=T0), Every("3s", start=T0)), 8)
    assert [(fire - T0).seconds for fire in fires] == [2, 3, 4, 6, 8, 9, 10, 12]


@pytest.mark.feature("LS7")
def test_ls7_a_trigger_is_given_as_itself_its_text_a_timedelta_or_a_list() -> None:
    every = Every("5s")
    assert parse_trigger(timedelta(seconds=5)) == parse_trigger("every 5s") == parse_trigger(every) == every
    weekdays = parse_trigger("every weekday at 09:00")
    assert weekdays == Daily("09:00", "mon-fri")
    fires = first(weekdays.bind(Binding(zone="UTC", anchor_us=0)), 261)
    assert {(fire.isoweekday(), fire.hour) for fire in fires} == {(day, 9) for day in range(1, 6)}
    assert parse_trigger([]) == Never()
    assert parse_trigger([every]) == every
    assert parse_trigger([every, "daily at noon"]) == AnyOf(every, Daily("12:00"))


@pytest.mark.feature("LS8")
def test_ls8_the_zone_is_a_name_or_the_systems_own() -> None:
    rome = Cron("* 11 10 * * *", tz="Europe/Rome")
    assert rome.next_after(datetime(2010, 1, 1, 10, 10, tzinfo=UTC)) == datetime(2010, 1, 2, 9, 11, tzinfo=UTC)
    at_home = Daily("09:00", tz="local")
    assert at_home.tz == Daily("09:00").zone != "local"
    assert first(Daily("09:00"), 3) == first(at_home, 3)


@pytest.mark.feature("TC3")
@pytest.mark.parametrize(
    "trigger", [Cron("0 0 18 * * *", tz="Europe/Dublin"), Daily("18:00", tz=ZoneInfo("Europe/Dublin"))]
)
def test_tc3_the_zones_rules_apply_at_every_step_and_its_name_is_stored(trigger: Trigger) -> None:
    expected = [datetime(2025, 3, day, 17, tzinfo=UTC) for day in (30, 31)]
    for each in (trigger, reloaded(trigger)):
        assert first(each, 2, datetime(2025, 3, 29, 19, tzinfo=UTC)) == expected
    assert trigger.to_json()["tz"] == "Europe/Dublin"


@pytest.mark.feature("TC5")
def test_tc5_once_is_exactly_then_and_naive_ones_are_in_the_schedulers_zone() -> None:
    now = datetime(2025, 6, 1, 12, 0, 0, 123_456, tzinfo=UTC)
    assert first(Once(now + timedelta(seconds=20)), 2, now) == [now + timedelta(seconds=20)]
    seoul = Binding(zone="Asia/Seoul", anchor_us=to_us(now))
    naive = Once(datetime(2025, 6, 2, 12)).bind(seoul)
    assert first(naive, 2, now) == [datetime(2025, 6, 2, 3, tzinfo=UTC)]
    assert reloaded(naive) == naive


@pytest.mark.feature("TC19")
def test_tc19_a_cron_line_means_one_thing_everywhere() -> None:
    line, binding = "0 12 1 * MON", Binding(zone="Europe/Berlin", anchor_us=to_us(T0))
    ways: dict[str, Any] = {
        "Cron": Cron(line),
        "when": parse_trigger(line),
        "str": parse_trigger(str(Cron(line))),
        "JSON": reloaded(Cron(line)),
        "JSON, bound": reloaded(Cron(line).bind(binding)),
        "with its zone": parse_trigger(f"{line} in Europe/Berlin"),
        "text of the bound": parse_trigger(str(Cron(line).bind(binding))),
        "in a list": parse_trigger([line]),
    }
    fires = {name: first(trigger.bind(binding), 50) for name, trigger in ways.items()}
    assert fires["Cron"][:2] == [datetime(2025, 1, 1, 11, tzinfo=UTC), datetime(2025, 1, 6, 11, tzinfo=UTC)]
    for name, found in fires.items():
        assert found == fires["Cron"], name

"""What holds for every trigger there is, on any day of any zone."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from typing import cast
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.clock import from_us, to_us
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

MINUTE, HOUR, US = timedelta(minutes=1), timedelta(hours=1), timedelta(microseconds=1)
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Asia/Kathmandu"]
WEEK = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
MONTHS = [f"{date(2025, month, 1):%B}".lower() for month in range(1, 13)]
NTH = ["first", "second", "third", "fourth", "fifth", "last"]
# Days on which one of the zones changes its clock, and an ordinary one.
DAYS = [
    (2025, 1, 1),
    (2025, 3, 9),
    (2025, 3, 30),
    (2025, 4, 6),
    (2025, 9, 7),
    (2025, 10, 5),
    (2025, 10, 26),
    (2025, 11, 2),
]


@dataclass(frozen=True)
class EveryFourthHour(Trigger):
    """A user's own trigger."""

    past: timedelta = timedelta(0)

    def next_after(self, moment: datetime) -> datetime | None:
        midnight = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) - timedelta(days=1) + self.past
        return next(fire for n in range(20) if (fire := midnight + n * 4 * HOUR) > moment)


moments = st.sampled_from(DAYS).flatmap(
    lambda day: st.integers(-2 * 1440, 1440).map(lambda minutes: datetime(*day, 12, tzinfo=UTC) + minutes * MINUTE)
)
clocks = st.builds(
    lambda hour, minute: f"{hour:02}:{minute:02}", st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 45, 59])
)
times = st.lists(clocks, min_size=1, max_size=3)
zones = st.sampled_from(ZONES)
starts = st.dates(date(2023, 1, 1), date(2025, 3, 31))
weekday_texts = st.lists(st.sampled_from(WEEK), min_size=1, max_size=6).map(",".join)
nth_weekdays = st.tuples(st.sampled_from(NTH), st.sampled_from([*WEEK, "weekday"])).map(" ".join)
month_days = st.one_of(st.integers(1, 28).map(str), st.just("last day"), nth_weekdays)


def months_of_year(text: str, month: str) -> str:
    return f"{text} {month}" if text.isdigit() else f"{text} of {month}"


year_days = st.builds(months_of_year, month_days, st.sampled_from(MONTHS))
counts = st.integers(1, 5)
on_months, on_years = (st.lists(days, min_size=1, max_size=3) for days in (month_days, year_days))
on_weeks = st.lists(st.sampled_from(WEEK), min_size=1, max_size=3)

everys = st.builds(Every, st.integers(1, 5000).map(lambda n: n * MINUTE), moments)
dailies = st.builds(Daily, times, st.none() | weekday_texts, tz=zones)
calendars = st.one_of(
    st.builds(Calendar, times, tz=zones, days=counts, start=starts),
    st.builds(Calendar, times, tz=zones, weeks=counts, on=on_weeks, start=starts),
    st.builds(Calendar, times, tz=zones, months=counts, on=on_months, start=starts),
    st.builds(Calendar, times, tz=zones, months=st.just(1), on=on_months),
    st.builds(Calendar, times, tz=zones, years=st.just(1), on=on_years),
)
onces = st.builds(Once, moments) | st.builds(
    lambda at, zone, fold: Once(at.replace(tzinfo=None, fold=fold), tz=zone), moments, zones, st.integers(0, 1)
)
walked = st.one_of(everys, dailies, calendars, onces, st.builds(EveryFourthHour, st.just(HOUR / 2)), st.just(Never()))
combined = st.one_of(
    walked,
    st.lists(walked, min_size=1, max_size=3).map(lambda parts: AnyOf(*parts)),
    st.tuples(dailies, dailies | calendars).map(lambda parts: AllOf(AnyOf(parts[0], parts[1]), parts[0])),
    # With the four-hourly one something is always left.
    st.tuples(walked, dailies).map(lambda parts: Except(AnyOf(parts[0], EveryFourthHour(HOUR / 2)), parts[1])),
    st.tuples(walked, on_weeks, zones).map(
        lambda parts: Except(AnyOf(parts[0], EveryFourthHour(HOUR / 2)), *parts[1], tz=parts[2])
    ),
    st.tuples(walked, moments).map(lambda parts: Between(parts[0], parts[1], parts[1] + 30 * HOUR)),
)
crons = st.builds(
    Cron,
    st.sampled_from(
        ["*/7 * * * *", "30 1,2 * * *", "0 0 29 2 *", "15 */2 * * mon-fri", "*/20 30 2 * * *", "0 9 13 * fri"]
    ),
    tz=zones,
    gap=st.sampled_from(["after", "skip"]),
    overlap=st.sampled_from(["first", "both", "last"]),
)
optioned = st.builds(
    Daily, times, tz=zones, gap=st.sampled_from(["after", "skip"]), overlap=st.sampled_from(["first", "both", "last"])
)
fine = st.builds(Every, st.integers(1, 10**12).map(lambda us: us * US), moments)
anything = st.one_of(combined, crons, optioned, fine)


@given(anything, moments, st.integers(0, 86_400_000_000))
@settings(max_examples=150, deadline=None)
def test_next_is_later_the_same_twice_and_monotone(trigger: Trigger, moment: datetime, more_us: int) -> None:
    found, later = trigger.next_after(moment), trigger.next_after(moment + more_us * US)
    assert trigger.next_after(moment) == found
    if found is None:
        assert later is None
        return
    assert found.tzinfo is not None
    assert found.astimezone(UTC) > moment
    assert later is None or later.astimezone(UTC) >= found.astimezone(UTC)
    assert trigger.next_us(to_us(moment)) == to_us(found)


@given(anything, moments, zones, st.data())
@settings(max_examples=100, deadline=None)
def test_next_is_constant_until_it_comes(trigger: Trigger, moment: datetime, zone: str, data: st.DataObject) -> None:
    fires = [to_us(fire) for fire in islice(trigger.upcoming(moment), 4)]
    assert fires == sorted(set(fires))
    for one, other in pairwise(fires):
        between = from_us(data.draw(st.integers(one, other - 1)))
        assert trigger.next_us(to_us(between)) == other
        found = trigger.next_after(between.astimezone(ZoneInfo(zone)))
        assert found is not None
        assert to_us(found) == other


def wanted_date(calendar: Calendar, day: date) -> bool:
    """Whether a Calendar wants a date, by the words of its documentation."""
    start, on = calendar.start or date(1970, 1, 1), cast("tuple[str, ...]", calendar.on)
    if day < start:
        return False
    if calendar.days:
        return (day - start).days % calendar.days == 0
    if calendar.weeks:
        mondays = [each - timedelta(days=each.weekday()) for each in (start, day)]
        return WEEK[day.weekday()] in on and (mondays[1] - mondays[0]).days // 7 % calendar.weeks == 0
    counted = (day.year - start.year) % (calendar.years or 1) == 0
    if calendar.months:
        counted = ((day.year - start.year) * 12 + day.month - start.month) % calendar.months == 0
    return counted and any(wanted_in_month(text, day) for text in on)


def wanted_in_month(text: str, day: date) -> bool:
    month = [date(day.year, day.month, 1) + timedelta(days=n) for n in range(31)]
    month = [each for each in month if each.month == day.month]
    words = [word for word in text.split() if word != "of"]
    if words[-1] in MONTHS and words.pop() != MONTHS[day.month - 1]:
        return False
    if words[0][0].isdigit():
        return day.day == int(words[0].rstrip("stndrh"))
    kinds: dict[str, Callable[[date], bool]] = {"day": lambda _: True, "weekday": lambda each: each.weekday() < 5}
    kind = kinds.get(words[1], lambda each: WEEK[each.weekday()] == words[1])
    candidates = [each for each in month if kind(each)]
    place = NTH.index(words[0]) if words[0] != "last" else -1
    return place < len(candidates) and candidates[place] == day


def walk(trigger: Trigger, begin: datetime, end: datetime) -> set[datetime]:
    """The whole minutes of ``begin <= t < end`` at which ``trigger`` fires, found by looking at each."""
    minutes = [begin + n * MINUTE for n in range((end - begin) // MINUTE)]
    match trigger:
        case Every(period=timedelta() as period, start=datetime() as start):
            return {minute for minute in minutes if minute >= start and (minute - start) % period == timedelta(0)}
        case Once():
            return walk_once(trigger, minutes)
        case Daily() | Calendar():
            return walk_clock(trigger, begin - timedelta(days=1), minutes)
        case AnyOf():
            return set().union(*(walk(part, begin, end) for part in trigger.triggers))
        case AllOf():
            return set.intersection(*(walk(part, begin, end) for part in trigger.triggers))
        case Except(trigger=inner, excluded=excluded):
            found = walk(inner, begin, end)
            names = {item for item in excluded if isinstance(item, str)}
            for item in excluded:
                found -= walk(item, begin, end) if isinstance(item, Trigger) else set()
            zone = ZoneInfo(trigger.tz or "UTC")
            return {fire for fire in found if WEEK[fire.astimezone(zone).weekday()] not in names}
        case Between(trigger=inner, start=datetime() as start, end=datetime() as stop):
            return {fire for fire in walk(inner, begin, end) if start <= fire < stop}
        case EveryFourthHour():
            return {minute for minute in minutes if minute.hour % 4 == 0 and minute.minute == 30}
    return set()


def walk_once(once: Once, minutes: list[datetime]) -> set[datetime]:
    if once.at.tzinfo is not None:
        return {once.at} & set(minutes)
    zone = ZoneInfo(once.zone)
    shown = [minute for minute in minutes if minute.astimezone(zone).replace(tzinfo=None) == once.at]
    if shown:
        # The other pass may lie outside of the minutes that are looked at.
        passes = sorted({once.at.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)})
        return {passes[-1 if once.overlap == "last" else 0]} & set(minutes)
    return walk_high([once.at], zone, minutes[0] - timedelta(days=1), minutes)


def walk_clock(trigger: Daily | Calendar, begin: datetime, minutes: list[datetime]) -> set[datetime]:
    zone = ZoneInfo(trigger.zone)
    first = begin.astimezone(zone).date()
    walls = []
    for day in (first + timedelta(days=n) for n in range((minutes[-1] - begin).days + 3)):
        if isinstance(trigger, Calendar):
            wanted = wanted_date(trigger, day)
        else:
            wanted = trigger.days is None or f"{day:%a}".lower() in weekdays_of(trigger.days)
        if wanted:
            walls += [datetime.fromisoformat(f"{day} {text}") for text in cast("tuple[str, ...]", trigger.at)]
    return walk_high(walls, zone, begin, minutes)


def weekdays_of(text: str) -> set[str]:
    short = [name[:3] for name in WEEK]
    ranges = [item.partition("-")[::2] for item in text.split(",")]
    return {name for a, b in ranges for name in short[short.index(a) : short.index(b or a) + 1]}


def walk_high(walls: list[datetime], zone: ZoneInfo, begin: datetime, minutes: list[datetime]) -> set[datetime]:
    """Each minute at which the clock shows, or has jumped over, a wanted wall time for the first time."""
    found = set()
    high = begin.astimezone(zone).replace(tzinfo=None)
    looked_at = set(minutes)
    moment = begin + MINUTE
    while moment <= minutes[-1]:
        reading = moment.astimezone(zone).replace(tzinfo=None)
        if moment in looked_at and any(high < wall <= reading for wall in walls):
            found.add(moment)
        high = max(high, reading)
        moment += MINUTE
    return found


@given(combined, moments)
@settings(max_examples=60, deadline=None)
def test_nothing_else_fires_than_what_looking_at_every_minute_finds(trigger: Trigger, begin: datetime) -> None:
    end = begin + 26 * HOUR
    assert [fire.astimezone(UTC) for fire in trigger.between(begin, end)] == sorted(walk(trigger, begin, end))


@given(anything)
@settings(max_examples=150, deadline=None)
def test_a_trigger_comes_back_from_json_text_and_pickle(trigger: Trigger) -> None:
    trigger.next_us(0)
    for again in (
        Trigger.from_json(trigger.to_json()),
        parse_trigger(str(trigger)),
        pickle.loads(pickle.dumps(trigger)),
    ):
        assert again == trigger
        assert hash(again) == hash(trigger)


@given(anything, zones, st.integers(0, 2**50))
@settings(max_examples=60, deadline=None)
def test_binding_what_is_bound_changes_nothing(trigger: Trigger, zone: str, anchor_us: int) -> None:
    bound = trigger.bind(Binding(zone=zone, anchor_us=anchor_us, key="app:f"))
    assert bound.bind(Binding(zone="Asia/Tokyo", anchor_us=0, key="app:g")) == bound


unbound = st.one_of(
    st.builds(Every, st.integers(1, 10**13).map(lambda us: us * US), st.none() | moments),
    st.builds(Daily, times, st.none() | weekday_texts, tz=st.none() | zones),
    st.builds(Calendar, times, tz=st.none() | zones, days=counts, start=st.none() | starts),
    st.builds(Calendar, times, tz=st.none() | zones, weeks=counts, on=on_weeks | st.just([]), start=st.none() | starts),
    st.builds(
        Calendar, times, tz=st.none() | zones, months=counts, on=on_months | st.just([]), start=st.none() | starts
    ),
    st.builds(Calendar, times, tz=st.none() | zones, years=counts, on=on_years | st.just([])),
    st.builds(Once, moments, tz=st.none() | zones),
    st.builds(lambda at: Once(at.replace(tzinfo=None)), moments),
)


@st.composite
def sentences(draw: st.DrawFn) -> str:
    """Those that make a cron line."""
    unit, count = draw(st.sampled_from([("seconds", 20), ("minutes", 1), ("minutes", 15), ("hours", 6), ("hours", 1)]))
    text = f"every {count} {unit}"
    hours = draw(st.none() | st.tuples(st.integers(0, 23), st.integers(1, 23)))
    if hours and unit != "hours":
        text += f" between {hours[0]:02}:00 and {sum(hours) % 24:02}:00"
    days = ["weekdays", "on monday and thursday", "on the 3rd and 21st", "on the last day", "on the second friday", ""]
    text += " " + draw(st.sampled_from(days))
    text += draw(st.sampled_from([" every day", " in may", " from november to february", " in june and december"]))
    return text.replace(" every day", "") if "the" in text or "weekdays" in text else text


@given(unbound | sentences().map(parse_trigger))
@settings(max_examples=200, deadline=None)
def test_what_a_trigger_says_of_itself_makes_an_equal_one(trigger: Trigger) -> None:
    assert parse_trigger(trigger.describe()) == trigger
    assert parse_trigger(str(trigger)) == trigger

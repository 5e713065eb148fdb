"""The rules of cron time, one table each. The numbers are those of the manual's rules."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from asyncsched.triggers import Cron, Daily, Every, Trigger
from asyncsched.triggers._base import Binding

NEW_YORK = "America/New_York"
T0 = datetime(2025, 1, 1, tzinfo=UTC)


def on_day(trigger: Trigger, zone: str, day: str) -> list[str]:
    """The fires of one local day, as the clock there shows them."""
    first = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (first + timedelta(days=1)).astimezone(UTC)
    shown = (fire.astimezone(ZoneInfo(zone)) for fire in trigger.between(first.astimezone(UTC), end))
    return [f"{fire:%H:%M:%S %Z}".replace(":00 ", " ", 1) for fire in shown]


def march(trigger: Trigger) -> list[str]:
    return [text.replace(" EST", "").replace(" EDT", "") for text in on_day(trigger, NEW_YORK, "2024-03-10")]


def november(trigger: Trigger) -> list[str]:
    return on_day(trigger, NEW_YORK, "2024-11-03")


def numbers(line: str, part: str, *, year: int = 2025, **options: str) -> list[int]:
    """Which values of ``part`` (minute, day ...) the fires of one year in UTC have, in order, each once."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    fires = Cron(line, tz="UTC", **options).between(start, start.replace(year=year + 1))
    return list(dict.fromkeys(getattr(fire, part) for fire in islice(fires, 5000)))


def days(line: str, month: str, **options: str) -> list[int]:
    """Which days of the month (as ``2025-05``) fire in UTC."""
    start = datetime.fromisoformat(month + "-01").replace(tzinfo=UTC)
    end = (start + timedelta(days=31)).replace(day=1)
    return [fire.day for fire in Cron(line, tz="UTC", **options).between(start, end)]


def weekdays(field: str, **options: str) -> str:
    """Which weekdays fire, from Sunday 1 June 2025 on."""
    start = datetime(2025, 6, 1, tzinfo=UTC)
    fires = Cron(f"0 0 * * {field}", tz="UTC", **options).between(start, start + timedelta(days=7))
    return " ".join(f"{fire:%a}".upper() for fire in fires)


def same(one: Trigger, other: Trigger, start: datetime = T0, count: int = 20) -> bool:
    return list(islice(one.upcoming(start), count)) == list(islice(other.upcoming(start), count))


ALL_WEEK = "SUN MON TUE WED THU FRI SAT"
NEW_YORK_TABLE = [
    (Cron("30 2 * * *", tz=NEW_YORK), ["03:00"], ["02:30 EST"]),
    (Daily("02:30", tz=NEW_YORK), ["03:00"], ["02:30 EST"]),
    (Cron("0,30 2 * * *", tz=NEW_YORK), ["03:00"], ["02:00 EST", "02:30 EST"]),
    (Cron("0 2,3 * * *", tz=NEW_YORK), ["03:00"], ["02:00 EST", "03:00 EST"]),
    (Cron("15 30 2 * * *", tz=NEW_YORK), ["03:00"], ["02:30:15 EST"]),
    (Cron("30 1 * * *", tz=NEW_YORK), ["01:30"], ["01:30 EDT"]),
    (Cron("*/30 2 * * *", tz=NEW_YORK), [], ["02:00 EST", "02:30 EST"]),
    (Cron("*/30 1 * * *", tz=NEW_YORK), ["01:00", "01:30"], ["01:00 EDT", "01:30 EDT", "01:00 EST", "01:30 EST"]),
]
NEW_YORK_STARTS = [
    (
        Cron("30 * * * *", tz=NEW_YORK),
        ["00:30", "01:30", "03:30"],
        ["00:30 EDT", "01:30 EDT", "01:30 EST", "02:30 EST"],
    ),
    (Cron("0 */2 * * *", tz=NEW_YORK), ["00:00", "04:00", "06:00"], ["00:00 EDT", "02:00 EST", "04:00 EST"]),
]


@pytest.mark.parametrize(("trigger", "spring", "autumn"), NEW_YORK_TABLE, ids=lambda it: str(it)[:40])
def test_rules_1_to_3_new_york_table(trigger: Trigger, spring: list[str], autumn: list[str]) -> None:
    assert march(trigger) == spring
    assert november(trigger) == autumn


@pytest.mark.parametrize(("trigger", "spring", "autumn"), NEW_YORK_STARTS, ids=lambda it: str(it)[:40])
def test_rules_1_to_3_new_york_table_first_fires(trigger: Trigger, spring: list[str], autumn: list[str]) -> None:
    assert march(trigger)[: len(spring)] == spring
    assert november(trigger)[: len(autumn)] == autumn


def test_rule_1_every_counts_on_the_absolute_timeline() -> None:
    def hourly(day: date) -> Every:
        return Every(timedelta(hours=1), start=datetime(day.year, day.month, day.day, 0, 30, tzinfo=ZoneInfo(NEW_YORK)))

    assert march(hourly(date(2024, 3, 10)))[:3] in (["00:30", "01:30", "03:30"], ["01:30", "03:30", "04:30"])
    found = november(hourly(date(2024, 11, 3)))
    assert ["01:30 EDT", "01:30 EST", "02:30 EST"] in (found[:3], found[1:4])


@pytest.mark.parametrize("start", ["01:40-04:00", "01:10-05:00", "01:59:59.9-04:00", "01:30-04:00"])
def test_rule_2_the_second_pass_of_an_overlap_has_no_fixed_fire(start: str) -> None:
    found = Cron("30 1 * * *", tz=NEW_YORK).next_after(datetime.fromisoformat(f"2024-11-03T{start}"))
    assert found is not None
    assert found.isoformat() == "2024-11-04T01:30:00-05:00"


@pytest.mark.parametrize(
    ("line", "wildcard"),
    [
        ("30 1 * * *", False),
        ("*/5 1 * * *", True),
        ("0-59 1 * * *", False),
        ("0/5 1 * * *", False),
        ("1,* 1 * * *", False),
        ("*,1 1 * * *", True),
        ("30 */1 * * *", True),
        ("30 0-23 * * *", False),
        ("30 * * * *", True),
        ("* 30 1 * * *", True),
        ("*/20 30 1 * * *", True),
        ("0 30 1 * * *", False),
        ("0-59 30 1 * * *", False),
        ("0 30 1 * * * *", False),
        ("30 1 */1 */1 */1", False),
        ("30 1 ? * ?", False),
    ],
)
def test_rule_3_a_line_is_wildcard_by_the_first_character(line: str, wildcard: bool) -> None:
    second_pass = [text for text in november(Cron(line, tz=NEW_YORK)) if text.startswith("01:") and "EST" in text]
    assert bool(second_pass) == wildcard


@pytest.mark.parametrize(
    ("line", "zone", "first", "next_found"),
    [
        ("0 0 31 4,5 *", "UTC", "2025-04-01T00:00+00:00", "2025-05-31T00:00:00+00:00"),
        ("0 0 29 2 *", "UTC", "2023-01-01T00:00+00:00", "2024-02-29T00:00:00+00:00"),
        ("0 12 30 12 *", "Pacific/Apia", "2011-12-29T00:00-10:00", "2012-12-30T12:00:00+14:00"),
        ("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00-10:00", "2011-12-31T12:00:00+14:00"),
        ("0 12 * * FRI", "Pacific/Apia", "2011-12-29T12:00-10:00", "2012-01-06T12:00:00+14:00"),
        ("0 0 21 8 *", "Pacific/Kwajalein", "1993-08-20T00:00-12:00", "1994-08-21T00:00:00+12:00"),
        # The gap ends on the next day; the 30th exists, so its 23:30 is made up there.
        ("30 23 30 3 *", "America/Nuuk", "2024-03-01T00:00-02:00", "2024-03-31T00:00:00-01:00"),
        ("45 23 * * *", "Asia/Pyongyang", "2018-05-04T00:00+08:30", "2018-05-05T00:00:00+09:00"),
    ],
)
def test_rule_4_dates_that_do_not_exist(line: str, zone: str, first: str, next_found: str) -> None:
    found = Cron(line, tz=zone).next_after(datetime.fromisoformat(first))
    assert found is not None
    assert found.isoformat() == next_found


@pytest.mark.parametrize(
    ("line", "zone", "day", "expected"),
    [
        ("15 2 * * *", "Australia/Lord_Howe", "2024-10-06", ["02:30 +11"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2024-04-07", ["01:45 +11"]),
        ("*/15 1 * * *", "Australia/Lord_Howe", "2024-04-07", ["01:00", "01:15", "01:30", "01:45", "01:30", "01:45"]),
        ("30 1 * * *", "Antarctica/Troll", "2024-03-31", ["03:00 +02"]),
        ("0 1,2 * * *", "Antarctica/Troll", "2024-03-31", ["03:00 +02"]),
        ("30 1 * * *", "Antarctica/Troll", "2024-10-27", ["01:30 +02"]),
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-04", ["01:00 -02"]),
        ("30 23 * * *", "America/Sao_Paulo", "2018-02-17", ["23:30 -02"]),
        ("45 2 * * *", "America/Caracas", "2016-05-01", ["03:00 -04"]),
        ("0 0 * * *", "Africa/Monrovia", "1972-01-07", ["00:44:30 GMT"]),
        ("30 2 * * *", "Antarctica/Casey", "2018-03-11", ["02:30 +11"]),
        ("30 * * * *", "Asia/Tehran", "2022-03-22", None),
        ("30 0 * * *", "Asia/Tehran", "2022-03-22", ["01:00 +0430"]),
        ("30 2 * * *", "Africa/Casablanca", "2024-04-14", ["03:00 +01"]),
    ],
)
def test_rule_5_every_change_is_alike(line: str, zone: str, day: str, expected: list[str] | None) -> None:
    found = on_day(Cron(line, tz=zone), zone, day)
    if expected is None:
        assert len(found) == 23
        return
    assert [text if " " in expected[0] else text.split()[0] for text in found] == expected


@pytest.mark.parametrize("five", ["30 2 * * *", "*/7 * * * *", "0 0 L * MON", "5 4 * 2 SUN#2", "* * * * *"])
def test_rule_6_five_six_and_seven_fields(five: str) -> None:
    plain = Cron(five, tz=NEW_YORK)
    for other in (f"0 {five}", f"0 {five} *"):
        for start in (T0, datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 11, 3, tzinfo=UTC)):
            assert same(plain, Cron(other, tz=NEW_YORK), start, 60)


def test_rule_6_seconds_stand_first_and_the_year_last() -> None:
    assert [fire.isoformat()[:19] for fire in Cron("1 2 3 4 5 * 2026", tz="UTC").upcoming(T0)] == [
        "2026-05-04T03:02:01"
    ]


@pytest.mark.parametrize("line", ["  30 2 * * *", "30\t2\t*\t*\t*\t", "\t 30  2 \t * * *  "])
def test_rule_7_spaces_and_tabs_separate(line: str) -> None:
    assert same(Cron(line, tz=NEW_YORK), Cron("30 2 * * *", tz=NEW_YORK))


@pytest.mark.parametrize(
    ("line", "part", "year", "expected"),
    [
        ("0,59 0 0 1 1 *", "second", 2025, [0, 59]),
        ("0,59 0 1 1 *", "minute", 2025, [0, 59]),
        ("0 0,23 1 1 *", "hour", 2025, [0, 23]),
        ("0 0 1,31 1 *", "day", 2025, [1, 31]),
        ("0 0 1 1,12 *", "month", 2025, [1, 12]),
        ("0 0 0 1 1 * 1970", "year", 1970, [1970]),
        ("0 0 0 1 1 * 2199", "year", 2199, [2199]),
        ("000 00 01 001 *", "month", 2025, [1]),
        ("007 08 09 02 *", "minute", 2025, [7]),
        ("0 0 1 JAN,feb,Mar,APRIL,may,June *", "month", 2025, [1, 2, 3, 4, 5, 6]),
        ("0 0 1 JuL,august,SEP,October,NOV,december *", "month", 2025, [7, 8, 9, 10, 11, 12]),
        ("0 0 1 January-MAR,11-DEC *", "month", 2025, [1, 2, 3, 11, 12]),
    ],
)
def test_rule_8_ranges_and_names(line: str, part: str, year: int, expected: list[int]) -> None:
    assert numbers(line, part, year=year) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("0", "SUN"),
        ("7", "SUN"),
        ("6", "SAT"),
        ("SUN,MON,tue,Wed,thu,fri,SAT", ALL_WEEK),
        ("sunday,Monday,TUESDAY", "SUN MON TUE"),
        ("wednesday,Thursday,friday,saturday", "WED THU FRI SAT"),
        ("MON-friday", "MON TUE WED THU FRI"),
        ("00,007,01", "SUN MON"),
    ],
)
def test_rule_8_weekdays(field: str, expected: str) -> None:
    assert weekdays(field) == expected


@pytest.mark.parametrize(
    ("line", "part", "expected"),
    [
        ("* 0 1 1 *", "minute", list(range(60))),
        ("17 0 1 1 *", "minute", [17]),
        ("10-12 0 1 1 *", "minute", [10, 11, 12]),
        ("5-5 0 1 1 *", "minute", [5]),
        ("0 22-2 1 1 *", "hour", [0, 1, 2, 22, 23]),
        ("58-1 0 1 1 *", "minute", [0, 1, 58, 59]),
        ("59-1 0 0 1 1 *", "second", [0, 1, 59]),
        ("0 0 28-3 1 *", "day", [1, 2, 3, 28, 29, 30, 31]),
        ("0 0 1 NOV-FEB *", "month", [1, 2, 11, 12]),
        ("0 */6 1 1 *", "hour", [0, 6, 12, 18]),
        ("0 0 */10 1 *", "day", [1, 11, 21, 31]),
        ("0 0 1 */5 *", "month", [1, 6, 11]),
        ("0 22-4/3 1 1 *", "hour", [1, 4, 22]),
        ("10-20/4 0 1 1 *", "minute", [10, 14, 18]),
        ("5/15 0 1 1 *", "minute", [5, 20, 35, 50]),
        ("59/15 0 1 1 *", "minute", [59]),
        ("0 0 28/2 1 *", "day", [28, 30]),
        ("0 0 1 7/3 *", "month", [7, 10]),
        ("3,1-2,2,1-5/2 0 1 1 *", "minute", [1, 2, 3, 5]),
        ("0 0 L 1,2,4 *", "day", [31, 28, 30]),
        ("0 0 L,5 2 *", "day", [5, 28]),
        ("0 0 L-3 1,2,4 *", "day", [28, 25, 27]),
        ("0 0 L-30 1-3 *", "day", [1]),
        ("0 0 L-30 1-3 *", "month", [1, 3]),
        ("0 0 L-28 2-4 *", "month", [3, 4]),
        ("0 0 LW 5,8 *", "day", [30, 29]),
        ("0 0 15W 1-3,6 *", "day", [15, 14, 16]),
        ("0 0 1W 2,3,6 *", "day", [3, 2]),
        ("0 0 31W 5,8 *", "day", [30, 29]),
        ("0 0 31W * *", "month", [1, 3, 5, 7, 8, 10, 12]),
        ("0 0 * 1 5L", "day", [31]),
        ("0 0 ? 2 FRIL", "day", [28]),
        ("0 0 * 1 MON#2", "day", [13]),
        ("0 0 * 1-6 5#5", "month", [1, 5]),
        ("0 0 * 1 MON#1,FRI", "day", [3, 6, 10, 17, 24, 31]),
        ("0 0 * 1 monday#1,5#2", "day", [6, 10]),
    ],
)
def test_section_1_3_items(line: str, part: str, expected: list[int]) -> None:
    assert numbers(line, part) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("FRI-MON", "SUN MON FRI SAT"),
        ("7-3", "SUN MON TUE WED"),
        ("5-7", "SUN FRI SAT"),
        ("5-0", "SUN FRI SAT"),
        ("FRI-SUN", "SUN FRI SAT"),
        ("FRI-MON/2", "SUN FRI"),
        ("SUN-TUE", "SUN MON TUE"),
        ("6-6", "SAT"),
        ("1-7", ALL_WEEK),
        ("0-7", ALL_WEEK),
        ("2/2", "TUE THU SAT"),
        ("*/3", "SUN WED SAT"),
        ("?", ALL_WEEK),
    ],
)
def test_section_1_3_weekday_items(field: str, expected: str) -> None:
    assert weekdays(field) == expected


@pytest.mark.parametrize(
    ("line", "part", "expected"),
    [
        ("*/90 0 1 1 *", "minute", [0]),
        ("5-9/100 0 1 1 *", "minute", [5]),
        ("0 7/24 1 1 *", "hour", [7]),
        ("0 0 */40 1 *", "day", [1]),
    ],
)
def test_rule_9_a_step_larger_than_the_field(line: str, part: str, expected: list[int]) -> None:
    assert numbers(line, part) == expected


NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@pytest.mark.parametrize(("nickname", "line"), NICKNAMES.items())
def test_rule_10_nicknames(nickname: str, line: str) -> None:
    for spelled in (nickname, nickname.upper(), nickname.title()):
        for start in (T0, datetime(2024, 11, 3, tzinfo=UTC)):
            assert same(Cron(spelled, tz=NEW_YORK), Cron(line, tz=NEW_YORK), start)


@pytest.mark.parametrize(
    ("line", "month", "expected"),
    [
        ("0 0 ? * 5#L", "2025-05", [30]),
        ("0 0 ? * L5", "2025-05", [30]),
        ("0 0 ? * FRI#L", "2025-05", [30]),
        ("0 0 L-1W * *", "2025-05", [30]),
        ("0 0 L-6W * *", "2025-05", [26]),
        ("0 0 L-30W * *", "2025-03", [3]),
    ],
)
def test_rule_11_also_accepted(line: str, month: str, expected: list[int]) -> None:
    assert days(line, month) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 13 * FRI", [2, 9, 13, 16, 23, 30]),
        ("0 0 */2 * MON", [5, 19]),
        ("0 0 1 * FRI#2", [1, 9]),
        ("0 0 L * MON", [5, 12, 19, 26, 31]),
        ("0 0 15W * MON", [5, 12, 15, 19, 26]),
        ("0 0 ? * FRI", [2, 9, 16, 23, 30]),
        ("0 0 13 * ?", [13]),
        ("0 0 13 * *", [13]),
        ("0 0 13 * */2", [13]),
        ("0 0 14 * */2", []),
        ("0 0 *,13 * FRI", [2, 9, 16, 23, 30]),
        ("0 0 13,* * FRI", list(range(1, 32))),
        ("0 0 13 * FRI,*", list(range(1, 32))),
        ("0 0 13 4 FRI", []),
        ("0 0 0 13 * FRI 2024", []),
    ],
)
def test_rule_12_which_days(line: str, expected: list[int]) -> None:
    assert days(line, "2025-05") == expected


def test_rule_13_strictly_after_an_instant_however_it_is_told() -> None:
    cron = Cron("30 2 * * *", tz="UTC")
    at = datetime(2025, 1, 1, 2, 30, tzinfo=UTC)
    assert cron.next_after(at - timedelta(microseconds=1)) == at
    assert cron.next_after(at) == at + timedelta(days=1)
    assert cron.next_after(at + timedelta(microseconds=1)) == at + timedelta(days=1)
    for zone in (ZoneInfo(NEW_YORK), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-7, seconds=13))):
        assert cron.next_after(at.astimezone(zone)) == at + timedelta(days=1)
    second_pass = datetime(2024, 11, 3, 1, 30, tzinfo=ZoneInfo(NEW_YORK), fold=1)
    assert cron.next_after(second_pass) == cron.next_after(second_pass.astimezone(UTC))


def test_rule_13_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        Cron("30 2 * * *", tz="UTC").next_after(datetime(2025, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize("line", ["*/30 * * * *", "30 1 * * *", "*/7 * * * * *", "0-59 * * * *"])
def test_rule_14_results(line: str) -> None:
    fires = list(islice(Cron(line, tz=NEW_YORK).upcoming(datetime(2024, 11, 3, 5, 49, 59, 999, tzinfo=UTC)), 300))
    for one, other in pairwise(fires):
        assert one.astimezone(UTC) < other.astimezone(UTC)
    for fire in fires:
        assert fire.tzinfo == ZoneInfo(NEW_YORK)
        assert fire.microsecond == 0
        assert fire.fold == fire.astimezone(UTC).astimezone(ZoneInfo(NEW_YORK)).fold
    assert any(fire.fold for fire in fires) or line == "30 1 * * *"


@pytest.mark.parametrize(
    ("line", "start", "expected"),
    [
        ("0 0 0 1 1 * 2020", "2020-01-01T00:00:00+00:00", None),
        ("0 0 0 1 1 * 2020", "2019-01-01T00:00:00+00:00", "2020-01-01"),
        ("59 59 23 31 12 * 2199", "2026-01-01T00:00:00+00:00", "2199-12-31"),
        ("0 0 * * *", "2199-12-31T00:00:00+00:00", None),
        ("* * * * * *", "2199-12-31T23:59:59+00:00", None),
        ("0 0 * * *", "2500-01-01T00:00:00+00:00", None),
        ("0 0 29 2 */7", "2004-03-01T00:00:00+00:00", "2032-02-29"),
        ("0 0 29 2 */7", "2088-03-01T00:00:00+00:00", "2128-02-29"),
        ("0 0 0 1 1 * 2099", "2026-11-21T00:00:00+00:00", "2099-01-01"),
        ("0 0 * * *", "1960-01-01T00:00:00+00:00", "1970-01-01"),
    ],
)
def test_rule_15_exhausted_or_found(line: str, start: str, expected: str | None) -> None:
    found = Cron(line, tz="UTC").next_after(datetime.fromisoformat(start))
    assert (found and found.date().isoformat()) == expected


@pytest.mark.parametrize(
    "line",
    [
        "0 0 30 2 *",
        "0 0 31 4 *",
        "0 0 31 6,11 *",
        "0 0 0 29 2 * 2023",
        "0 0 L-30 4 *",
        "0 0 31W 2 *",
        "0 0 31 4 */2",
        "0 0 L-29 2 *",
    ],
)
def test_rule_23_a_line_that_no_date_matches_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Cron(line, tz="UTC")


@pytest.mark.parametrize("line", ["0 0 31 4 MON", "0 0 30 2 FRI#1", "0 0 29 2 *", "0 0 0 1 1 * 1970", "0 0 L-28 2 *"])
def test_rule_23_rare_and_past_lines_are_valid(line: str) -> None:
    assert Cron(line, tz="UTC").next_after(datetime(1969, 1, 1, tzinfo=UTC)) is not None


def hashed(line: str, key: str, **options: str) -> Cron:
    return Cron(line, key=key, **options)


def test_rule_24_h_is_stable_and_spread() -> None:
    minutes = {hashed("H * * * *", f"task-{n}", tz="UTC").next_after(T0).minute for n in range(300)}  # type: ignore[union-attr]
    assert len(minutes) > 40
    assert same(hashed("H H * * *", "backup", tz="UTC"), hashed("H H * * *", "backup", tz="UTC"))
    bound = Cron("H H * * *", tz="UTC").bind(Binding(zone="UTC", anchor_us=0, key="backup"))
    assert same(bound, hashed("H H * * *", "backup", tz="UTC"))


@pytest.mark.parametrize(
    ("line", "part", "allowed"),
    [
        ("0 0 H * *", "day", range(1, 29)),
        ("0 0 1 H *", "month", range(1, 13)),
        ("0 H(3-5) * * *", "hour", range(3, 6)),
        ("H(10-12) * * * *", "minute", range(10, 13)),
        ("H 0 0 * * *", "second", range(60)),
    ],
)
def test_rule_24_h_stays_inside(line: str, part: str, allowed: range) -> None:
    for number in range(50):
        fires = list(islice(hashed(line, f"k{number}", tz="UTC").upcoming(T0), 3))
        assert len({getattr(fire, part) for fire in fires}) == 1
        assert getattr(fires[0], part) in allowed


def test_rule_24_h_with_a_step_starts_anywhere_within_it() -> None:
    starts, before = set(), T0 - timedelta(seconds=1)
    for number in range(60):
        fires = list(islice(hashed("H/15 * * * *", f"k{number}", tz="UTC").upcoming(before), 4))
        assert {later - earlier for earlier, later in pairwise(fires)} == {timedelta(minutes=15)}
        starts.add(fires[0].minute)
    assert len(starts) > 8
    assert max(starts) < 15


def test_rule_24_h_is_fixed_time() -> None:
    assert len(november(hashed("H(30-30) H(1-1) * * *", "k", tz=NEW_YORK))) == 1


def test_rule_24_without_an_id_there_is_no_h() -> None:
    with pytest.raises(ValueError, match="H"):
        Cron("H * * * *", tz="UTC").bind(Binding(zone="UTC", anchor_us=0)).next_after(T0)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("1", "SUN"),
        ("7", "SAT"),
        ("1-5", "SUN MON TUE WED THU"),
        ("MON-FRI", "MON TUE WED THU FRI"),
        ("6-2/2", "SUN FRI"),
        ("2/2", "MON WED FRI"),
        ("?", ALL_WEEK),
    ],
)
def test_rule_25_quartz_weekdays(field: str, expected: str) -> None:
    assert weekdays(field, dialect="quartz") == expected


@pytest.mark.parametrize(
    ("line", "mode", "expected"),
    [
        ("0 0 13 * FRI", "both", []),
        ("0 0 16 * FRI", "both", [16]),
        ("0 0 16 * +FRI", "crontab", [16]),
        ("0 0 16 * +FRI", "either", [16]),
        ("0 0 */2 * MON", "either", sorted({*range(1, 32, 2), 5, 12, 19, 26})),
        ("0 0 */2 * MON", "both", [5, 19]),
        ("0 0 13 * FRI", "either", [2, 9, 13, 16, 23, 30]),
    ],
)
def test_rule_25_days(line: str, mode: str, expected: list[int]) -> None:
    assert days(line, "2025-05", days=mode) == expected


@pytest.mark.parametrize("make", [lambda **o: Cron("30 1,2 * * *", **o), lambda **o: Daily("01:30", **o)])
def test_rule_25_overlap_chooses_the_pass(make: type[Cron]) -> None:
    def passes(**options: str) -> list[str]:
        return [text for text in november(make(tz=NEW_YORK, **options)) if text.startswith("01:")]

    assert passes() == passes(overlap="first") == ["01:30 EDT"]
    assert passes(overlap="both") == ["01:30 EDT", "01:30 EST"]
    assert passes(overlap="last") == ["01:30 EST"]


@pytest.mark.parametrize("make", [lambda **o: Cron("30 2 * * *", **o), lambda **o: Daily("02:30", **o)])
def test_rule_25_gap_fires_after_it_or_not_at_all(make: type[Cron]) -> None:
    assert march(make(tz=NEW_YORK)) == march(make(tz=NEW_YORK, gap="after")) == ["03:00"]
    assert march(make(tz=NEW_YORK, gap="skip")) == []


def test_rule_25_wildcard_lines_know_no_options() -> None:
    plain = Cron("*/30 * * * *", tz=NEW_YORK)
    other = Cron("*/30 * * * *", tz=NEW_YORK, gap="skip", overlap="last")
    for start in (datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 11, 3, tzinfo=UTC)):
        assert same(plain, other, start, 100)


@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "vixie"},
        {"days": "or"},
        {"gap": "before"},
        {"overlap": "second"},
        {"tz": "Mars/Olympus"},
    ],
)
def test_rule_25_unknown_options_are_refused(options: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=next(iter(options.values()))):
        Cron("30 2 * * *", **options)


OPTIONS = [
    {},
    {"dialect": "quartz"},
    {"days": "both"},
    {"gap": "skip"},
    {"overlap": "last"},
    {"key": "k"},
    {"tz": "UTC"},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_rule_26_equality_and_json_hold_every_option(options: dict[str, str]) -> None:
    made = Cron("30 2 13 * FRI", **({"tz": NEW_YORK} | options))
    assert Trigger.from_json(json.loads(json.dumps(made.to_json()))) == made
    assert made == Cron("30 2 13 * FRI", **({"tz": NEW_YORK} | options))
    assert (made == Cron("30 2 13 * FRI", tz=NEW_YORK)) == (not options)


def test_rule_26_the_zone_is_a_name_and_may_come_from_the_task() -> None:
    assert Cron("0 0 * * *", tz=ZoneInfo("Asia/Seoul")) == Cron("0 0 * * *", tz="Asia/Seoul")
    assert '"Asia/Seoul"' in json.dumps(Cron("0 0 * * *", tz="Asia/Seoul").to_json())
    binding = Binding(zone="Asia/Seoul", anchor_us=0)
    assert Cron("0 0 * * *").bind(binding) == Cron("0 0 * * *", tz="Asia/Seoul")
    assert Cron("0 0 * * *", tz="UTC").bind(binding) == Cron("0 0 * * *", tz="UTC")

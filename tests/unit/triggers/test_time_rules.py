"""The rules about instants: gaps, overlaps, what is next, options. The numbers are those of the manual's rules."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from asyncsched.triggers import Binding, Calendar, Cron, Daily, Every, Trigger, parse_trigger
from oracle.views import ALL_WEEK, NEW_YORK, days, march, november, on_day, same, weekdays

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


@pytest.mark.parametrize(
    ("line", "zone", "start", "expected"),
    [
        # Times that the clock jumped over are instants all the same: read with the offset before, or after by fold.
        ("0 3 * * *", NEW_YORK, datetime(2024, 3, 10, 2, 30), "2024-03-11T03:00:00-04:00"),
        ("0 3 * * *", NEW_YORK, datetime(2024, 3, 10, 2, 30, fold=1), "2024-03-10T03:00:00-04:00"),
        ("0 6 * * *", "Pacific/Apia", datetime(2011, 12, 30, 12), "2012-01-01T06:00:00+14:00"),
        ("0 6 * * *", "Pacific/Apia", datetime(2011, 12, 30, 12, fold=1), "2011-12-31T06:00:00+14:00"),
        ("*/30 * * * *", NEW_YORK, datetime(2024, 11, 3, 1, 30), "2024-11-03T01:00:00-05:00"),
        ("*/30 * * * *", NEW_YORK, datetime(2024, 11, 3, 1, 30, fold=1), "2024-11-03T02:00:00-05:00"),
        ("30 1 * * *", NEW_YORK, datetime(2024, 11, 3, 0, 30, fold=1), "2024-11-03T01:30:00-04:00"),
    ],
)
def test_rule_13_starts_in_gaps_and_overlaps(line: str, zone: str, start: datetime, expected: str) -> None:
    here = start.replace(tzinfo=ZoneInfo(zone))
    for same_start in (here, here.astimezone(UTC)):
        found = Cron(line, tz=zone).next_after(same_start)
        assert found is not None
        assert found.isoformat() == expected


def test_rule_13_between_counts_instants_not_readings() -> None:
    half_hours, here = Cron("*/30 * * * *", tz=NEW_YORK), ZoneInfo(NEW_YORK)
    after_gap = half_hours.between(datetime(2024, 3, 10, 3, tzinfo=here), datetime(2024, 3, 10, 4, tzinfo=here))
    assert [f"{fire:%H:%M}" for fire in after_gap] == ["03:00", "03:30"]
    second_pass = datetime(2024, 11, 3, 1, tzinfo=here, fold=1), datetime(2024, 11, 3, 2, tzinfo=here)
    assert [f"{fire:%H:%M %Z}" for fire in half_hours.between(*second_pass)] == ["01:00 EST", "01:30 EST"]
    both_passes = datetime(2024, 11, 3, 1, 30, tzinfo=here), datetime(2024, 11, 3, 1, 15, tzinfo=here, fold=1)
    assert [f"{fire:%H:%M %Z}" for fire in half_hours.between(*both_passes)] == ["01:30 EDT", "01:00 EST"]


def test_rule_13_a_naive_start_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        Cron("30 2 * * *", tz="UTC").next_after(datetime(2025, 1, 1))


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


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo", "America/Lima", NEW_YORK])
def test_rule_15_the_ends_of_the_calendar(zone: str) -> None:
    monthly = Calendar("00:00", months=1, on=1, tz=zone)
    for trigger in (Cron("0 0 * * *", tz=zone), Daily("00:00", tz=zone), Cron("* * * * * *", tz=zone), monthly):
        first_fire = trigger.next_after(datetime.min.replace(tzinfo=UTC))
        assert first_fire is not None
        assert first_fire.isoformat()[:19] == "1970-01-01T00:00:00"
        assert trigger.next_after(datetime.max.replace(tzinfo=UTC)) is None


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


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("line", ["30 2 13 * FRI", "@daily", "*/5 * * * * *", "0 0 0 L * ? 2030", "H H(1-3) * * +MON"])
def test_rule_26_the_text_can_be_parsed_again(line: str, options: dict[str, str]) -> None:
    made = Cron(line, **options)
    assert parse_trigger(str(made)) == made


def test_rule_26_the_zone_is_a_name_and_may_come_from_the_task() -> None:
    assert Cron("0 0 * * *", tz=ZoneInfo("Asia/Seoul")) == Cron("0 0 * * *", tz="Asia/Seoul")
    assert '"Asia/Seoul"' in json.dumps(Cron("0 0 * * *", tz="Asia/Seoul").to_json())
    binding = Binding(zone="Asia/Seoul", anchor_us=0)
    assert Cron("0 0 * * *").bind(binding) == Cron("0 0 * * *", tz="Asia/Seoul")
    assert Cron("0 0 * * *", tz="UTC").bind(binding) == Cron("0 0 * * *", tz="UTC")

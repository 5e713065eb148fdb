"""The rows of features about cron lines, zones and the two odd days of the year."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from asyncsched.errors import TriggerError
from asyncsched.triggers import Cron, Daily, Every, Trigger
from effort import LINES_IN_50_MS, counted_lines, lines_of

T0 = datetime(2025, 1, 1, tzinfo=UTC)
T1 = datetime(2026, 1, 1, tzinfo=UTC)


def first(trigger: Trigger, count: int, start: datetime = T0) -> list[datetime]:
    return [fire.astimezone(UTC) for fire in islice(trigger.upcoming(start), count)]


def utc(*texts: str) -> list[datetime]:
    return [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in texts]


def days_of_2025(line: str, **options: str) -> list[str]:
    return [f"{fire:%m-%d}" for fire in Cron(line, tz="UTC", **options).between(T0, T1)]


@pytest.mark.feature("CR1")
@pytest.mark.feature("EA25")
def test_cr1_ea25_five_six_or_seven_fields_are_told_by_count() -> None:
    found = [first(Cron(line, tz="UTC"), 20) for line in ("30 13 * * *", "0 30 13 * * *", "0 30 13 * * * *")]
    assert found[0] == found[1] == found[2]
    assert found[0][:2] == utc("2025-01-01T13:30", "2025-01-02T13:30")
    for line in ("30 13 * *", "0 30 13 * * * * *"):
        with pytest.raises(ValueError, match=str(len(line.split()))):
            Cron(line, tz="UTC")


@pytest.mark.feature("CR2")
@pytest.mark.feature("PA6")
@pytest.mark.parametrize(
    ("field", "dialect", "expected"),
    [
        ("1-5", "unix", "Mon Tue Wed Thu Fri"),
        ("1-5", "quartz", "Mon Tue Wed Thu Sun"),
        ("0", "unix", "Sun"),
        ("7", "unix", "Sun"),
        ("1", "quartz", "Sun"),
    ],
)
def test_cr2_pa6_weekday_numbers(field: str, dialect: str, expected: str) -> None:
    week = first(Cron(f"0 0 * * {field}", tz="UTC", dialect=dialect), 14)
    assert {f"{fire:%a}" for fire in week} == set(expected.split())


@pytest.mark.feature("CR3")
def test_cr3_both_day_fields_mean_either_unless_told() -> None:
    assert len(days_of_2025("0 12 1 * MON")) == 62
    assert len(days_of_2025("0 12 1 * +MON")) == 2
    assert days_of_2025("0 12 1 * MON", days="both") == days_of_2025("0 12 1 * +MON") == ["09-01", "12-01"]
    assert len(days_of_2025("0 12 */2 * MON")) < 30


@pytest.mark.feature("CR4")
def test_cr4_a_number_with_a_step_runs_to_the_end_of_its_field() -> None:
    seconds = [fire.second for fire in first(Cron("1/7 * * * * *", tz="UTC"), 18)]
    assert seconds == [1, 8, 15, 22, 29, 36, 43, 50, 57] * 2


@pytest.mark.feature("CR5")
def test_cr5_a_question_mark_stands_in_the_day_fields_only() -> None:
    assert first(Cron("0 0 ? * ?", tz="UTC"), 20) == first(Cron("0 0 * * *", tz="UTC"), 20)
    assert first(Cron("0 0 13 * ?", tz="UTC"), 20) == first(Cron("0 0 13 * *", tz="UTC"), 20)
    for line in ("? 0 * * *", "0 ? * * *", "0 0 * ? *", "? 0 0 * * *", "0 0 0 * * * ?"):
        with pytest.raises(TriggerError):
            Cron(line, tz="UTC")


@pytest.mark.feature("CR6")
def test_cr6_names_full_and_short_in_any_case() -> None:
    assert {f"{fire:%a}" for fire in first(Cron("0 0 * * Sunday,sat", tz="UTC"), 10)} == {"Sun", "Sat"}
    for name in ("MARCH", "mar", "March", "3"):
        assert first(Cron(f"0 0 1 {name} *", tz="UTC"), 1) == utc("2025-03-01")


@pytest.mark.feature("CR7")
def test_cr7_last_days_nearest_weekdays_and_nth_weekdays() -> None:
    assert days_of_2025("0 0 L * *")[:2] == ["01-31", "02-28"]
    fifteenth = days_of_2025("0 0 15W * *")
    assert (fifteenth[2], fifteenth[5]) == ("03-14", "06-16")
    assert "05-30" in days_of_2025("0 0 LW * *")
    assert days_of_2025("0 0 * * 5#L")[0] == "01-31"
    assert days_of_2025("0 0 * * MON#2")[0] == "01-13"


@pytest.mark.feature("CR8")
@pytest.mark.parametrize(
    ("nickname", "line"),
    [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
    ],
)
def test_cr8_nicknames_equal_their_lines(nickname: str, line: str) -> None:
    zone = "Europe/Dublin"
    assert first(Cron(nickname, tz=zone), 20) == first(Cron(line, tz=zone), 20)


@pytest.mark.feature("CR9")
def test_cr9_years_from_1970_to_2199() -> None:
    assert Cron("0 0 0 1 1 * 2020", tz="UTC").next_after(T0) is None
    assert first(Cron("0 0 0 1 1 * 2199", tz="UTC"), 2) == utc("2199-01-01")
    for year in ("2200", "1969", "2020-2200"):
        with pytest.raises(ValueError, match="2199"):
            Cron(f"0 0 0 1 1 * {year}", tz="UTC")


@pytest.mark.feature("CR10")
def test_cr10_a_time_in_a_gap_fires_after_it_or_is_skipped() -> None:
    start = datetime(2025, 3, 29, 12, tzinfo=UTC)
    after = Cron("30 1 * * *", tz="Europe/Dublin")
    skip = Cron("30 1 * * *", tz="Europe/Dublin", gap="skip")
    assert first(after, 2, start) == utc("2025-03-30T01:00", "2025-03-31T00:30")
    assert first(skip, 1, start) == utc("2025-03-31T00:30")


@pytest.mark.feature("CR11")
def test_cr11_a_doubled_hour_has_a_fixed_time_once_and_a_wildcard_twice() -> None:
    start, end = datetime(2025, 10, 25, 23, 45, tzinfo=UTC), datetime(2025, 10, 26, 1, 45, tzinfo=UTC)

    def between(line: str) -> list[datetime]:
        # In UTC: datetimes of the doubled hour equal none of another zone (PEP 495).
        return [fire.astimezone(UTC) for fire in Cron(line, tz="Europe/Dublin").between(start, end)]

    assert between("30 1 * * *") == utc("2025-10-26T00:30")
    assert between("0 */30 * * * *") == utc(
        "2025-10-26T00:00", "2025-10-26T00:30", "2025-10-26T01:00", "2025-10-26T01:30"
    )


@pytest.mark.feature("CR12")
@pytest.mark.parametrize("line", ["0 0 31 2 *", "0 0 30 2 *"])
def test_cr12_a_line_that_no_date_matches_is_an_error_at_once(line: str) -> None:
    with counted_lines() as lines, pytest.raises(ValueError, match="ever"):
        Cron(line, tz="UTC")
    assert lines.count < 15_000  # far from 50 ms


@pytest.mark.feature("CR12")
def test_cr12_mondays_in_april_are_valid() -> None:
    assert first(Cron("0 0 31 4 MON", tz="UTC"), 1) == utc("2025-04-07")


BAD = [
    ("*/0 * * * *", "minute", "*/0", "0"),
    ("60 * * * *", "minute", "60", "0-59"),
    ("1-2-3 * * * *", "minute", "1-2-3", "0-59"),
    ("5- * * * *", "minute", "5-", "0-59"),
    ("*5 * * * *", "minute", "*5", "0-59"),
    ("0 24 * * *", "hour", "24", "0-23"),
    ("0 -1 * * *", "hour", "-1", "0-23"),
    ("0 1.5 * * *", "hour", "1.5", "0-23"),
    ("0 0 0 * *", "day of month", "0", "1-31"),
    ("0 0 32 * *", "day of month", "32", "1-31"),
    ("0 0 32W * *", "day of month", "32W", "31"),
    ("0 0 L-31 * *", "day of month", "L-31", "30"),
    ("0 0 * 13 *", "month", "13", "1-12"),
    ("0 0 * JANU *", "month", "JANU", "1-12"),
    ("0 0 * * 8", "day of week", "8", "0-7"),
    ("0 0 * * MOND", "day of week", "MOND", "0-7"),
    ("0 0 * * 5#6", "day of week", "5#6", "5"),
    ("0 0 0 1 1 * 1969", "year", "1969", "1970-2199"),
    ("0 0 * * * tail", "day of week", "tail", "0-7"),
    ("61 0 0 * * *", "second", "61", "0-59"),
    ("1" * 20_000 + " * * * *", "", "1111111111", "256"),
]


@pytest.mark.feature("CR13")
@pytest.mark.parametrize(("line", "field", "value", "allowed"), BAD, ids=[line[:20] for line, *_ in BAD])
def test_cr13_an_error_names_field_value_and_range(line: str, field: str, value: str, allowed: str) -> None:
    with pytest.raises(ValueError) as caught:
        Cron(line, tz="UTC")
    message = str(caught.value)
    assert field in message.replace("-of-", " of ")
    assert value in message
    assert allowed in message
    assert len(message) < 600


@pytest.mark.feature("JS2")
def test_js2_seconds_first() -> None:
    found = first(Cron("0 2,14,26 * * * *", tz="UTC"), 4)
    assert found == utc("2025-01-01T00:02", "2025-01-01T00:14", "2025-01-01T00:26", "2025-01-01T01:02")
    assert first(Cron("0 2,14,26 * * * * 2025", tz="UTC"), 4) == found


@pytest.mark.feature("JS9")
def test_js9_a_line_of_the_past_has_no_next_fire() -> None:
    assert list(Cron("0 0 0 1 1 * 2020", tz="UTC").upcoming(T0)) == []


@pytest.mark.feature("PL1")
def test_pl1_a_daily_time_is_that_of_its_zone() -> None:
    found = list(Daily("13:30", tz="Asia/Seoul").between(T0, T0 + timedelta(hours=48)))
    assert found == utc("2025-01-01T04:30", "2025-01-02T04:30")


# Zone, the line, a day before each change; the fires about the gap by choice, and about the overlap by choice.
CHOICES = [
    (
        "America/New_York",
        "30 1,2 * * *",
        {"after": ["03-10T06:30", "03-10T07:00"], "skip": ["03-10T06:30"]},
        {
            "first": ["11-03T05:30", "11-03T07:30"],
            "both": ["11-03T05:30", "11-03T06:30", "11-03T07:30"],
            "last": ["11-03T06:30", "11-03T07:30"],
        },
    ),
    (
        "Europe/Dublin",
        "30 1 * * *",
        {"after": ["03-31T01:00"], "skip": []},
        {"first": ["10-27T00:30"], "both": ["10-27T00:30", "10-27T01:30"], "last": ["10-27T01:30"]},
    ),
    (
        "Australia/Lord_Howe",
        "0 15 2 * * *",
        {"after": ["10-05T15:30"], "skip": []},
        {"first": ["04-06T15:45"], "both": ["04-06T15:45"], "last": ["04-06T15:45"]},
    ),
    (
        "Australia/Lord_Howe",
        "45 1 * * *",
        {"after": ["10-05T15:15"], "skip": ["10-05T15:15"]},
        {"first": ["04-06T14:45"], "both": ["04-06T14:45", "04-06T15:15"], "last": ["04-06T15:15"]},
    ),
]
CHANGES = {  # the local days of the gap and of the overlap in 2024
    "America/New_York": (date(2024, 3, 10), date(2024, 11, 3)),
    "Europe/Dublin": (date(2024, 3, 31), date(2024, 10, 27)),
    "Australia/Lord_Howe": (date(2024, 10, 6), date(2024, 4, 7)),
}


def on_local_day(trigger: Trigger, zone: str, day: date) -> list[str]:
    start, end = (
        datetime(it.year, it.month, it.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for it in (day, day + timedelta(days=1))
    )
    return [f"{fire.astimezone(UTC):%m-%dT%H:%M}" for fire in trigger.between(start, end)]


@pytest.mark.feature("NB2")
@pytest.mark.parametrize("overlap", ["first", "both", "last"])
@pytest.mark.parametrize("gap", ["after", "skip"])
@pytest.mark.parametrize(("zone", "line", "in_gap", "in_overlap"), CHOICES)
def test_nb2_daylight_saving_is_chosen_for_each_trigger(
    zone: str, line: str, in_gap: dict[str, list[str]], in_overlap: dict[str, list[str]], gap: str, overlap: str
) -> None:
    trigger = Cron(line, tz=zone, gap=gap, overlap=overlap)
    spring, autumn = CHANGES[zone]
    assert on_local_day(trigger, zone, spring) == in_gap[gap]
    assert on_local_day(trigger, zone, autumn) == in_overlap[overlap]


PA5_ZONES = {
    "America/New_York": ("2024-03-10T07:00", "2024-11-03T06:00"),
    "Europe/Berlin": ("2024-03-31T01:00", "2024-10-27T01:00"),
    "Australia/Lord_Howe": ("2024-10-05T15:30", "2024-04-06T15:00"),
    "America/Sao_Paulo": ("2018-11-04T03:00", "2018-02-18T02:00"),
    "Antarctica/Troll": ("2024-03-31T01:00", "2024-10-27T01:00"),
}
PA5_LINES = ["30 1 * * *", "30 2 * * *", "0 0 * * *", "30 23 * * *", "*/15 * * * *", "0 */3 * * *", "0,30 0-3 * * *"]


@pytest.mark.feature("PA5")
@pytest.mark.parametrize("change", [0, 1], ids=["gap", "overlap"])
@pytest.mark.parametrize("zone", PA5_ZONES)
@pytest.mark.parametrize("line", [*PA5_LINES, "daily", "every"])
def test_pa5_no_loop_skip_or_double_at_a_change_of_the_clock(line: str, zone: str, change: int) -> None:
    at = datetime.fromisoformat(PA5_ZONES[zone][change]).replace(tzinfo=UTC)
    start, end = at - timedelta(hours=30), at + timedelta(hours=30)
    trigger: Trigger
    match line:
        case "daily":
            trigger = Daily("01:30", tz=zone)
        case "every":
            trigger = Every(timedelta(minutes=45), start=start)
        case _:
            trigger = Cron(line, tz=zone)
    fires, moment = [start], start
    while (found := _counted(trigger, moment))[0] < end:
        moment, lines = found
        fires.append(moment)
        assert lines < LINES_IN_50_MS
    assert all(one < other for one, other in pairwise(fires))
    if "*" in line.split()[:2][-1] or line == "every":
        assert max(later - earlier for earlier, later in pairwise(fires)) <= timedelta(hours=5)
    elif line in ("30 1 * * *", "daily", "30 2 * * *", "0 0 * * *", "30 23 * * *"):
        local_days = [(fire.astimezone(ZoneInfo(zone)) - timedelta(hours=0)).date() for fire in fires[1:]]
        assert len(local_days) == len(set(local_days)), "once a day"
        assert len(local_days) in (2, 3), "and never less"


def _counted(trigger: Trigger, moment: datetime) -> tuple[datetime, int]:
    """The next fire, and how many lines of Python it took."""
    found, lines = lines_of(partial(trigger.next_after, moment))
    assert found is not None
    return found.astimezone(UTC), lines

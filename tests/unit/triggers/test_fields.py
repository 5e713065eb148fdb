"""One line into fields: sets, day rules, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.errors import TriggerError
from asyncsched.triggers._fields import LONGEST, Dates, Days, Dialect, Weekdays, parse_line, split_line


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("*", range(24)),
        ("7", [7]),
        ("007", [7]),
        ("9-12", range(9, 13)),
        ("5-5", [5]),
        ("22-2", [0, 1, 2, 22, 23]),
        ("*/6", [0, 6, 12, 18]),
        ("*/99", [0]),
        ("*/99999999999999999999", [0]),
        ("9-17/4", [9, 13, 17]),
        ("22-4/3", [1, 4, 22]),
        ("20/2", [20, 22]),
        ("23/5", [23]),
        ("3,1,3,2-4", [1, 2, 3, 4]),
        ("*,1", range(24)),
    ],
)
def test_a_plain_field_is_a_sorted_set(text: str, hours: list[int]) -> None:
    assert parse_line(f"0 {text} * * *").hours == tuple(hours)


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("0", [0]),
        ("7", [0]),
        ("7-3", [0, 1, 2, 3]),
        ("5-7", [0, 5, 6]),
        ("5-0", [0, 5, 6]),
        ("FRI-SUN", [0, 5, 6]),
        ("0-7", range(7)),
        ("1-7/2", [0, 1, 3, 5]),
        ("7-0", [0]),
        ("SUN-SUN", [0]),
        ("FRI-MON", [0, 1, 5, 6]),
        ("FRI-MON/2", [0, 5]),
        ("5/1", [5, 6]),
        ("Friday,sat", [5, 6]),
        ("*/3", [0, 3, 6]),
        ("+mon", [1]),
    ],
)
def test_a_week_begins_on_sunday_and_may_end_on_one(text: str, days: list[int]) -> None:
    assert parse_line(f"0 0 * * {text}").weekdays == Weekdays(tuple(days))


@pytest.mark.parametrize(("text", "days"), [("1-5", range(5)), ("7", [6]), ("6-2", [0, 1, 5, 6]), ("5/1", [4, 5, 6])])
def test_quartz_counts_weekdays_from_one(text: str, days: list[int]) -> None:
    assert parse_line(f"0 0 ? * {text}", "quartz").weekdays.plain == tuple(days)


def test_quartz_weekday_signs_use_its_numbers() -> None:
    assert parse_line("0 0 ? * 6#3,6L,L", "quartz").weekdays == Weekdays((6,), ((5, 3),), (5,))
    with pytest.raises(TriggerError, match="day of week 0 is not in 1-7 or SUN-SAT"):
        parse_line("0 0 ? * 0", "quartz")


@pytest.mark.parametrize(
    ("text", "dates"),
    [
        ("L", Dates((), last=(0,))),
        ("l-3,15", Dates((15,), last=(3,))),
        ("LW", Dates((), last_nearest=(0,))),
        ("L-2w", Dates((), last_nearest=(2,))),
        ("15W", Dates((), nearest=(15,))),
        ("28-3", Dates((1, 2, 3, 28, 29, 30, 31))),
        ("?", Dates(tuple(range(1, 32)))),
    ],
)
def test_day_of_month_signs(text: str, dates: Dates) -> None:
    assert parse_line(f"0 0 {text} * *").dates == dates


@pytest.mark.parametrize("text", ["5L", "L5", "FRIL", "LFRI", "5#L", "Friday#L", "fril"])
def test_the_last_friday_has_many_spellings(text: str) -> None:
    assert parse_line(f"0 0 * * {text}").weekdays == Weekdays((), last=(5,))


def test_a_nth_weekday_may_be_listed_with_plain_ones() -> None:
    assert parse_line("0 0 * * MON#1,7#5,FRI").weekdays == Weekdays((5,), nth=((0, 5), (1, 1)))


@pytest.mark.parametrize(
    ("line", "days", "together"),
    [
        ("0 0 13 * FRI", "crontab", False),
        ("0 0 */2 * FRI", "crontab", True),
        ("0 0 ? * FRI", "crontab", True),
        ("0 0 13 * */2", "crontab", True),
        ("0 0 1,*/2 * FRI", "crontab", False),
        ("0 0 13 * +FRI", "crontab", True),
        ("0 0 13 * +FRI", "either", True),
        ("0 0 13 * FRI", "both", True),
        ("0 0 */2 * FRI", "either", False),
        ("0 0 * * FRI", "either", True),
    ],
)
def test_which_day_fields_must_match(line: str, days: Days, together: bool) -> None:
    assert parse_line(line, days=days).together is together


def test_quartz_wants_both_day_fields() -> None:
    assert parse_line("0 0 13 * FRI", "quartz").together
    assert not parse_line("0 0 13 * FRI", "quartz", "either").together


@pytest.mark.parametrize(
    ("line", "wildcard"),
    [
        ("*/5 3 * * *", True),
        ("5 * * * *", True),
        ("0-59 3 * * *", False),
        ("0/5 3 * * *", False),
        ("1,* 3 * * *", False),
        ("0 3 * * *", False),
        ("0 0 3 * * *", False),
        ("* 0 3 * * *", True),
        ("0 0 3 * * * *", False),
    ],
)
def test_only_a_leading_star_in_the_clock_fields_makes_a_wildcard(line: str, wildcard: bool) -> None:
    assert parse_line(line).wildcard is wildcard


def test_the_number_of_fields_tells_seconds_and_years() -> None:
    five, six, seven = (parse_line(line) for line in ("30 13 * * *", "0 30 13 * * *", "0 30 13 * * * *"))
    assert five == six == seven
    assert parse_line("5 30 13 * * * 2030-2032").years == (2030, 2031, 2032)
    assert split_line(" \t1  2\t3 4 5 ") == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 25 * * *", "hour 25 is not in 0-23 (field 2 of 5)"),
        ("0 0 24 * * *", "hour 24 is not in 0-23 (field 3 of 6)"),
        ("0 0 0 1 1 * 2200", "year 2200 is not in 1970-2199 (field 7 of 7)"),
        ("1-60 0 * * *", "minute 60 in '1-60' is not in 0-59 (field 1 of 5)"),
        (
            "0 0 * Foo *",
            "month 'Foo' is not allowed: give a value, a range a-b or a step */n, values in 1-12 or JAN-DEC",
        ),
        ("0 0 * * MON,", "day of week has an empty item: give a value in 0-7 or SUN-SAT (field 5 of 5)"),
        ("0 0 1W,2 * *", "day of month '1W,2' is not allowed: W follows one day, 1-31, alone (field 3 of 5)"),
        ("0 0 L-31 * *", "day of month 'L-31' is not allowed: L-n is for n in 1-30 (field 3 of 5)"),
        ("0 0 * * 5#6", "day of week '5#6' is not allowed: after # stands one of 1-5 or L"),
        ("*/0 * * * *", "minute '*/0' is not allowed: a step is a whole number from 1 on, values in 0-59"),
        ("0 0 0 1 1 * 2030-2020", "a range of years does not run backwards"),
        ("0 \u0663 * * *", "hour '\u0663' is not allowed: only plain ASCII is, values in 0-23 (field 2 of 5)"),
        ("* * * *", "has 4 fields: 5 are allowed"),
        ("", "has 0 fields: 5 are allowed"),
        ("@reboot", "unknown nickname '@reboot': alone, one of @yearly"),
        ("@wee\u212aly", "unknown nickname"),  # the Kelvin sign, whose lower case is k
        ("0 0 * * *\n", "day of week '*\\n' is not allowed"),
    ],
)
def test_a_refusal_names_field_text_and_range(line: str, message: str) -> None:
    with pytest.raises(TriggerError) as refused:
        parse_line(line)
    assert message in str(refused.value)


def test_what_is_no_text_or_too_long_is_refused_unread() -> None:
    with pytest.raises(TriggerError, match="a cron line is a text"):
        split_line(b"* * * * *")  # type: ignore[arg-type]
    with pytest.raises(TriggerError, match=f"at most {LONGEST} characters in all, these have 100000"):
        split_line("1" * 100_000)


@given(st.text(alphabet="0123456789*/-,#?+LWH() FRIMONJA@", max_size=LONGEST))
def test_any_text_is_a_line_or_a_trigger_error(text: str) -> None:
    for dialect in ("unix", "quartz"):
        try:
            line = parse_line(text, dialect)
        except TriggerError:
            continue
        assert all((line.seconds, line.minutes, line.hours, line.months, line.years))


ITEMS = st.sampled_from(["H", "H/7", "H(3-9)", "H(3-9)/2", "h/500", "H(50-5)/4"])


@given(ITEMS, st.text(min_size=1, max_size=20), st.sampled_from(["unix", "quartz"]))
def test_h_stays_inside_what_it_may_become(item: str, key: str, dialect: Dialect) -> None:
    line = f"{item} 0 * * *"
    spread, all_of = parse_line(line, dialect, key=key), parse_line(line, dialect)
    assert spread.spread
    assert set(spread.minutes) < set(all_of.minutes)
    if "/" not in item:
        assert len(spread.minutes) == 1


def test_h_with_a_step_begins_within_the_first_step() -> None:
    minutes = {parse_line("H/15 * * * *", key=str(number)).minutes for number in range(200)}
    assert minutes == {(first, first + 15, first + 30, first + 45) for first in range(15)}


def test_h_of_a_day_of_the_month_is_in_every_month() -> None:
    days = {parse_line("0 0 H * *", key=str(number)).dates.plain for number in range(500)}
    assert days == {(day,) for day in range(1, 29)}


def test_h_is_the_same_in_every_process_and_release_and_differs_by_field() -> None:
    line = parse_line("H H H H H H", key="app.tasks:report")
    assert (line.seconds, line.minutes, line.hours) == ((17,), (42,), (5,))
    assert (line.dates.plain, line.months, line.weekdays.plain) == ((23,), (5,), (3,))


@pytest.mark.parametrize("item", ["H5", "H(", "H()", "H(1)", "H(1-", "H(1-60)", "H-5", "H/0", "H(1-5)x"])
def test_a_wrong_h_is_refused(item: str) -> None:
    with pytest.raises(TriggerError, match="minute"):
        parse_line(f"{item} * * * *")


def test_h_is_not_for_years() -> None:
    with pytest.raises(TriggerError, match="year 'H' is not allowed"):
        parse_line("0 0 0 1 1 * H")

"""The closed English of when(): every form, every refusal."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.errors import TriggerError
from asyncsched.triggers import (
    AllOf,
    AnyOf,
    Between,
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
from effort import counted_lines

QUARTERS = ("1 january", "1 april", "1 july", "1 october")
T0 = datetime(2026, 1, 1, tzinfo=UTC)

SENTENCES: list[tuple[str, Trigger]] = [
    ("every 4 seconds", Every("4s")),
    ("every second", Every("1s")),
    ("Every Minute", Every("1m")),
    ("every 15 minutes", Every("15m")),
    ("every 2 hours", Every("2h")),
    ("every 2 hours every day", Every("2h")),
    ("every 90 seconds", Every("90s")),
    ("each 5 mins", Every("5m")),
    ("every 1.5 hours", Every("90m")),
    ("every 1h30m", Every("90m")),
    ("every 1 hour, 30 minutes", Every("90m")),
    ("every 48 hours", Every("2d")),
    ("every hour from 2026-01-01T08:00Z", Every("1h", start=datetime(2026, 1, 1, 8, tzinfo=UTC))),
    ("every 1h30m from 2026-01-01 08:00", Every("90m", start=datetime(2026, 1, 1, 8))),
    ("every hour from 2026-01-01 08:00 in Asia/Seoul", Every("1h", start=datetime(2025, 12, 31, 23, tzinfo=UTC))),
    ("every 15 minutes between 09:00 and 17:00", Cron("*/15 9-16 * * *")),
    ("every 15 minutes between 9am and 5pm on weekdays", Cron("*/15 9-16 * * mon-fri")),
    ("every 30 minutes between 22:00 and 06:00", Cron("*/30 22-5 * * *")),
    ("every minute between 09:00 and 10:00", Cron("* 9 * * *")),
    ("every 10 seconds between noon and midnight", Cron("*/10 * 12-23 * * *")),
    ("every 2 hours between 09:00 and 17:00", Daily(["09:00", "11:00", "13:00", "15:00"])),
    ("every hour between 22:00 and 02:00 on weekends", Daily(["22:00", "23:00", "00:00", "01:00"], "sat,sun")),
    ("every 5 minutes on weekdays", Cron("*/5 * * * mon-fri")),
    ("every 5 minutes on monday and friday", Cron("*/5 * * * mon,fri")),
    ("every 20 seconds on saturday", Cron("*/20 * * * * sat")),
    ("every 6 hours on sundays", Cron("0 */6 * * sun")),
    ("every hour in july", Cron("0 * * 7 *")),
    ("every minute from november to january", Cron("* * * 1,11-12 *")),
    ("every 10 minutes on the 1st and 15th of the month", Cron("*/10 * 1,15 * *")),
    ("every 10 minutes on the last day of the month", Cron("*/10 * L * *")),
    ("every 10 minutes on the last weekday of the month", Cron("*/10 * LW * *")),
    ("every 10 minutes on the first monday and the last friday of the month", Cron("*/10 * * * mon#1,friL")),
    ("every 10 minutes on the 15th, last day, 2nd and 15th", Cron("*/10 * 2,15,L * *")),
    ("every 10 minutes on weekdays and weekends", Every("10m")),
    ("every day from january to december at 09:00", Daily("09:00")),
    ("every day at 09:00 and 17:30", Daily(["09:00", "17:30"])),
    ("daily at noon", Daily("12:00")),
    ("at 14:30", Daily("14:30")),
    ("at 14:30:15", Daily("14:30:15")),
    ("7:30 pm", Daily("19:30")),
    ("at 12am and 12:05pm", Daily(["00:00", "12:05"])),
    ("every day", Daily("00:00")),
    ("every weekday at 9am", Daily("09:00", "mon-fri")),
    ("every weekend at 10:00", Daily("10:00", "sat,sun")),
    ("every monday, wednesday and friday at 18:00", Daily("18:00", "mon,wed,fri")),
    ("on tuesdays at midnight", Daily("00:00", "tue")),
    ("every friday to monday at 9:00", Daily("09:00", "fri-mon")),
    ("at 09:00 on mon-fri", Daily("09:00", "mon-fri")),
    ("every day at 09:00 in Europe/Berlin", Daily("09:00", tz="Europe/Berlin")),
    ("every day at 09:00 in may and june", Cron("0 9 * 5-6 *")),
    ("every weekday at 09:15 and 17:15 in december", Cron("15 9,17 * 12 mon-fri")),
    (
        "every 2 weeks on monday at 8am from 2026-11-23",
        Calendar("08:00", weeks=2, on="monday", start=date(2026, 11, 23)),
    ),
    ("every week on monday and friday", Calendar(weeks=1, on=("mon", "fri"))),
    ("every 10 days at 07:00", Calendar("07:00", days=10)),
    ("every 3 months at noon", Calendar("12:00", months=3)),
    ("every 1st and 15th at 08:00", Calendar("08:00", months=1, on=(1, 15))),
    ("every month on the 31st at 07:00", Calendar("07:00", months=1, on=31)),
    ("every 2 months on the last day and the first monday", Calendar(months=2, on=("last day", "first monday"))),
    ("the last day of every month at 23:00", Calendar("23:00", months=1, on="last day")),
    ("every first monday of the month at 7am", Calendar("07:00", months=1, on="first monday")),
    ("every second monday of the month at 7am", Calendar("07:00", months=1, on="second monday")),
    ("last friday of the month at 09:00", Calendar("09:00", months=1, on="last friday")),
    ("every last friday of the month at 16:00", Calendar("16:00", months=1, on="last friday")),
    ("every last weekday of the month at noon", Calendar("12:00", months=1, on="last weekday")),
    ("at 10:00 on the 2nd tuesday of the month", Calendar("10:00", months=1, on="second tuesday")),
    ("the first day of january at noon", Calendar("12:00", years=1, on="1 january")),
    ("every first day of the month", Calendar(months=1, on=1)),
    ("on the 12th day of the month at 1pm", Calendar("13:00", months=1, on=12)),
    ("every january 1st at midnight", Calendar(years=1, on="1 january")),
    ("every year on 25 december at 08:00", Calendar("08:00", years=1, on="25 december")),
    ("every 2 years on the last friday of november", Calendar(years=2, on="last friday of november")),
    ("on the 1st in january and july at 9am", Calendar("09:00", years=1, on=("1 january", "1 july"))),
    ("every quarter at 00:00", Calendar(years=1, on=QUARTERS)),
    ("hourly", Cron("0 * * * *")),
    ("hourly on sunday", Cron("0 * * * sun")),
    ("daily", Daily("00:00")),
    ("weekly", Daily("00:00", "sun")),
    ("weekly on monday at 9am", Daily("09:00", "mon")),
    ("monthly", Calendar(months=1, on=1)),
    ("monthly on the 5th at 9am in UTC", Calendar("09:00", months=1, on=5, tz="UTC")),
    ("yearly", Calendar(years=1, on="1 january")),
    ("once at 2027-01-01 00:00", Once(datetime(2027, 1, 1))),
    ("once at 2027-01-01 00:00 in Asia/Seoul", Once(datetime(2027, 1, 1), tz="Asia/Seoul")),
    ("never", Never()),
]
LITERALS: list[tuple[Any, Trigger]] = [
    ("0 9 * * 1-5", Cron("0 9 * * 1-5")),
    ("  30 9 1 jan MON ", Cron("30 9 1 jan MON")),
    ("0 9 1 1 0", Cron("0 9 1 1 0")),
    ("@daily", Cron("@daily")),
    ("0 9 * * mon in Europe/Berlin", Cron("0 9 * * mon", tz="Europe/Berlin")),
    ("H 3 * * *", Cron("H 3 * * *")),
    ("1h30m", Every("90m")),
    ("2 weeks", Every(timedelta(weeks=2))),
    ("every 5s", Every("5s")),
    ("2027-01-01T00:00Z", Once(datetime(2027, 1, 1, tzinfo=UTC))),
    ("2027-01-01 00:00:30.5", Once(datetime(2027, 1, 1, 0, 0, 30, 500_000))),
    ("2027-01-01T00:00+09:00", Once(datetime(2026, 12, 31, 15, tzinfo=UTC))),
    (timedelta(seconds=5), Every("5s")),
    (Daily("09:00"), Daily("09:00")),
    ([], Never()),
    (["at 09:00"], Daily("09:00")),
    ([timedelta(hours=1), ["0 9 * * *", Never()]], AnyOf(Every("1h"), AnyOf(Cron("0 9 * * *"), Never()))),
]


@pytest.mark.parametrize(("text", "trigger"), SENTENCES + LITERALS)
def test_what_is_understood(text: Any, trigger: Trigger) -> None:
    assert parse_trigger(text) == trigger


@pytest.mark.parametrize(("text", "trigger"), SENTENCES)
def test_case_commas_and_blanks_do_not_matter(text: str, trigger: Trigger) -> None:
    head, _, zone = text.partition(" in ")
    loud = head.upper().replace(" AND ", " ,  AND ")
    assert parse_trigger(f"  {loud} in {zone}" if zone else loud) == trigger


@pytest.mark.parametrize(("_text", "trigger"), SENTENCES)
def test_what_a_trigger_says_of_itself_is_understood(_text: str, trigger: Trigger) -> None:
    assert parse_trigger(trigger.describe()) == trigger
    assert parse_trigger(str(trigger)) == trigger
    if isinstance(trigger, Daily | Calendar | Cron) and trigger.tz is None:
        there = parse_trigger(f"{trigger} in Asia/Seoul")
        assert there != trigger
        assert parse_trigger(there.describe()) == there


@pytest.mark.parametrize(
    ("text", "word", "could"),
    [
        ("", "''", "'every'"),
        ("every", "'every' ends", "a unit"),
        ("every foo", "'foo'", "a number and a unit"),
        ("foo every minute", "'foo'", "'every'"),
        ("every -5 seconds", "'-5'", "a number"),
        ("every 0 days at noon", "'0'", "a number from 1 on"),
        ("every five minutes", "'five'", "a number"),
        ("every 5s1h", "'5s1h'", "a duration"),
        ("every 5 fortnights", "'5'", "a unit"),
        ("every * minutes", "'*'", "a unit"),
        ("every minute please", "'please'", "'at'"),
        ("every 4 days", "'every 4 days' ends", "'at'"),
        ("every 2 weeks", "'every 2 weeks' ends", "'at'"),
        ("every month", "'every month' ends", "'on'"),
        ("every month at 9am", "ends", "'on'"),
        ("every second monday at 9am", "'at'", "'of the month'"),
        ("every second day at 9am", "'day'", "a date such as '2nd'"),
        ("every 2nd day of the month", "'day'", "a date such as '2nd'"),
        ("every last friday", "ends", "'of the month'"),
        ("every first day", "ends", "'of the month'"),
        ("every 2nd day and last day of the month", "'day'", "a date such as '2nd'"),
        ("every 2 quarters", "'quarters'", "'months'"),
        ("every monday and foo", "'foo'", "a weekday"),
        ("every monday to noon", "'noon'", "a weekday"),
        ("every monday every day", "'every'", "the end"),
        ("every minute at 09:00", "'at'", "the end"),
        ("every day on the 15th", "'on'", "the end"),
        ("every month on monday", "'on'", "the end"),
        ("every 10 days on monday", "'on'", "the end"),
        ("every weekday at 9am from 2026-01-01", "'from'", "the end"),
        ("every day at 09:00 at 10:00", "'at'", "the end"),
        ("every day at 9", "'9'", "a time"),
        ("at 25:00", "'25:00'", "00:00 to 23:59:59"),
        ("at 13pm", "'13pm'", "9am"),
        ("at 9:60", "'9:60'", "a time"),
        ("at noon and dusk", "'dusk'", "a time"),
        ("every 7 minutes on monday", "'7'", "divides 60"),
        ("every 5 hours on monday", "'5'", "divides 24"),
        ("every 1h30m on monday", "'1h30m'", "divides"),
        ("every 15 minutes between 9:30 and noon", "'between'", "whole hours"),
        ("every 15 minutes between 09:00 and 09:00", "'between'", "different"),
        ("every 15 minutes between 09:00 to 17:00", "'to'", "'and'"),
        ("every 15 minutes between nine and noon", "'nine'", "a time"),
        ("every minute on the 1st and the last friday", "'on'", "not both"),
        ("every minute on the first weekday of the month", "'on'", "the last day"),
        ("every day at 09:00 and 10:30 in may", "'at'", "same minute"),
        ("every day in may to 2027", "'2027'", "a month"),
        ("in september", "ends", "how often"),
        ("only", "ends", "a weekday"),
        ("every minute in Mars/Base", "'Mars/Base'", "time zone"),
        ("every minute in", "ends", "a month"),
        ("every 15 minutes in Europe/Rome", "'Europe/Rome'", "leave it out"),
        ("every hour from 2026-01-01", "'2026-01-01'", "date and time"),
        ("every 2 weeks on monday from tomorrow", "'tomorrow'", "a date"),
        ("every 2 weeks on monday from 2026-02-30", "'2026-02-30'", "a date"),
        ("once", "'once' ends", "'at'"),
        ("once at noon", "'noon'", "a date and time"),
        ("once at 2026-02-30 00:00", "'2026-02-30 00:00'", "a date and time"),
        ("2027-01-01", "'2027-01-01'", "'every'"),
        ("the 1st of january and july", "'july'", "a weekday"),
        ("Run second", "'second'", "'every'"),
        ("every day at ٠٩:٠٠", "'٠٩:٠٠'", "a time"),
    ],
)
def test_what_is_not_understood_is_named(text: str, word: str, could: str) -> None:
    with pytest.raises(TriggerError) as caught:
        parse_trigger(text)
    said, _, rest = str(caught.value).partition("could stand")
    if not rest:
        said, _, rest = str(caught.value).partition(": ")
    assert word in said
    assert could in rest


@pytest.mark.parametrize(
    "value",
    [
        "0 25 * * *",
        "* * * *",
        "@reboot",
        "every 0 minutes",
        "0s",
        "every month on the 32nd",
        "every year on 30 february",
        "every year on the 3rd",
        "{",
        "{}",
        "{" * 10_000,
        '{"kind":"Every"}',
        '{"kind":"Every","period":"soon"}',
        '{"kind":"Daily","at":[1]}',
        '{"kind":"Trigger"}',
        '{"kind":"os:system"}',
        '{"kind":"AnyOf","triggers":3}',
        '{"kind":"Once","at":{"datetime":"x"}}',
        '{"a":' * 5_000,
        '{"kind":"Never"} ' + " " * 70_000 + "x",
        "every " + "x" * 100_000,
        "every monday" + " and monday" * 9_000,
        "9" * 250,
        "every " + "9" * 240 + " days",
        5,
        None,
        b"every minute",
        {"every": "5s"},
        [5],
    ],
)
def test_junk_is_an_error_and_soon(value: Any) -> None:
    with counted_lines() as lines, pytest.raises(ValueError, match=r"\w"):
        parse_trigger(value)
    assert lines.count < 50_000


def test_a_text_too_long_to_be_a_sentence_is_written_as_json() -> None:
    many = Daily([f"{hour:02}:{minute:02}:07" for hour in range(24) for minute in (1, 2)])
    assert str(many).startswith("{")
    assert parse_trigger(str(many)) == many


@pytest.mark.parametrize(
    "trigger",
    [
        Daily("09:00", gap="skip", tz="UTC"),
        Daily("09:00", overlap="last"),
        Once(datetime(2024, 11, 3, 1, 30, fold=1), tz="America/New_York"),
        Every("1h", start=datetime(2024, 11, 3, 1, 30, fold=1)),
        Calendar(months=2, on=31, overflow="clamp", start=date(2025, 1, 1), tz=ZoneInfo("Asia/Seoul")),
        Cron("0 9 * * mon", days="both", key="app:f"),
        AnyOf(Daily("09:00"), AllOf(Every("1h"), Cron("* * * * *"))),
        Except(Between(Every("1h"), T0, datetime(2027, 1, 1)), "sat", date(2026, 12, 25), Daily("09:00"), tz="UTC"),
    ],
)
def test_what_has_no_words_is_written_as_json(trigger: Trigger) -> None:
    assert str(trigger).startswith("{")
    assert parse_trigger(str(trigger)) == trigger
    assert hash(parse_trigger(str(trigger))) == hash(trigger)

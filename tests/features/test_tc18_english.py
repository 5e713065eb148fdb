"""TC18: ``when`` beside another reader of English.

The phrases are those that the Rust crate english-to-cron is tested with. Where this library gives no trigger, the
phrase leaves something open; the word that is then named stands in its place in the table.
"""

from __future__ import annotations

import pytest

from asyncsched.errors import TriggerError
from asyncsched.triggers import Calendar, Cron, Daily, Every, Trigger, parse_trigger

# A trigger, or the word at which the error points.
PHRASES: dict[str, Trigger | str] = {
    "Run second": "second",
    "every 5 second": Every("5s"),
    "every 5 second on september": Cron("*/5 * * * 9 *"),
    "every 5 second on 9 month": "9",
    "Every 2 seconds, only on thursday": Cron("*/2 * * * * thu"),
    "Run every 2 second on the 12th day": Cron("*/2 * * 12 * *"),
    "Run every 2 second on Monday thursday": Cron("*/2 * * * * mon,thu"),
    "Run every 10 seconds Monday through thursday between 6:00 am and 8:00 pm": Cron("*/10 * 6-19 * * mon-thu"),
    "Run every minute": Every("1m"),
    "Run every 15 minutes": Every("15m"),
    "every minutes on thursday": Cron("* * * * thu"),
    "every 2 minutes on Thursday": Cron("*/2 * * * thu"),
    "Run every 10 minutes Monday through Friday every month": "every",
    "Run every 1 minutes Monday through Thursday between 6:00 am and 9:00 pm": Cron("* 6-20 * * mon-thu"),
    "Run every 5 minutes Monday through Thursday between 6:00 am and 9:00 am": Cron("*/5 6-8 * * mon-thu"),
    "Every 5 minutes, only on Friday": Cron("*/5 * * * fri"),
    "Run every 3 hours": Every("3h"),
    "Run every 6 hours, starting at 1:00 pm on day Monday": "starting",
    "Run every 1 hour only on weekends": Cron("0 * * * sat,sun"),
    "Run every hour only on weekends": Cron("0 * * * sat,sun"),
    "Run every day": Daily("00:00"),
    "Run every 4 days": "ends too early",
    "every day at 4:00 pm": Daily("16:00"),
    "every 2 day at 4:00 pm": Calendar("16:00", days=2),
    "every 5 day at 4:30 pm": Calendar("16:30", days=5),
    "every 5 day at 4:30 pm only in September": "only",
    "every 5 day at 4:30 pm Monday through Thursday": "monday",
    "Run every day from January to March": Cron("0 0 * 1-3 *"),
    "Run every 3 days at noon": Calendar("12:00", days=3),
    "Run every 2nd day of the month": "day",
    "Run every sec from January to March": Cron("* * * * 1-3 *"),
    "Run every minute from January to March": Cron("* * * 1-3 *"),
    "Run every hours from January to March": Cron("0 * * 1-3 *"),
    "every 2 day from January to August in 2020 and 2024": "2020",
    "Run at 10:00 am": Daily("10:00"),
    "Run at 12:15 pm": Daily("12:15"),
    "Run at 6:00 pm every Monday through Friday": Daily("18:00", "mon-fri"),
    "Run at noon every Sunday": Daily("12:00", "sun"),
    "Run at midnight on the 1st and 15th of the month": Calendar("00:00", months=1, on=(1, 15)),
    "midnight on Tuesdays": Daily("00:00", "tue"),
    "Run at 5:15am every Tuesday": Daily("05:15", "tue"),
    "7pm every Thursday": Daily("19:00", "thu"),
}


@pytest.mark.feature("TC18")
@pytest.mark.parametrize(("phrase", "expected"), PHRASES.items())
def test_tc18_a_phrase_is_the_trigger_of_the_table_or_an_error_naming_the_word(
    phrase: str, expected: Trigger | str
) -> None:
    if isinstance(expected, Trigger):
        assert parse_trigger(phrase) == expected
        return
    with pytest.raises(TriggerError) as caught:
        parse_trigger(phrase)
    said, _, could = str(caught.value).partition("could stand")
    assert could
    assert expected in said if " " in expected else said.startswith(f"'{expected}' was not understood")


@pytest.mark.feature("TC18")
def test_tc18_thirty_of_the_forty_two_are_understood() -> None:
    assert len(PHRASES) == 42
    assert sum(isinstance(expected, Trigger) for expected in PHRASES.values()) >= 30
    assert parse_trigger("every minute") == Every("1m")

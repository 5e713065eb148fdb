"""No call of any trigger holds the loop for 50 ms, with every cache cold too.

Run as a script this file measures each case once in its fresh process, ``in_lines`` or ``in_seconds``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import pytest

from asyncsched.errors import TriggerError
from asyncsched.triggers import AllOf, AnyOf, Between, Calendar, Cron, Daily, Every, Except, Never, Once, Trigger
from effort import LINES_IN_50_MS, lines_of

T = TypeVar("T")
Measured = Callable[[Callable[[], Any]], tuple[Any, float]]
LINES_IN_50_US = LINES_IN_50_MS // 1_000
# Ten times as much as on a machine that is idle and a quarter as fast: only what has gone astray takes that long.
ASTRAY_S = 10
TESTS = str(Path(__file__).resolve().parents[2])
NEW_YORK, APIA = "America/New_York", "Pacific/Apia"
EVERY_SECOND = "* * * * * *"
EVERY_SECOND_FIXED = "0-59 0-59 0-23 * * *"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NOW = at("2026-11-21")
HOLIDAYS = [date(2027, 1, 1) + timedelta(days=day) for day in range(3_000)]
CASES: dict[str, tuple[Callable[[], Trigger], datetime]] = {
    "seconds before a gap": (lambda: Cron(EVERY_SECOND, tz=NEW_YORK), at("2024-03-10T06:59:58")),
    "seconds before an overlap": (lambda: Cron(EVERY_SECOND, tz="Europe/Paris"), at("2024-10-27T00:59:58")),
    "seconds before the missing day": (lambda: Cron(EVERY_SECOND, tz=APIA), at("2011-12-30T09:59:58")),
    "fixed seconds before the missing day": (lambda: Cron(EVERY_SECOND_FIXED, tz=APIA), at("2011-12-30T09:59:58")),
    "fixed seconds in the second pass": (lambda: Cron(EVERY_SECOND_FIXED, tz="Europe/Rome"), at("2024-10-27T01:00:00")),
    "fixed seconds, last pass": (
        lambda: Cron(EVERY_SECOND_FIXED, tz="Europe/Oslo", overlap="last"),
        at("2024-10-26T23:59:59"),
    ),
    "fixed seconds, both passes": (
        lambda: Cron(EVERY_SECOND_FIXED, tz="Europe/Rome", overlap="both"),
        at("2024-10-27T00:59:59"),
    ),
    "fixed seconds, gap skipped": (
        lambda: Cron(EVERY_SECOND_FIXED, tz="Pacific/Fakaofo", gap="skip"),
        at("2011-12-30T10:59:59"),
    ),
    "all seconds of the missing date": (lambda: Cron("* * * 30 12 * 2011", tz=APIA), at("2011-12-29")),
    "all seconds of a gap": (lambda: Cron("* * 2 10 3 *", tz=NEW_YORK), at("2024-03-10T06:00")),
    "wildcard hour in a gap": (lambda: Cron("*/30 2 * * *", tz="America/Chicago"), at("2024-03-10T07:59")),
    "February 29th on a Sunday": (lambda: Cron("0 0 29 2 */7", tz="Europe/Berlin"), at("2088-03-01")),
    "February 29th on a fifth Monday": (lambda: Cron("0 0 29 2 +MON#5", tz="Asia/Gaza"), at("2088-03-01")),
    "a fifth Monday in February": (lambda: Cron("0 0 ? 2 MON#5", tz="Asia/Tehran"), NOW),
    "every second of February 29th on a Sunday": (lambda: Cron("* * * 29 2 */7", tz="Asia/Amman"), at("2088-03-01")),
    "2096": (lambda: Cron("0 0 0 29 2 * 2096", tz="Australia/Lord_Howe"), NOW),
    "2199 from 1970": (lambda: Cron("59 59 23 31 12 * 2199", tz="Africa/Casablanca"), at("1970-01-01")),
    "exhausted": (lambda: Cron("0 0 0 1 1 * 1970", tz="Africa/El_Aaiun"), NOW),
    "exhausted weekday": (lambda: Cron("* * * ? 2 MON#5 1970-2025", tz="America/Havana"), NOW),
    "after the end": (lambda: Cron(EVERY_SECOND, tz="America/Nuuk"), at("2199-12-31T23:59:58")),
    "far beyond the end": (lambda: Cron("0 0 * * *", tz="America/St_Johns"), at("9999-12-30")),
    "long before the beginning": (lambda: Cron("0 0 0 1 1 * 2199", tz="America/Asuncion"), at("0001-01-02")),
    "years far apart": (lambda: Cron("0 0 0 29 2 +WED 1972,2188", tz="Asia/Beirut"), NOW),
    "nearest workday": (lambda: Cron("0 0 31W 1 +FRI", tz="Asia/Kathmandu"), NOW),
    "rare month end": (lambda: Cron("0 0 L-28 2 +SUN", tz="America/Santiago"), NOW),
    "daily in a gap": (lambda: Daily("02:30", tz="America/Denver"), at("2024-03-10T08:59")),
    "daily at the missing day": (lambda: Daily("12:00", tz="Pacific/Kwajalein"), at("1993-08-20")),
    "every microsecond": (lambda: Every(timedelta(microseconds=1), start=at("1970-01-01")), NOW),
    "every hour since long": (lambda: Every("1h", start=at("1970-01-01")), at("2199-12-31")),
    "once in a gap": (lambda: Once(datetime(2024, 3, 10, 2, 30), tz="America/Boise"), NOW),
    "never": (Never, NOW),
    "31st with skips": (lambda: Calendar("00:00", months=1, on=31, start=date(1970, 1, 31), tz="Asia/Seoul"), NOW),
    "rare calendar": (lambda: Calendar("00:00", years=7, on="29 february", start=date(1970, 1, 1), tz="UTC"), NOW),
    "calendar of leaps": (
        lambda: Calendar("00:00", months=10_000, on="fifth monday", start=date(1970, 1, 1), tz="UTC"),
        NOW,
    ),
    "any of many": (lambda: AnyOf(*(Cron(f"{n % 60} {n % 24} 29 2 */7", tz="UTC") for n in range(100))), NOW),
    "all of disjoint lines": (lambda: AllOf(Cron("0 * * * *", tz="UTC"), Cron("30 * * * *", tz="UTC")), NOW),
    "all of odd and even seconds": (
        lambda: AllOf(Cron("*/2 * * * * *", tz="Asia/Tokyo"), Cron("1/2 * * * * *", tz="Asia/Tokyo")),
        NOW,
    ),
    "all of lines that seldom meet": (
        lambda: AllOf(Cron("0 0 29 2 *", tz="UTC"), Cron("0 0 * * SUN", tz="UTC")),
        at("2088-03-01"),
    ),
    "all of zones that never meet": (
        lambda: AllOf(Cron("0 0 * * *", tz="Asia/Dhaka"), Cron("0 0 * * *", tz="America/Lima")),
        NOW,
    ),
    "all of a line and an interval": (lambda: AllOf(Cron("0 0 1 * *", tz="UTC"), Every("7s", start=NOW)), NOW),
    "all of intervals": (lambda: AllOf(Every("7h", start=NOW), Every("11m3s", start=at("2026-01-01"))), NOW),
    "all of three": (lambda: AllOf(*(Cron(f"*/{n} * * * *", tz="UTC") for n in (7, 11, 13))), NOW),
    "a long holiday": (lambda: Except(Cron("*/5 * * * *", tz="Europe/Madrid"), *HOLIDAYS), at("2026-12-31T22:59")),
    "a long holiday, by seconds": (lambda: Except(Cron(EVERY_SECOND, tz="Europe/Vienna"), *HOLIDAYS), at("2027-01-01")),
    "all but the same": (lambda: Except(Cron(EVERY_SECOND, tz="UTC"), Cron(EVERY_SECOND, tz="UTC")), NOW),
    "all but a whole year": (
        lambda: Except(Cron("*/10 * * * * *", tz="Asia/Riyadh"), Cron("* * * * * * 2027", tz="Asia/Riyadh")),
        at("2026-12-31T20:59:59"),
    ),
    "all but odd minutes": (
        lambda: Except(Every("1s", start=NOW), Cron("1-59/2 * * * *", tz="UTC"), Cron("* * * * *", tz="UTC")),
        NOW,
    ),
    "a time long ahead": (lambda: Between(Cron(EVERY_SECOND, tz="UTC"), start=at("2190-01-01"), end=None), NOW),
    "a time long ago": (lambda: Between(Cron(EVERY_SECOND, tz="UTC"), start=None, end=at("1990-01-01")), NOW),
}


def in_seconds(call: Callable[[], T]) -> tuple[T, float]:
    """The answer of a call, and its process time."""
    begun = time.process_time()
    return call(), time.process_time() - begun


def slowest_call(make: Callable[[], Trigger], start: datetime, measured: Measured) -> float:
    """The most that one call took, of making the trigger and of its first five answers."""
    most, moment = 0.0, start
    # That a search gives up with an error is an answer.
    with suppress(TriggerError):
        trigger, most = measured(make)
        for _ in range(5):
            if moment is None:
                break
            moment, took = measured(partial(trigger.next_after, moment))
            most = max(most, took)
    return most


def cold(measured: str) -> dict[str, float]:
    """What each case takes in a process of its own."""
    paths = os.pathsep.join([TESTS, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, __file__, measured],
        env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("make", "start"), CASES.values(), ids=CASES)
def test_no_call_takes_50_ms(make: Callable[[], Trigger], start: datetime) -> None:
    assert slowest_call(make, start, lines_of) < LINES_IN_50_MS


def test_no_call_takes_50_ms_with_cold_caches() -> None:
    assert {name: lines for name, lines in cold("in_lines").items() if lines >= LINES_IN_50_MS} == {}


def test_no_call_goes_astray_within_a_line() -> None:
    assert {name: seconds for name, seconds in cold("in_seconds").items() if seconds >= ASTRAY_S} == {}


@pytest.mark.parametrize("line", ["*/5 * * * *", "30 2 * * *", "0 0 L * MON", EVERY_SECOND])
def test_a_typical_answer_takes_microseconds(line: str) -> None:
    fires = Cron(line, tz=NEW_YORK).upcoming(NOW)
    answers, lines = lines_of(lambda: list(islice(fires, 400)))
    assert len(answers) == 400
    assert lines / 400 < LINES_IN_50_US


if __name__ == "__main__":
    measured = {"in_lines": lines_of, "in_seconds": in_seconds}[sys.argv[1]]
    json.dump({name: slowest_call(*case, measured) for name, case in CASES.items()}, sys.stdout)

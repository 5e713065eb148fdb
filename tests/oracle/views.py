"""What a trigger does, written down as a reader of a clock or a calendar would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from asyncsched.triggers import Cron, Trigger

NEW_YORK = "America/New_York"
T0 = datetime(2025, 1, 1, tzinfo=UTC)
ALL_WEEK = "SUN MON TUE WED THU FRI SAT"


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

"""Cron lines to and from croniter, for people who hold one.

Both ways the two readings are compared set by set, so what croniter reads differently is refused, not guessed.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypedDict

from asyncsched.errors import TriggerError
from asyncsched.triggers._fields import Days, Line, parse_line

_ORDER = (("minute", 1), ("hour", 2), ("day of month", 3), ("month", 4), ("day of week", 5), ("second", 0), ("year", 6))
"""croniter's own order of the fields, whatever order it was given, and their places in ``Line.texts``."""


class CroniterParts(TypedDict):
    """What a croniter says, as the arguments of a ``Cron``."""

    expression: str
    tz: Any
    days: Days


def croniter_parts(source: Any) -> CroniterParts:
    """The line, zone and day rule of a croniter.

    Raises:
        TriggerError: it is none, or means something that no line of ours does.
    """
    # Imported late, for it costs as much as the rest of the triggers and few programs hold one.
    from croniter import croniter  # type: ignore[import-untyped, unused-ignore]

    if not isinstance(source, croniter):
        raise TriggerError(f"{source!r} is not a croniter")
    state = vars(source)  # the options have no public names
    if state["_expand_from_start_time"]:
        raise TriggerError("a croniter with expand_from_start_time counts from its start: a cron line cannot say that")
    texts: list[str] = state["expressions"]
    expression = " ".join((*texts[5:6], *texts[:5], *texts[6:]))
    days: Days = "both" if not state["_day_or"] else "crontab" if state["_implement_cron_bug"] else "either"
    line = parse_line(expression, days=days)
    if line.spread:
        raise TriggerError(f"croniter spreads H in {expression!r} in its own way: write the numbers")
    _compare(line, source)
    if line == parse_line(expression):
        days = "crontab"
    zone = source.tzinfo
    return {"expression": expression, "tz": getattr(zone, "zone", zone), "days": days}  # pytz keeps its name there


def make_croniter(line: Line, start: datetime) -> Any:
    """A croniter that reads as ``line`` does, away from changes of the clock, set to ``start``.

    Raises:
        TriggerError: croniter has no words for this line, or would read them in another way.
    """
    from croniter import CroniterError, croniter  # type: ignore[import-untyped, unused-ignore]

    dates, weekdays = line.dates, line.weekdays
    if dates.last_nearest or any(dates.last):
        raise TriggerError(f"croniter has no word for day of month {line.texts[3]!r}")
    date_items = [*map(str, dates.plain), *("L" for _ in dates.last), *(f"{day}W" for day in dates.nearest)]
    weekday_items = [
        *map(str, weekdays.plain),
        *(f"{d}#{k}" for d, k in weekdays.nth),
        *(f"L{d}" for d in weekdays.last),
    ]
    texts = (
        _listed(line.texts[0], line.seconds),
        _listed(line.texts[1], line.minutes),
        _listed(line.texts[2], line.hours),
        "*" if len(dates.plain) == 31 else ",".join(date_items),
        _listed(line.texts[4], line.months),
        "*" if len(weekdays.plain) == 7 else ",".join(weekday_items),
        _listed(line.texts[6], line.years),
    )
    if not line.together and "*" in (texts[3], texts[5]):
        texts = (*texts[:3], "*", texts[4], "*", texts[6])  # either every day or some days: every day
    text = " ".join(texts[texts[0] == "0" : 6] if texts[6] == "*" else texts)
    try:
        made = croniter(text, start, day_or=not line.together, second_at_beginning=True)
    except (CroniterError, ValueError) as error:
        raise TriggerError(f"croniter does not take {text!r}: {error}") from error
    _compare(parse_line(text, days="both" if line.together else "either"), made)
    return made


def _listed(text: str, numbers: tuple[int, ...]) -> str:
    """The numbers one by one; what begins with a star stays as written, for it tells wildcards from fixed times."""
    return text if text[0] == "*" else ",".join(map(str, numbers))


def _compare(line: Line, source: Any) -> None:
    """Refuse a croniter whose sets are not those of ``line``."""
    ours: list[set[Any]] = [
        set(line.minutes),
        set(line.hours),
        {*line.dates.plain, *("l" for _ in line.dates.last), *line.dates.nearest},
        set(line.months),
        {*line.weekdays.plain, *line.weekdays.last, *(day for day, _ in line.weekdays.nth)},
        set(line.seconds),
        set(line.years),
    ]
    full = (60, 24, 31, 12, 7, 60, 230)
    for (name, place), wanted, theirs, size in zip(_ORDER, ours, source.expanded, full, strict=False):
        if ("*" in theirs and len(wanted) < size) or ("*" not in theirs and wanted != set(theirs)):
            raise TriggerError(f"croniter reads {name} {line.texts[place]!r} differently")
    nth = {(day, which) for day, all_of in source.nth_weekday_of_month.items() for which in all_of}
    if nth != {*line.weekdays.nth, *((day, "l") for day in line.weekdays.last)}:
        raise TriggerError(f"croniter reads day of week {line.texts[5]!r} differently")
    both_restricted = "*" not in source.expanded[2] and "*" not in source.expanded[4]
    if both_restricted and (nth or line.dates.nearest) and not line.together:
        raise TriggerError(
            f"croniter does not read day of month {line.texts[3]!r} or day of week {line.texts[5]!r} as either"
        )
    if any(day > 28 for day in line.dates.nearest):
        raise TriggerError(f"croniter moves day of month {line.texts[3]!r} in shorter months: it is skipped here")

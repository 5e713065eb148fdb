"""A cron line in words that a person can check against what was meant."""

from __future__ import annotations

from collections.abc import Sequence

from asyncsched.triggers._fields import MONTHS, WEEKDAYS, Dates, Line, Weekdays

_NTH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
_MOST_TIMES = 6  # more times of day than this are told by their hours and minutes


def words_of_line(line: Line, *, keyless: bool) -> str:
    """The line as a sentence without its zone; ``keyless`` where its ``H`` has not become a number yet."""
    clock = _hashed_clock(line) if keyless else _clock(line)
    days = _days(line)
    if not days and len(line.hours) < 24 and not clock.endswith(" hours"):
        days = ", every day"
    return clock + days + (", H spread by the task's id" if keyless else "")


def joined(words: Sequence[str], last: str = "and") -> str:
    """``"a, b and c"``."""
    return f" {last} ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def ordinal(number: int) -> str:
    """``"1st"``, ``"22nd"``, ``"13th"``."""
    ending = "th" if number // 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _clock(line: Line) -> str:
    """When in a day."""
    seconds, minutes, hours = line.seconds, line.minutes, line.hours
    # A wildcard line comes twice in a doubled hour, which a list of times does not say.
    if not line.wildcard and len(hours) * len(minutes) * len(seconds) <= _MOST_TIMES:
        return "at " + joined([_time(h, m, s) for h in hours for m in minutes for s in seconds])
    if len(hours) < 24:
        if len(hours) * len(minutes) <= _MOST_TIMES and seconds != (0,):
            times = joined([f"{h:02}:{m:02}" for h in hours for m in minutes])
            return f"{_repeated('second', seconds, 60)} of {times}"
        regular = _stride(hours, 24)
        if seconds == (0,) and minutes == (0,) and regular:
            return f"every {regular} hours"
        if seconds == (0,) and len(minutes) == 60 and len(hours) == 1:
            return f"every minute of {hours[0]:02}:00 to {hours[0]:02}:59"
        return f"{_within_hour(line)}, {_span(hours)}"
    # Not "every hour", which is an interval from any minute on.
    return "hourly" if minutes == (0,) and seconds == (0,) else _within_hour(line)


def _within_hour(line: Line) -> str:
    """When in an hour."""
    seconds, minutes = line.seconds, line.minutes
    if seconds == (0,):
        return "every hour" if minutes == (0,) else _repeated("minute", minutes, 60, of=" of every hour")
    text = _repeated("second", seconds, 60, of=" of every minute" if len(minutes) == 60 else "")
    return text if len(minutes) == 60 else f"{text} of {_repeated('minute', minutes, 60, of=' of every hour', at='')}"


def _repeated(unit: str, numbers: tuple[int, ...], size: int, *, of: str = "", at: str = "at ") -> str:
    """``"every 5 minutes"`` or ``"at minutes 5 and 20 of every hour"``."""
    if len(numbers) == size:
        return f"every {unit}"
    stride = _stride(numbers, size)
    if stride and at:
        return f"every {stride} {unit}s" + (f" from {unit} {numbers[0]} on" if numbers[0] else "")
    if len(numbers) == 1:
        return f"{at}{unit} {numbers[0]}{of}"
    return f"{at}{unit}s {joined(_runs(numbers))}{of}"


def _stride(numbers: tuple[int, ...], size: int) -> int:
    """The one distance between neighbours, across the end of the field too; 0 where there is none."""
    if len(numbers) < 2 or size % len(numbers):
        return 0
    stride = size // len(numbers)
    return stride if numbers == tuple(range(numbers[0], size, stride)) else 0


def _span(hours: tuple[int, ...]) -> str:
    runs = _pairs(hours)
    if len(runs) == 1:
        return f"from {runs[0][0]:02}:00 to {runs[0][1]:02}:59"
    return "in the hours " + joined([f"{a:02}" if a == b else f"{a:02} to {b:02}" for a, b in runs])


def _time(hour: int, minute: int, second: int) -> str:
    return f"{hour:02}:{minute:02}" + (f":{second:02}" if second else "")


def _hashed_clock(line: Line) -> str:
    """When in a day, before ``H`` has become numbers."""
    units = (("second", line.seconds, 60), ("minute", line.minutes, 60), ("hour", line.hours, 24))
    parts = []
    for text, (unit, numbers, size) in zip(line.texts, units, strict=False):
        if any(item[:1] in "Hh" for item in text.split(",")):
            parts.append(f"{unit} {text.upper()}")
        elif unit != "second" or numbers != (0,):
            parts.append(_repeated(unit, numbers, size, at=""))
    return "at " + " of ".join(parts)


def _days(line: Line) -> str:
    """On which days, with a comma before; empty for every day."""
    every_date, every_weekday = len(line.dates.plain) == 31, len(line.weekdays.plain) == 7
    dates, weekdays = _dates(line.dates), _weekdays(line.weekdays)
    if line.together:
        parts = ([] if every_date else [dates]) + ([] if every_weekday else [weekdays])
        text = ", on " + " if that is ".join(parts) if parts else ""
    else:
        text = "" if every_date or every_weekday else f", on {dates} or on {weekdays}"
    if len(line.months) < 12:
        names = [MONTHS[month - 1] for month in line.months]
        text += (", every day in " if not text else " in ") + _named_runs(line.months, names)
    if len(line.years) < 230:
        text += ", only in " + joined(_runs(line.years))
    return text


def _dates(dates: Dates) -> str:
    """``"the 1st and 15th"``, ``"the last day of the month"``."""
    parts = _stepped(dates.plain) or [text for a, b in _pairs(dates.plain) for text in _ordinals(a, b)]
    parts += ["last day" if back == 0 else f"{ordinal(back)} day before the last" for back in dates.last]
    parts += [f"weekday nearest to the {ordinal(day)}" for day in dates.nearest]
    parts += [
        "last weekday" if back == 0 else f"weekday nearest to the {ordinal(back)} day before the last"
        for back in dates.last_nearest
    ]
    return f"the {joined(parts)} of the month"


def _stepped(days: tuple[int, ...]) -> list[str]:
    """The days in few words if they are evenly spaced to the end of the month; empty if not."""
    if len(days) < 4:
        return []
    first, step = days[0], days[1] - days[0]
    if step == 1 or days != tuple(range(first, 32, step)):
        return []
    return [f"{ordinal(first)} and every {ordinal(step)} day after it"]


def _ordinals(first: int, last: int) -> list[str]:
    if last > first + 1:
        return [f"{ordinal(first)} to {ordinal(last)}"]
    return [ordinal(number) for number in range(first, last + 1)]


def _weekdays(weekdays: Weekdays) -> str:
    """``"Monday to Friday"``, ``"the second Friday of the month"``."""
    parts = []
    if weekdays.plain:
        week = sorted(weekdays.plain, key=lambda day: (day - 1) % 7)  # people's weeks end on Sunday
        parts.append(_named_runs([(day - 1) % 7 for day in week], [WEEKDAYS[day] for day in week]))
    parts += [f"the {_NTH[which]} {WEEKDAYS[day]} of the month" for day, which in weekdays.nth]
    parts += [f"the last {WEEKDAYS[day]} of the month" for day in weekdays.last]
    return joined(parts, "or" if len(parts) > 1 else "and")


def _named_runs(numbers: Sequence[int], names: Sequence[str]) -> str:
    named = dict(zip(numbers, names, strict=True))
    parts: list[str] = []
    for a, b in _pairs(tuple(numbers)):
        if b > a + 1:
            parts.append(f"{named[a]} to {named[b]}")
        else:
            parts += [named[number] for number in range(a, b + 1)]
    return joined(parts)


def _runs(numbers: tuple[int, ...]) -> list[str]:
    words: list[str] = []
    for a, b in _pairs(numbers):
        words += [f"{a} to {b}"] if b > a + 1 else [str(number) for number in range(a, b + 1)]
    return words


def _pairs(numbers: tuple[int, ...]) -> list[tuple[int, int]]:
    """The unbroken runs in ``numbers``, each by its first and last."""
    pairs: list[tuple[int, int]] = []
    for number in numbers:
        if pairs and number == pairs[-1][1] + 1:
            pairs[-1] = (pairs[-1][0], number)
        else:
            pairs.append((number, number))
    return pairs

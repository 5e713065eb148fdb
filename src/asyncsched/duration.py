"""Durations as people write them: ``"1h30m"`` to a timedelta and back."""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache, lru_cache

from asyncsched.errors import DurationError

_UNITS = {
    "w": 7 * 86_400_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
    "us": 1,
}
_WORDS = {
    "week": "w", "weeks": "w", "day": "d", "days": "d", "hour": "h", "hours": "h", "hr": "h", "hrs": "h",
    "minute": "m", "minutes": "m", "min": "m", "mins": "m", "second": "s", "seconds": "s", "sec": "s", "secs": "s",
    "millisecond": "ms", "milliseconds": "ms", "microsecond": "us", "microseconds": "us",
} | {unit: unit for unit in _UNITS}  # fmt: skip
_LONGEST = 100
_US = timedelta(microseconds=1)


@cache
def _part() -> re.Pattern[str]:
    # To compile it takes as long as to import the rest of this file.
    return re.compile(r"\s*([0-9]{1,12})(?:\.([0-9]{1,6}))?\s*([a-z]{1,12})\s*")


def parse_duration(text: str) -> timedelta:
    """The duration that ``text`` says: ``"1h30m"``, ``"90 s"``, ``"1.5h"``, ``"2 weeks"``, ``"250ms"``.

    Units: w d h m s ms us and their English names, each at most once, largest first. A number without a
    unit is refused: nobody can tell what it counts. Exact to the microsecond.

    Raises:
        DurationError: ``text`` is not a duration.
    """
    lowered = text.lower()
    total = position = 0
    smallest = _UNITS["w"] + 1
    while position < len(lowered):
        part = _part().match(lowered, position) if len(text) <= _LONGEST else None
        unit = _WORDS.get(part[3]) if part else None
        if part is None or unit is None or _UNITS[unit] >= smallest:
            raise DurationError(_refusal(text))
        smallest, position = _UNITS[unit], part.end()
        fraction = int((part[2] or "").ljust(6, "0")) * smallest
        if fraction % 1_000_000:
            raise DurationError(f"{text!r} is finer than a microsecond")
        total += int(part[1]) * smallest + fraction // 1_000_000
    if not text.strip() or total > timedelta.max // _US:
        raise DurationError(_refusal(text))
    return timedelta(microseconds=total)


def _refusal(text: str) -> str:
    shown = text if len(text) <= 40 else text[:37] + "..."
    return f"{shown!r} is not a duration: write numbers with their units, largest first: '5s', '1h30m', '2 days'"


@lru_cache(256)  # a program has few, and asks for those of all its tasks when they are stored
def format_duration(duration: timedelta) -> str:
    """A short text that ``parse_duration`` reads back as the same duration, e.g. ``"1h30m"``.

    Durations from a day on count in days, hours, minutes; negative ones carry a ``-``, which is for
    reading only.
    """
    left = abs(duration // _US)
    text = ""
    for unit, size in _UNITS.items():
        if unit != "w" and left >= size:
            text += f"{left // size}{unit}"
            left %= size
    return ("-" if duration < timedelta(0) else "") + (text or "0s")


def as_duration(name: str, value: timedelta | str, *, zero: bool = False) -> timedelta:
    """``value`` as a timedelta, for the argument ``name``: positive, or from zero on where ``zero`` is allowed.

    Raises:
        DurationError: it is neither a timedelta nor the text of one, or too small.
    """
    match value:
        case timedelta():
            duration = value
        case str():
            try:
                duration = parse_duration(value)
            except DurationError as error:
                raise DurationError(f"{name}={error}") from None
        case _:
            raise DurationError(f"{name}={value!r}: give a timedelta or a text such as '5s', '1h30m'")
    if duration < timedelta(0) or not (zero or duration):
        least = "zero or more" if zero else "more than zero"
        raise DurationError(f"{name}={value!r}: a duration of {least}")
    return duration

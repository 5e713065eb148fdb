"""Moments, waits, errors and counts as people are told them."""

from __future__ import annotations

from datetime import datetime, timedelta

from asyncsched.duration import format_duration
from asyncsched.triggers._fields import MONTHS, WEEKDAYS

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_YEAR = timedelta(days=330)


def moment_words(moment: datetime, *, year: bool = True, seconds: bool = True) -> str:
    """``Mon 23 Nov 2026 09:00:00 CET``; seconds, to the millisecond, are shown wherever there are any."""
    clock = moment.strftime("%H:%M:%S" if seconds or moment.second or moment.microsecond else "%H:%M")
    if milliseconds := moment.microsecond // 1_000:
        clock += f".{milliseconds:03}".rstrip("0")
    return f"{day_words(moment, year=year)} {clock} {moment.tzname()}"


def day_words(moment: datetime, *, year: bool = True) -> str:
    """``Mon 23 Nov 2026``."""
    day = f"{WEEKDAYS[moment.isoweekday() % 7][:3]} {moment.day:2} {MONTHS[moment.month - 1][:3]}"
    return f"{day} {moment.year}" if year else day


def coming_words(moment: datetime, now: datetime) -> str:
    """``in 10 s`` if that is within the hour, else when it is."""
    if moment - now < _HOUR:
        return f"in {wait_words(-((now - moment) // _SECOND) * _SECOND)}"
    return moment_words(moment, year=moment - now > _YEAR, seconds=False)


def wait_words(wait: timedelta) -> str:
    """A wait or a duration, as exact as people care: ``1 ms``, ``4.2 s``, ``1m30s``, ``2d3h``."""
    if wait < _SECOND:
        return f"{max(0, wait // timedelta(milliseconds=1))} ms"
    if wait < _MINUTE:
        tenths = round(wait / _SECOND, 1)
        return f"{tenths:g} s" if tenths < 10 else f"{round(tenths)} s"
    unit = _MINUTE if wait >= 24 * _HOUR else _SECOND
    return format_duration(round(wait / unit) * unit)


def error_words(error: BaseException) -> str:
    """The error on one line, as Python prints it; of a message of several lines the first."""
    said = str(error).strip().partition("\n")[0]
    return type(error).__name__ + (f": {said}" if said else "")


def number_words(count: int, noun: str) -> str:
    """``1 run``, ``2,000 runs``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")

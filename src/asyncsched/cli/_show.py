"""What is printed: moments, waits and names in words, and the screen they are put on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.text import Text

from asyncsched.duration import format_duration
from asyncsched.triggers._fields import MONTHS, WEEKDAYS

_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
_YEAR = timedelta(days=330)

Part = str | tuple[str, str]
"""A text, or a text and its style."""


class Screen(Console):
    """Standard output, a line at a time, nothing wrapped or guessed at.

    Colours on a terminal only, and not where ``NO_COLOR`` is set.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, *parts: Part) -> None:
        """One line of these parts."""
        self.print(Text.assemble(*parts))

    def on_broken_pipe(self) -> None:
        # `| head` has read enough. What only looks may end as it likes; a scheduler serves on, unread.
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: object) -> None:
    """``value`` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def moment_words(moment: datetime, *, year: bool = True, seconds: bool = True) -> str:
    """``Mon 23 Nov 2026 09:00:00 CET``; seconds are shown wherever there are any."""
    clock = moment.strftime("%H:%M:%S" if seconds or moment.second or moment.microsecond else "%H:%M")
    if moment.microsecond:
        clock += f".{moment.microsecond:06}".rstrip("0")
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


def short_names(ids: Iterable[str]) -> Mapping[str, str]:
    """What to call the tasks of these ids: without their module, where that leaves them apart."""
    known = list(ids)
    short = [name.partition(":")[2] or name for name in known]
    return {name: cut if short.count(cut) == 1 else name for name, cut in zip(known, short, strict=True)}


def fire_json(at: datetime, **more: Any) -> dict[str, Any]:
    """One fire: its local time with offset, and the instant in UTC."""
    return {"at": at.isoformat(), "utc": at.astimezone(UTC).isoformat().replace("+00:00", "Z")} | more


def number_words(count: int, noun: str) -> str:
    """``1 run``, ``2,000 runs``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")

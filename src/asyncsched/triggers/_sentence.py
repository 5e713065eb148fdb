"""A sentence about time, read word by word into its parts. What they make together is ``_english``'s."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NoReturn, TypeVar

from asyncsched.duration import parse_duration
from asyncsched.errors import DurationError, TriggerError
from asyncsched.triggers._calendar import NTH_WORDS
from asyncsched.triggers._fields import MONTHS, WEEKDAYS
from asyncsched.triggers._words import ordinal

T = TypeVar("T")
WEEKDAY_NUMBERS = {
    spelled: number
    for number, name in enumerate(WEEKDAYS)
    for spelled in (name.lower(), f"{name.lower()}s", name[:3].lower())
}
MONTH_NUMBERS = {word: n for n, name in enumerate(MONTHS, 1) for word in (name.lower(), name[:3].lower())}
_UNITS = {
    spelled: unit
    for unit, short in {"second": "sec", "minute": "min", "hour": "hour", "day": "day", "week": "week",
                        "month": "month", "quarter": "quarter", "year": "year"}.items()
    for spelled in (unit, f"{unit}s", short, f"{short}s")
}  # fmt: skip
_NICKNAMES = {"hourly": "hour", "daily": "day", "weekly": "week", "monthly": "month", "yearly": "year"}
_NTH = {word: place for place, name in enumerate(NTH_WORDS, 1) for word in (name, ordinal(place))}
_THROUGH = ("to", "through", "until", "till")
# As texts, which are compiled when they are first needed: that takes a third of what importing this file does.
_CLOCK = "([0-9]{1,2})(?::([0-9]{2}))?(?::([0-9]{2}))?(am|pm)?"
_HOUR = "[01][0-9]|2[0-3]"
_NUMBER = "[0-9]{1,9}"
_DATE_NUMBER = "([0-9]{1,2})(st|nd|rd|th)?"
_COMPACT = r"(?:[0-9]+(?:\.[0-9]+)?(?:w|d|h|m|s|ms|us))+"
_ISO = r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:t[0-9:.]+(?:z|[+-][0-9:]+)?)?"
A_TIME = "a time such as 14:30, 9am or noon"
A_DAY = "a weekday, 'the 15th', 'the last day', 'the first monday'"
A_MONTH = "a month"


class Words:
    """The words of a sentence in lower case, without commas, and the place that reading has come to."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = text.lower().replace(",", " ").split()
        self.place = 0

    def peek(self, ahead: int = 0) -> str:
        """The word that comes next, or some words further; empty behind the end."""
        place = self.place + ahead
        return self.words[place] if place < len(self.words) else ""

    def take(self, *options: str) -> str:
        """The next word if it is one of these, which are then behind; else empty."""
        word = self.peek()
        if word not in options:
            return ""
        self.place += 1
        return word

    def match(self, pattern: str) -> re.Match[str] | None:
        """The next word if all of it matches; it is then behind."""
        found = re.fullmatch(pattern, self.peek())
        self.place += found is not None
        return found

    def need(self, *options: str) -> None:
        """Go past the next word, which must be one of these."""
        if not self.take(*options):
            self.refuse(*map(repr, options))

    def refuse(self, *could: str, place: int | None = None) -> NoReturn:
        """Say which word was not understood and what could stand there."""
        place = self.place if place is None else place
        if place < len(self.words):
            where = f"{self.words[place]!r} was not understood in {self.text!r}: here could stand"
        else:
            where = f"{self.text!r} ends too early: next could stand"
        raise TriggerError(f"{where} {', or '.join(could)}")


@dataclass
class Parts:
    """What a sentence has said so far."""

    unit: str = ""
    count: int = 0
    """How many units, 0 where no number was said."""
    nickname: bool = False
    period: timedelta | None = None
    every_day: bool = False
    times: list[int] = field(default_factory=list)
    """Seconds since midnight."""
    weekdays: list[int] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    """Days of the month or the year, as a Calendar's ``on`` has them."""
    months: list[int] = field(default_factory=list)
    between: tuple[int, int] | None = None
    """Seconds since midnight."""
    start: str = ""
    places: dict[str, int] = field(default_factory=dict)
    """Where each part was said, for errors."""

    def note(self, name: str, words: Words, place: int) -> None:
        """Remember where this part was said; saying it twice is not understood."""
        if name in self.places:
            words.refuse("the end", place=place)
        self.places[name] = place


def read_sentence(text: str) -> tuple[Words, Parts]:
    """The words and the parts of a sentence.

    Raises:
        TriggerError: a word that is not understood; the message lists what could stand there.
    """
    words, parts = Words(text), Parts()
    words.take("run")
    if words.take("once"):
        words.need("at")
        words.refuse("a date and time such as 2027-01-01 00:00")
    while words.peek():
        place = words.place
        if not any(clause(words, parts, place) for clause in _CLAUSES):
            words.refuse("'every'", "'at'", "'on'", "'in'", "'between'", "'from'", A_TIME, A_DAY)
    return words, parts


def listed_items(words: Words, item: Callable[[Words], T | None], what: str) -> list[T]:
    """One item or more, with ``and``, ``or`` or nothing between them; empty if none comes next."""
    found: list[T] = []
    one = item(words)
    while one is not None:
        found.append(one)
        joined = words.take("and", "or")
        one = item(words)
        if joined and one is None:
            words.refuse(what)
    return found


def _frequency(words: Words, parts: Parts, place: int) -> bool:
    """``every 15 minutes``, ``every day``, ``every monday``, ``every 1st``, ``daily``."""
    nickname = words.take(*_NICKNAMES)
    if nickname:
        parts.note("unit", words, place)
        parts.unit, parts.nickname = _NICKNAMES[nickname], True
        return True
    if not words.take("every", "each"):
        return False
    if parts.unit in ("second", "minute", "hour") and words.take("day"):
        parts.note("every_day", words, place)
        parts.every_day = True
        return True
    parts.note("unit", words, place)
    if not (_unit(words, parts) or _dates(words, parts, place, every=True) or _weekdays(words, parts, place)):
        words.refuse("a number and a unit", "a unit such as 'minute' or 'day'", A_DAY)
    return True


def _unit(words: Words, parts: Parts) -> bool:
    """``15 minutes``, ``day``, ``1h30m``; but not the ``second`` of ``second monday``."""
    if words.peek() in _NTH and words.peek(1) in (*WEEKDAY_NUMBERS, "day", "weekday"):
        return False
    compact = words.match(_COMPACT)
    if compact:
        try:
            parts.unit, parts.period = "period", parse_duration(compact[0])
        except DurationError:
            words.refuse("a duration such as '1h30m', largest unit first", place=words.place - 1)
        return True
    number = words.match(_NUMBER) if words.peek(1) in _UNITS else None
    unit = words.take(*_UNITS)
    parts.unit = _UNITS.get(unit, "")
    if number:
        parts.count = int(number[0])
        if not parts.count:
            words.refuse("a number from 1 on", place=words.place - 2)
    return bool(unit)


def _times(words: Words, parts: Parts, place: int) -> bool:
    """``at 09:00 and 17:30``, ``7pm``."""
    said = words.take("at")
    times = listed_items(words, time_of_day, A_TIME)
    if said and not times:
        words.refuse(A_TIME)
    if times:
        parts.note("times", words, place)
        parts.times = times
    return bool(times)


def _days(words: Words, parts: Parts, place: int) -> bool:
    """``on monday and friday``, ``on the 1st and 15th of the month``, ``the last day of every month``, ``in may``."""
    words.take("only")
    said = words.take("on", "in", "of")
    if said in ("", "on") and (_dates(words, parts, place) or _weekdays(words, parts, place)):
        return True
    months = listed_items(words, _months, A_MONTH) if said else []
    if months:
        parts.note("months", words, place)
        parts.months = sorted({month for group in months for month in group})
        return True
    if said or words.place > place:
        words.refuse(*([A_DAY] if said != "in" else []), A_MONTH, "a time zone at the end, such as 'in Europe/Berlin'")
    return False


def _between(words: Words, parts: Parts, place: int) -> bool:
    """``between 09:00 and 17:00``, of which the end is not reached."""
    if not words.take("between"):
        return False
    parts.note("between", words, place)
    start = _needed_time(words)
    words.need("and")
    parts.between = (start, _needed_time(words))
    return True


def _from(words: Words, parts: Parts, place: int) -> bool:
    """``from 2026-11-23``, ``from 2026-11-23T08:00Z``, ``from january to march``, ``from 09:00 to 16:59``."""
    if words.peek() == "of" and not re.fullmatch(_CLOCK, words.peek(1)):
        return False
    if not words.take("from", "of"):
        return False
    start = words.match(_ISO)
    if start:
        parts.note("start", words, place)
        clock = words.match(_CLOCK)
        parts.start = start[0].upper() + (f"T{clock[0].zfill(5)}" if clock else "")
        return True
    begin = time_of_day(words)
    if begin is not None:
        parts.note("between", words, place)
        words.need("to")
        parts.between = (begin, (_needed_time(words) + 60) % 86_400)  # as Cron says it: its last minute is in
        return True
    months = _months(words)
    if months is None:
        words.refuse("a date such as 2026-11-23", A_MONTH)
    parts.note("months", words, place)
    parts.months = sorted(set(months))
    return True


def _hours(words: Words, parts: Parts, place: int) -> bool:
    """``in the hours 00 to 05 and 22 to 23``, as a Cron says that it goes on past midnight."""
    if [words.peek(ahead) for ahead in range(3)] != ["in", "the", "hours"]:
        return False
    words.place += 3
    parts.note("between", words, place)
    runs = [(int(run[0]), int(run[-1])) for run in listed_items(words, _hour_run, "an hour")]
    if len(runs) != 2 or (runs[0][0], runs[1][1]) != (0, 23):
        words.refuse("hours that follow one another", place=place + 3)
    parts.between = (runs[1][0] * 3600, (runs[0][1] + 1) * 3600)
    return True


def _hour_run(words: Words) -> list[str] | None:
    first = words.match(_HOUR)
    if first is None:
        return None
    last = words.match(_HOUR) if words.take("to") else first
    return [first[0], last[0]] if last else words.refuse("an hour")


_CLAUSES = (_frequency, _times, _between, _from, _hours, _days)


def _weekdays(words: Words, parts: Parts, place: int) -> bool:
    found = listed_items(words, _weekday, "a weekday")
    if found:
        parts.note("weekdays", words, place)
        parts.weekdays = [number for group in found for number in group]
    return bool(found)


def _dates(words: Words, parts: Parts, place: int, *, every: bool = False) -> bool:
    """Days of the month or year. After ``every`` a bare ``second monday`` or ``2nd day`` could mean every other one."""
    begin = words.place
    found = listed_items(words, _date, A_DAY)
    if not found:
        return False
    parts.note("dates", words, place)
    parts.dates = found
    said = words.words[begin : words.place]
    for ahead, word in enumerate(said):
        if every and word == "day" and said[ahead - 1] not in ("first", "1st", "last"):
            words.refuse("a date such as '2nd'", place=begin + ahead)
    bare = any(text.split()[-1] not in MONTH_NUMBERS and (not text[0].isdigit() or "day" in said) for text in found)
    if every and bare and "month" not in said:
        words.refuse("'of the month'")
    return True


def _date(words: Words) -> str | None:
    """One day as a Calendar's ``on`` has it: ``15th``, ``25 december``, ``last friday``, ``first monday of may``."""
    begin = words.place
    words.take("the")
    month = words.take(*MONTH_NUMBERS)
    nth = words.peek()
    what = words.peek(1)
    if not month and (nth in _NTH or nth == "last") and (what in WEEKDAY_NUMBERS or what in ("day", "weekday")):
        words.place += 2
        name = what if what not in WEEKDAY_NUMBERS else WEEKDAYS[WEEKDAY_NUMBERS[what]].lower()
        following = _of_month(words)
        if nth != "last" and what == "day":
            return f"{_NTH[nth]}{following.removeprefix(' of')}" if following else ordinal(_NTH[nth])
        return f"{nth if nth == 'last' else NTH_WORDS[_NTH[nth] - 1]} {name}" + following
    number = words.match(_DATE_NUMBER)
    if number and month:
        return f"{number[1]} {MONTHS[MONTH_NUMBERS[month] - 1].lower()}"
    if number and number[2]:
        words.take("day")
    following = _of_month(words) if number else ""
    if number and (following or number[2]):
        return number[1] + (following.removeprefix(" of") or number[2])
    words.place = begin
    return None


def _of_month(words: Words) -> str:
    """`` of may`` where ``may`` or ``of may`` comes next; empty for ``of the month``, and where neither comes."""
    said = words.peek() == "of"
    month = words.peek(1 if said else 0)
    if month in MONTH_NUMBERS:
        words.place += 1 + said
        return f" of {MONTHS[MONTH_NUMBERS[month] - 1].lower()}"
    if said and month in ("the", "every", "each") and words.peek(2) == "month":
        words.place += 3
    return ""


def _weekday(words: Words) -> list[int] | None:
    """``monday``, ``monday to friday``, ``mon-fri``, ``weekdays``, ``weekend``; Sunday is 0."""
    if words.take("weekday", "weekdays"):
        return [1, 2, 3, 4, 5]
    if words.take("weekend", "weekends"):
        return [6, 0]
    first, dash, last = words.peek().partition("-")
    if first not in WEEKDAY_NUMBERS or (dash and last not in WEEKDAY_NUMBERS):
        return None
    words.place += 1
    if not dash and words.take(*_THROUGH):
        last = words.take(*WEEKDAY_NUMBERS)
        if not last:
            words.refuse("a weekday")
    begin = WEEKDAY_NUMBERS[first]
    length = (WEEKDAY_NUMBERS[last] - begin) % 7 if last else 0
    return [(begin + step) % 7 for step in range(length + 1)]


def _months(words: Words) -> list[int] | None:
    """``may``, ``november to february``."""
    first = words.take(*MONTH_NUMBERS)
    if not first:
        return None
    last = first
    if words.take(*_THROUGH):
        last = words.take(*MONTH_NUMBERS)
        if not last:
            words.refuse(A_MONTH)
    begin = MONTH_NUMBERS[first] - 1
    return [(begin + step) % 12 + 1 for step in range((MONTH_NUMBERS[last] - 1 - begin) % 12 + 1)]


def time_of_day(words: Words) -> int | None:
    """Seconds since midnight: ``14:30``, ``9am``, ``7:30 pm``, ``noon``, ``midnight``; ``None`` if none comes next."""
    name = words.take("noon", "midnight")
    if name:
        return 12 * 3600 if name == "noon" else 0
    place = words.place
    found = re.fullmatch(_CLOCK, words.peek())
    if found is None or not (found[2] or found[4] or words.peek(1) in ("am", "pm")):
        return None
    words.place += 1
    half = found[4] or words.take("am", "pm")
    hour, minute, second = (int(part or 0) for part in found.groups()[:3])
    if minute > 59 or second > 59 or hour > 23 or (half and not 1 <= hour <= 12):
        words.refuse("a time such as 14:30, 9am or noon, from 00:00 to 23:59:59", place=place)
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    return hour * 3600 + minute * 60 + second


def _needed_time(words: Words) -> int:
    found = time_of_day(words)
    return words.refuse(A_TIME) if found is None else found

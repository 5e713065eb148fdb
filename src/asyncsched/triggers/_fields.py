"""A cron line, read into sets of numbers and rules for days.

Everything that can be wrong with a line is found here, when it is made. A line is capped at 256 characters and
read once from left to right, so no input takes long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from asyncsched.errors import TriggerError
from asyncsched.triggers._wall import FIRST_YEAR, LAST_YEAR

Dialect = Literal["unix", "quartz"]
Days = Literal["crontab", "either", "both"]

LONGEST = 256
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * SUN",  # by name: 0 is no weekday in the quartz dialect
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_NTH = {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5}
_BLANKS = re.compile("[ \t]+")


class Dates(NamedTuple):
    """What the day-of-month field wants."""

    plain: tuple[int, ...]
    """Days by number."""
    last: tuple[int, ...] = ()
    """``L`` is 0; ``L-3``, three days before the last, is 3."""
    nearest: tuple[int, ...] = ()
    """``15W``: the Monday to Friday nearest to the 15th."""
    last_nearest: tuple[int, ...] = ()
    """``LW`` is 0; ``L-3W``, the Monday to Friday nearest to three days before the last, is 3."""


class Weekdays(NamedTuple):
    """What the day-of-week field wants. Sunday is 0."""

    plain: tuple[int, ...]
    nth: tuple[tuple[int, int], ...] = ()
    """``FRI#2``, the second Friday of the month, is (5, 2)."""
    last: tuple[int, ...] = ()
    """``FRIL``, the last Friday of the month, is 5."""


@dataclass(frozen=True, slots=True)
class Line:
    """A cron line as sets, each sorted and without duplicates."""

    texts: tuple[str, ...]
    """The seven fields as written, seconds first, year last; ``0`` and ``*`` where they are not."""
    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    dates: Dates
    months: tuple[int, ...]
    weekdays: Weekdays
    years: tuple[int, ...]
    together: bool
    """Whether a day must be wanted by both day fields, not by either."""
    wildcard: bool
    """Whether every instant with a wanted reading counts, in place of every wanted wall time once."""
    spread: bool
    """Whether the line has an ``H``. Read without a key, such a field holds all that ``H`` may become."""


class _Field(NamedTuple):
    name: str
    low: int
    high: int
    every: tuple[int, ...]
    """What ``*`` means; its last is where ``a/n`` ends."""
    hashed: tuple[int, ...]
    """What ``H`` is taken from."""
    allowed: str
    names: dict[str, int] = {}  # noqa: RUF012 - never written to


def _field(name: str, low: int, high: int) -> _Field:
    every = tuple(range(low, high + 1))
    return _Field(name, low, high, every, every, f"{low}-{high}")


def _names(words: Sequence[str], first: int) -> dict[str, int]:
    upper = [word.upper() for word in words]
    return {name: number for number, word in enumerate(upper, first) for name in (word, word[:3])}


_SECOND, _MINUTE, _HOUR = _field("second", 0, 59), _field("minute", 0, 59), _field("hour", 0, 23)
# Every month has 28 days, so a spread day of the month leaves out no month.
_DATE = _field("day of month", 1, 31)._replace(hashed=tuple(range(1, 29)))
_MONTH = _field("month", 1, 12)._replace(allowed="1-12 or JAN-DEC", names=_names(MONTHS, 1))
_WEEKDAY = _field("day of week", 0, 6)._replace(high=7, allowed="0-7 or SUN-SAT", names=_names(WEEKDAYS, 0))
_QUARTZ_WEEKDAY = _field("day of week", 1, 7)._replace(allowed="1-7 or SUN-SAT", names=_names(WEEKDAYS, 1))
_YEAR = _field("year", FIRST_YEAR, LAST_YEAR)
_UNIX_FIELDS = (_SECOND, _MINUTE, _HOUR, _DATE, _MONTH, _WEEKDAY, _YEAR)
_QUARTZ_FIELDS = (_SECOND, _MINUTE, _HOUR, _DATE, _MONTH, _QUARTZ_WEEKDAY, _YEAR)


def split_line(expression: str) -> list[str]:
    """The five, six or seven fields of ``expression``, or its nickname alone.

    Raises:
        TriggerError: it is no text of so many fields, or an unknown nickname.
    """
    if not isinstance(expression, str):
        raise TriggerError(f"a cron line is a text such as '0 9 * * mon-fri', not {expression!r:.80}")
    if len(expression) > LONGEST:
        raise TriggerError(
            f"the fields of a cron line have at most {LONGEST} characters in all, "
            f"these have {len(expression)}: {expression[:30]!r}..."
        )
    texts = _BLANKS.split(expression.strip(" \t"))
    if texts[0][:1] == "@":
        if len(texts) > 1 or not expression.isascii() or texts[0].lower() not in NICKNAMES:
            raise TriggerError(
                f"unknown nickname {expression.strip()!r}: alone, one of {' '.join(NICKNAMES)} is allowed"
            )
    elif not 5 <= len(texts) <= 7 or not texts[0]:
        count = len(texts) if texts[0] else 0
        raise TriggerError(
            f"cron line {expression!r:.80} has {count} fields: 5 are allowed (minute, hour, day of month, month, "
            "day of week), 6 (second first) or 7 (second first, year last)"
        )
    return texts


def parse_line(expression: str, dialect: Dialect = "unix", days: Days = "crontab", key: str | None = None) -> Line:
    """The sets that ``expression`` says. ``H`` is spread from ``key``; without one it stands for all it may become.

    Whether any date ever matches is not asked here.

    Raises:
        TriggerError: the line is wrong; the message names the field, its text and what is allowed.
    """
    texts = split_line(expression)
    if texts[0][0] == "@":
        texts = NICKNAMES[texts[0].lower()].split()
    count = len(texts)
    second = () if count > 5 else ("0",)
    year = () if count > 6 else ("*",)
    full = (*second, *texts, *year)
    weekday = full[5].removeprefix("+")
    fields = _QUARTZ_FIELDS if dialect == "quartz" else _UNIX_FIELDS
    at = 0
    try:
        if not expression.isascii():
            at = next(place for place, text in enumerate(full) if not text.isascii())
            raise TriggerError(_refusal(fields[at], full[at], "only plain ASCII is"))
        seconds = _numbers(_SECOND, full[0], key)
        minutes = _numbers(_MINUTE, full[at := 1], key)
        hours = _numbers(_HOUR, full[at := 2], key)
        dates = _dates(full[at := 3], key)
        months = _numbers(_MONTH, full[at := 4], key)
        at = 5
        weekdays = _weekdays(fields[5], weekday, key)
        years = _numbers(_YEAR, full[at := 6], key)
    except TriggerError as error:
        raise TriggerError(f"{error} (field {at + (count > 5)} of {count})") from None
    return Line(
        (*full[:5], weekday, full[6]), seconds, minutes, hours, dates, months, weekdays, years,
        together=weekday != full[5] or _together(full[3], weekday, dialect, days),
        wildcard=any(text[0] == "*" for text in full[len(second) : 3]),
        spread=any(item[:1] in "Hh" for text in full for item in text.split(",")),
    )  # fmt: skip


def _together(date: str, weekday: str, dialect: Dialect, days: Days) -> bool:
    """Whether a day must be wanted by both day fields."""
    if days == "either":
        # A field that is nothing but a star names no day, so there is nothing to choose from.
        return date in ("*", "?") or weekday in ("*", "?")
    # Quartz itself has no answer for two restricted day fields; both is what its successors made of it.
    return days == "both" or dialect == "quartz" or date[0] in "*?" or weekday[0] in "*?"


def _numbers(field: _Field, text: str, key: str | None) -> tuple[int, ...]:
    """The numbers that a list of plain items says."""
    if text == "*":
        return field.every
    if text.isdigit():
        return (_number(field, text, text),)
    found: set[int] = set()
    for item in text.split(","):
        found.update(_sequence(field, item, key))
    return tuple(sorted(found))


def _dates(text: str, key: str | None) -> Dates:
    """The day-of-month field."""
    if text in ("*", "?"):
        return Dates(_DATE.every)
    if text.isdigit():
        return Dates((_number(_DATE, text, text),))
    plain: set[int] = set()
    last: set[int] = set()
    nearest: set[int] = set()
    last_nearest: set[int] = set()
    items = text.split(",")
    for item in items:
        word = item.upper()
        weekday = word.endswith("W")
        stem = word.removesuffix("W")
        if stem == "L":
            (last_nearest if weekday else last).add(0)
        elif stem.startswith("L-"):
            (last_nearest if weekday else last).add(_before_last(item, stem[2:]))
        elif not weekday:
            plain.update(_sequence(_DATE, item, key))
        elif len(items) > 1 or not stem.isdigit():
            raise TriggerError(f"day of month {text!r} is not allowed: W follows one day, 1-31, alone")
        else:
            nearest.add(_number(_DATE, stem, item))
    return Dates(*(tuple(sorted(days)) for days in (plain, last, nearest, last_nearest)))


def _before_last(item: str, digits: str) -> int:
    if not digits.isdigit() or not 1 <= int(digits) <= 30:
        raise TriggerError(f"day of month {item!r} is not allowed: L-n is for n in 1-30")
    return int(digits)


def _weekdays(field: _Field, text: str, key: str | None) -> Weekdays:
    """The day-of-week field, 0 for Sunday whatever the dialect counts."""
    if text in ("*", "?"):
        return Weekdays(_WEEKDAY.every)
    plain: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()
    shift = field.every[0]
    for item in text.split(","):
        word = item.upper()
        name, hash_sign, which = word.partition("#")
        if hash_sign and which in _NTH:
            nth.add(((_number(field, name, item) - shift) % 7, _NTH[which]))
        elif hash_sign and which != "L":
            raise TriggerError(f"day of week {item!r} is not allowed: after # stands one of 1-5 or L")
        elif hash_sign or "L" in (word[:1], word[-1:]):
            if word == "L" and field is _QUARTZ_WEEKDAY:
                plain.add(6)  # Quartz: the last day of the week
                continue
            day = name if hash_sign else word.removeprefix("L") if word[0] == "L" else word.removesuffix("L")
            last.add((_number(field, day, item) - shift) % 7)
        else:
            plain.update((number - shift) % 7 for number in _sequence(field, item, key))
    return Weekdays(tuple(sorted(plain)), tuple(sorted(nth)), tuple(sorted(last)))


def _sequence(field: _Field, item: str, key: str | None) -> Sequence[int]:
    """The numbers of one item, in its own order: ``*``, ``a``, ``a-b``, ``H``, ``H(a-b)``, each also with ``/n``."""
    if item.isdigit():
        return (_number(field, item, item),)
    body, slash, digits = item.partition("/")
    if slash and (not digits.isdigit() or int(digits) == 0):
        raise TriggerError(_refusal(field, item, "a step is a whole number from 1 on"))
    step = int(digits) if slash else 0
    if body[:1] in ("H", "h"):
        return _spread(field, item, body, step, key)
    if body == "*":
        numbers: Sequence[int] = field.every
    else:
        low, dash, high = body.partition("-")
        first = _number(field, low, item)
        if dash:
            numbers = _wrapped(field, first, _number(field, high, item), item)
        elif slash:
            # 7 is Sunday, and Sunday begins the week.
            numbers = range(first if first <= field.every[-1] else 0, field.every[-1] + 1)
        else:
            numbers = (first,)
    return numbers[:: step or 1]


def _wrapped(field: _Field, first: int, last: int, item: str) -> Sequence[int]:
    """From ``first`` to ``last``, around the end of the field if need be; 7 is a Sunday at either end of a week."""
    if first == last:
        return (first,)
    if field is _WEEKDAY:
        if first == 7:
            first = 0
            if last == 0:
                return (0,)
        elif last == 0:
            last = 7
    if first < last:
        return range(first, last + 1)
    if field is _YEAR:
        raise TriggerError(_refusal(field, item, "a range of years does not run backwards"))
    return (*range(first, field.every[-1] + 1), *range(field.low, last + 1))


def _spread(field: _Field, item: str, body: str, step: int, key: str | None) -> Sequence[int]:
    """What ``H`` becomes for ``key``, as in Jenkins: one number of the range, or every n-th from one of the first n."""
    if field is _YEAR:
        raise TriggerError(_refusal(field, item, "H spreads over every field but this one"))
    numbers: Sequence[int] = field.hashed
    if len(body) > 1:
        low, dash, high = body[2:-1].partition("-")
        if body[1] != "(" or body[-1] != ")" or not dash:
            raise TriggerError(_refusal(field, item, "H is written H, H/n, H(a-b) or H(a-b)/n"))
        numbers = _wrapped(field, _number(field, low, item), _number(field, high, item), item)
    if key is None:
        return numbers
    import hashlib  # 1 ms to import, and few lines have an H

    # Not hash(), which differs from process to process; salted, so that the fields of a line differ.
    digest = hashlib.sha256(f"{field.name}:{key}".encode("utf-8", "backslashreplace")).digest()
    place = int.from_bytes(digest[:8], "big") % min(step or len(numbers), len(numbers))
    return numbers[place::step] if step else (numbers[place],)


def _number(field: _Field, token: str, item: str) -> int:
    """The number that ``token``, a part of ``item``, says: digits or a name."""
    if token.isdigit():
        number = int(token)
        if not field.low <= number <= field.high:
            part = f" in {item!r}" if item != token else ""
            raise TriggerError(f"{field.name} {token}{part} is not in {field.allowed}")
        return number
    named = field.names.get(token.upper())
    if named is not None:
        return named
    if not item:
        raise TriggerError(f"{field.name} has an empty item: give a value in {field.allowed}")
    raise TriggerError(_refusal(field, item, "give a value, a range a-b or a step */n"))


def _refusal(field: _Field, item: str, cure: str) -> str:
    return f"{field.name} {item!r} is not allowed: {cure}, values in {field.allowed}"

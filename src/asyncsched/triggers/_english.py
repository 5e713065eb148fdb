"""The closed English behind ``when()``: one sentence is one trigger, or an error that says which word is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import TypeAlias

from asyncsched.clock import from_us
from asyncsched.duration import parse_duration
from asyncsched.errors import ConfigError, DurationError, TriggerError
from asyncsched.triggers._base import Trigger
from asyncsched.triggers._calendar import NTH_WORDS, Calendar
from asyncsched.triggers._combine import AnyOf
from asyncsched.triggers._cron import Cron
from asyncsched.triggers._daytime import LONGEST, clock_text, instant_us, weekday_text
from asyncsched.triggers._fields import MONTHS, WEEKDAYS
from asyncsched.triggers._sentence import A_DAY, A_TIME, MONTH_NUMBERS, WEEKDAY_NUMBERS, Parts, Words, read_sentence
from asyncsched.triggers._simple import Daily, Every, Never, Once
from asyncsched.zone import load_zone

TriggerLike: TypeAlias = Trigger | str | timedelta | Sequence["TriggerLike"]
"""What can be given where a trigger is wanted."""

_LONGEST_JSON = 65_536
# As texts, which are compiled when they are first needed: that takes 0.1 ms each, and few programs need them all.
_ZONE = r"(?is)(.*\S)\s+(?:in\s+([^\s()]+)|\(([^\s()]+)\))"
_MOMENT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}\S*"
_CRON_START = r"@.*|[0-9*?/,\-]+|[Hh](?:[(/].*)?"
_SPAN = {"second": 60, "minute": 60, "hour": 24}
_LAST = {"day": (32, "L"), "weekday": (33, "LW")}
_QUARTERS = ("1 january", "1 april", "1 july", "1 october")


def parse_trigger(value: TriggerLike) -> Trigger:
    """The trigger that ``value`` is, or says.

    A Trigger is itself; a timedelta an Every; a list AnyOf its items, ``[]`` Never. A text is one sentence of the
    closed English of ``when()``, a cron line, a duration, an ISO date and time, or what ``str`` made of a trigger;
    ``in Europe/Berlin`` at its end names its zone. Sentences and lines have up to 256 characters.

    Raises:
        TriggerError: a word that is not understood; the message names it and lists what could stand there.
    """
    match value:
        case Trigger():
            return value
        case timedelta():
            return Every(value)
        case str():
            return _parse_text(value)
        case list() | tuple():
            return _parse_list(value)
    raise TriggerError(f"{value!r:.80} is no trigger: give a Trigger, its text, a timedelta or a list of these")


def _parse_list(values: Sequence[TriggerLike]) -> Trigger:
    triggers = [parse_trigger(value) for value in values]
    if not triggers:
        return Never()
    return triggers[0] if len(triggers) == 1 else AnyOf(*triggers)


def _parse_text(text: str) -> Trigger:
    stripped = text.strip()
    if stripped.startswith("{"):
        return _parse_json(stripped)
    if len(stripped) > LONGEST:
        raise TriggerError(
            f"{text[:40]!r}... has {len(text)} characters: a sentence or a cron line has up to {LONGEST}"
        )
    whole, zone = _split_zone(stripped)
    found = _parse_literal(whole)
    if found is None:
        words, parts = read_sentence(whole)
        found = _build(words, parts)
    return found if zone is None else _in_zone(found, zone, stripped)


def _parse_json(text: str) -> Trigger:
    if len(text) > _LONGEST_JSON:
        raise TriggerError(f"a trigger's JSON of {len(text)} characters: up to {_LONGEST_JSON}")
    import json  # 1.4 ms to import, and few programs write triggers as JSON

    try:
        return Trigger.from_json(json.loads(text))
    except ConfigError:
        raise
    except (ValueError, RecursionError) as error:
        raise TriggerError(f"{text[:40]!r}... is not the JSON of a trigger: {error}") from error


def _split_zone(text: str) -> tuple[str, str | None]:
    """The text without the zone that ends it, and the zone's name."""
    found = re.fullmatch(_ZONE, text)
    if found is None:
        return text, None
    name = found[2] or found[3]
    if name.lower() in MONTH_NUMBERS:
        return text, None
    try:
        return found[1], load_zone(name).key
    except ConfigError as error:
        raise TriggerError(
            f"{name!r} was not understood in {text!r}: here could stand a month or a time zone such as 'Europe/Berlin'"
        ) from error


def _in_zone(trigger: Trigger, zone: str, text: str) -> Trigger:
    if isinstance(trigger, Daily | Calendar | Cron | Once):
        return replace(trigger, tz=zone)
    if isinstance(trigger, Every) and trigger.start is not None and trigger.start.tzinfo is None:
        return replace(trigger, start=from_us(instant_us(trigger.start, zone)))
    raise TriggerError(f"{zone!r} was not understood in {text!r}: intervals are the same in every zone; leave it out")


def _parse_literal(text: str) -> Trigger | None:
    """What is no sentence: a cron line, a duration, a moment, ``never``; ``None`` if it is none of them."""
    words = text.split()
    lowered = text.lower()
    if lowered == "never":
        return Never()
    moment = re.sub(r"^once\s+at\s+", "", text, flags=re.IGNORECASE)
    if re.fullmatch(_MOMENT, moment):
        return Once(_moment(moment, text))
    if words and re.fullmatch(_CRON_START, words[0]) and (words[0][0] == "@" or "*" in text or _like_line(words)):
        return Cron(text)
    said = re.sub(r"^(every|each)\s+", "", lowered)
    if said[:1].isdigit() and (said == lowered or not re.search("day|week", said)):
        try:
            return Every(parse_duration(said.replace(",", " ")))
        except DurationError:
            return None
    return None


def _like_line(words: list[str]) -> bool:
    return 5 <= len(words) <= 7 and re.fullmatch(_CRON_START, words[1]) is not None


def _moment(text: str, whole: str) -> datetime:
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise TriggerError(
            f"{text!r} was not understood in {whole!r}: here could stand a date and time such as 2027-01-01 00:00"
        ) from error


def _build(words: Words, parts: Parts) -> Trigger:
    """The trigger that the parts of a sentence make."""
    if parts.unit != "week" and len(set(parts.weekdays)) == 7:
        parts.weekdays, parts.every_day = [], True
    if len(parts.months) == 12:
        parts.months, parts.every_day = [], True
    if parts.unit in _SPAN or parts.unit == "period":
        return _repeating(words, parts)
    if parts.unit == "quarter" and not parts.count:
        _only(words, parts, "times")
        return Calendar(_clock_texts(parts), years=1, on=_QUARTERS)
    if parts.unit in ("week", "month", "year") or parts.count or (parts.dates and not parts.unit):
        return _calendar(words, parts)
    return _daily(words, parts)


def _only(words: Words, parts: Parts, *allowed: str) -> None:
    """Refuse what was said but does not go with the rest."""
    for name, place in parts.places.items():
        if name != "unit" and name not in allowed:
            words.refuse("what goes with the rest of it, or the end", place=place)


def _clock_texts(parts: Parts) -> list[str]:
    return [clock_text(seconds) for seconds in parts.times or [0]]


def _repeating(words: Words, parts: Parts) -> Trigger:
    """``every 15 minutes``: an interval, or with days, months or hours a cron line."""
    if not (parts.weekdays or parts.dates or parts.months or parts.between or parts.nickname):
        _only(words, parts, "start", "every_day", "weekdays", "months")
        period = parts.period or timedelta(**{f"{parts.unit}s": parts.count or 1})
        return Every(period, _start_moment(words, parts))
    _only(words, parts, "weekdays", "dates", "months", "between", "every_day")
    span, count = _SPAN.get(parts.unit, 0), parts.count or 1
    if not span or span % count:
        words.refuse(f"a number that divides {span or 60}, for a clock shows it", place=parts.places["unit"] + 1)
    hours = _hours(words, parts)
    if parts.unit == "hour" and parts.between:
        parts.times = [hour * 3600 for hour in hours[::count]]
        return _daily(words, parts)
    step = "*" if count == 1 else f"*/{count}"
    first, last = f"{hours[0]}", f"-{hours[-1]}" if len(hours) > 1 else ""
    hour = first + last if parts.between else "*"
    clock = {"second": f"{step} * {hour}", "minute": f"{step} {hour}", "hour": f"0 {step}"}[parts.unit]
    return Cron(f"{clock} {_cron_days(words, parts)}")


def _hours(words: Words, parts: Parts) -> list[int]:
    """The hours of ``between``, in their order; the last one is not reached."""
    start, end = parts.between or (0, 0)
    if start % 3600 or end % 3600 or (parts.between and start == end):
        words.refuse("'between' and two different whole hours, as a cron line has them", place=parts.places["between"])
    start, end = start // 3600, end // 3600
    return [(start + hour) % 24 for hour in range((end - start) % 24 or 24)]


def _cron_days(words: Words, parts: Parts) -> str:
    """Day of month, month and day of week of a cron line."""
    months = _month_field(parts.months)
    if not parts.dates:
        return f"* {months} {weekday_text(parts.weekdays) if parts.weekdays else '*'}"
    _only(words, parts, "dates", "months", "between", "every_day", "times")
    dates: set[tuple[int, str]] = set()
    weekdays: set[tuple[int, int, str]] = set()
    for text in parts.dates:
        nth, _, what = text.partition(" ")
        if nth == "last" and what in _LAST:
            dates.add(_LAST[what])
        elif not what:
            dates.add((int(nth[:-2]), nth[:-2]))
        elif what in WEEKDAY_NUMBERS and nth in (*NTH_WORDS, "last"):
            place = 9 if nth == "last" else NTH_WORDS.index(nth) + 1
            weekdays.add((place // 9, WEEKDAY_NUMBERS[what], f"{what[:3]}L" if place == 9 else f"{what[:3]}#{place}"))
        else:
            words.refuse("'the 15th', 'the last day', 'the first monday'", place=parts.places["dates"])
    if dates and weekdays:
        words.refuse("days by number or days by name, not both", place=parts.places["dates"])
    date_field = ",".join(text for _, text in sorted(dates))
    weekday_field = ",".join(text for _, _, text in sorted(weekdays))
    return f"{date_field or '*'} {months} {weekday_field or '*'}"


def _month_field(months: list[int]) -> str:
    runs: list[list[int]] = []
    for month in months:
        if runs and runs[-1][-1] == month - 1:
            runs[-1].append(month)
        else:
            runs.append([month])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs) or "*"


def _start_moment(words: Words, parts: Parts) -> datetime | None:
    if not parts.start:
        return None
    if "T" not in parts.start:
        words.refuse("a date and time such as 2026-11-23T08:00", place=parts.places["start"] + 1)
    try:
        return datetime.fromisoformat(parts.start)
    except ValueError:
        words.refuse("a date and time such as 2026-11-23T08:00", place=parts.places["start"] + 1)


def _start_date(words: Words, parts: Parts) -> date | None:
    if not parts.start:
        return None
    try:
        return date.fromisoformat(parts.start)
    except ValueError:
        words.refuse("a date such as 2026-11-23", place=parts.places["start"] + 1)


def _daily(words: Words, parts: Parts) -> Trigger:
    """``every weekday at 09:00``; with months a cron line."""
    _only(words, parts, "times", "weekdays", "months", "every_day", "between")
    if not (parts.times or parts.weekdays or parts.unit or parts.every_day):
        words.refuse("'every' and how often", A_TIME, place=len(words.words))
    days = weekday_text(parts.weekdays) if parts.weekdays else None
    if not parts.months:
        return Daily(_clock_texts(parts), days)
    times = sorted(set(parts.times or [0]))
    hours, minutes, seconds = ({t // size % span for t in times} for size, span in ((3600, 24), (60, 60), (1, 60)))
    if len(seconds) > 1 or len(hours) * len(minutes) != len(times):
        words.refuse("times of the same minute, as a cron line has them", place=parts.places["times"])
    clock = [",".join(map(str, sorted(numbers))) for numbers in (minutes, hours)]
    second = [] if seconds == {0} else [str(seconds.pop())]
    return Cron(" ".join([*second, *clock, _cron_days(words, parts)]))


def _calendar(words: Words, parts: Parts) -> Trigger:
    """``every 2 weeks on monday``, ``every month on the 31st``, ``every 25 december``, ``monthly``."""
    yearly = bool(parts.months) or any(text.split()[-1] in MONTH_NUMBERS for text in parts.dates)
    unit = parts.unit or ("year" if yearly else "month")
    if unit == "quarter":
        words.refuse("'months' in place of quarters", place=parts.places["unit"] + 2)
    day = {"week": "weekdays", "month": "dates", "year": "dates"}.get(unit, "")
    _only(words, parts, "times", "start", day, "months" if unit == "year" else day)
    times, on = _clock_texts(parts), _on(words, parts, unit)
    if parts.nickname and unit == "week":
        _only(words, parts, "times", "weekdays")
        return Daily(times, weekday_text(parts.weekdays) if parts.weekdays else "sun")
    if parts.nickname and not on:
        on = ["1 january" if unit == "year" else "1st"]
    if not on and not parts.count:
        words.refuse(f"'on' and {A_DAY}", place=len(words.words))
    if not on and not parts.times and unit in ("day", "week"):
        words.refuse(f"'at' and {A_TIME}; an interval is said in hours", place=len(words.words))
    years, months, weeks, days = ((parts.count or 1) * (unit == each) for each in ("year", "month", "week", "day"))
    start = _start_date(words, parts)
    return Calendar(times, years=years, months=months, weeks=weeks, days=days, on=on, start=start)


def _on(words: Words, parts: Parts, unit: str) -> list[str]:
    """The days as a Calendar's ``on`` has them."""
    if unit == "week":
        return [WEEKDAYS[number].lower() for number in parts.weekdays]
    if not parts.months:
        return parts.dates
    if not parts.dates or any(text.split()[-1] in MONTH_NUMBERS for text in parts.dates):
        words.refuse("the end", place=parts.places["months"])
    months = [MONTHS[month - 1].lower() for month in parts.months]
    return [
        f"{re.sub('[a-z]+', '', text)} {month}" if text[0].isdigit() else f"{text} of {month}"
        for text in parts.dates
        for month in months
    ]

"""``asyncsched explain``: an expression in words, its next fires, and what it does when the clock is changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice

from asyncsched.cli._changes import Change, changes, effect, fire_note, zone_followed
from asyncsched.cli._dry import moment
from asyncsched.cli._show import Screen, fire_json, print_json
from asyncsched.clock import SystemClock, from_us, to_us
from asyncsched.phrases import day_words, moment_words
from asyncsched.triggers import Binding, Calendar, Cron, Daily, Every, Never, Once, Trigger, parse_trigger
from asyncsched.triggers._fields import Line, parse_line
from asyncsched.zone import load_zone, system_zone_name, zone_name

_DAY = timedelta(days=1)
_AHEAD_US = 365 * _DAY // timedelta(microseconds=1)
_KINDS: dict[type[Trigger], str] = {
    Every: "interval: the same in every zone, whatever the clocks do",
    Once: "once",
    Daily: "times of day: each once a day, on the days that do not have 24 hours too",
    Calendar: "calendar days: each time once, on the days that do not have 24 hours too",
    Never: "never",
}
_FIXED = "fixed times: each once, on the days that do not have 24 hours too"
_WILDCARD = "a wildcard: every instant whose local time matches"
_STEPPED = (("second", 60), ("minute", 60), ("hour", 24), ("day of month", 31), ("month", 12), ("day of week", 7))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """What there is to say about an expression."""

    expression: str
    kind: str
    words: str
    zone: str
    fires: list[tuple[datetime, str | None]]
    """Each in the zone, with what is unusual about it."""
    changes: list[tuple[Change, str]]
    """The coming changes of the clock that matter, and what happens then."""
    warnings: list[str]


def explain(expression: str, zone: str | None, start: datetime, count: int, key: str | None) -> Explained:
    """What ``expression`` means, and its first ``count`` fires from ``start`` on.

    Raises:
        TriggerError: it is no expression.
    """
    trigger = parse_trigger(expression)
    warnings = list(warnings_about(trigger))
    own = zone or getattr(trigger, "tz", None) or system_zone_name()
    start_us = to_us(start)
    fires: list[tuple[datetime, str | None]] = []
    coming: list[tuple[Change, str]] = []
    if key is None and isinstance(trigger, Cron) and _line(trigger).spread:
        warnings.append("H is spread from the id of its task: --id shows when that one fires")
    else:
        bound = trigger.bind(Binding(zone=own, anchor_us=start_us, key=key))
        own = zone_followed(bound) or own
        instants = islice(_instants(bound, start_us), count)
        fires = [(from_us(at).astimezone(load_zone(own)), fire_note(bound, at)) for at in instants]
        found = ((change, effect(bound, change)) for change in changes(own, start_us, start_us + _AHEAD_US))
        coming = [(change, said) for change, said in found if said is not None]
        if not fires and isinstance(trigger, Once):
            warnings.append("the instant has passed: a task that is newly declared with it runs at once")
    return Explained(
        expression=expression,
        kind=_kind(trigger),
        words=trigger.describe(),
        zone=own,
        fires=fires,
        changes=coming,
        warnings=warnings,
    )


def _instants(bound: Trigger, start_us: int) -> Iterator[int]:
    # An interval that is declared now first fires one interval later; all else may fire at the very start.
    found = bound.next_us(start_us if isinstance(bound, Every) else start_us - 1)
    while found is not None:
        yield found
        found = bound.next_us(found)


def _kind(trigger: Trigger) -> str:
    if isinstance(trigger, Cron):
        fields = len(trigger.expression.split())
        first = ", seconds first" if fields > 5 else ""
        return f"cron line{first}, {_WILDCARD if _line(trigger).wildcard else _FIXED}"
    return _KINDS.get(type(trigger), "a trigger made of others")


def _line(trigger: Cron) -> Line:
    return parse_line(trigger.expression, trigger.dialect, trigger.days, trigger.key)


def warnings_about(trigger: Trigger) -> Iterator[str]:
    """What the writer of this trigger may not have meant."""
    if isinstance(trigger, Every):
        assert isinstance(trigger.period, timedelta)
        if trigger.period % _DAY == timedelta(0):
            yield (
                f"{trigger.period // timedelta(hours=1)} hours are not a day: after a change of the clock it fires "
                "at another time of day; for the same one write 'every day at 09:00'"
            )
    if isinstance(trigger, Cron):
        line = _line(trigger)
        yield from _step_warnings(line)
        date, weekday = line.texts[3], line.texts[5]
        if not line.together:
            yield (
                f"day of month {date} and day of week {weekday} are both given: either is enough; +{weekday} wants both"
            )
        elif date not in "*?" and weekday not in "*?" and "*" in (date[0], weekday[0]):
            yield f"day of month {date} and day of week {weekday} must both match, since one begins with *"
        if _only_long_months(line):
            yield "months without such a day are skipped; L is the last day of each month"


def _only_long_months(line: Line) -> bool:
    """Whether the only days are some that not all of the wanted months have."""
    dates = line.dates
    short = any(month in line.months for month in (2, 4, 6, 9, 11))
    plain = dates.plain and not (dates.last or dates.nearest or dates.last_nearest)
    return bool(plain and dates.plain[0] > 28 and short and line.texts[5] in "*?")


def _step_warnings(line: Line) -> Iterator[str]:
    numbers = (line.seconds, line.minutes, line.hours, line.dates.plain, line.months, line.weekdays.plain)
    for (name, size), text, found in zip(_STEPPED, line.texts, numbers, strict=False):
        start, slash, digits = text.partition("/")
        if not slash or not digits.isdigit():
            continue
        step = int(digits)
        if len(found) == 1:
            yield f"{name} {text}: the step is larger than the field, so only {found[0]} is left"
        elif start == "*" and size % step and name in ("second", "minute", "hour"):
            gap = size - found[-1] + found[0]
            yield f"{name} {text} begins anew after {found[-1]}: the last step is {gap}, not {step}"


def show_explained(
    expression: str, zone: str | None, start: str | None, count: int, key: str | None, *, as_json: bool
) -> None:
    """Prints what there is to say."""
    checked = None if zone is None else zone_name(zone)
    if start is None:
        begin = SystemClock().now().replace(microsecond=0)
    else:
        own = checked or getattr(parse_trigger(expression), "tz", None) or system_zone_name()
        begin = moment("--from", start, own)
    found = explain(expression, checked, begin, count, key)
    if as_json:
        print_json(_json(found))
    else:
        _show(Screen(), found)


def _show(screen: Screen, found: Explained) -> None:
    screen.say((found.words, "bold"))
    screen.say(("  kind  ", "dim"), found.kind)
    screen.say(("  zone  ", "dim"), found.zone)
    seconds = any(at.second for at, _note in found.fires)
    moments = [moment_words(at, seconds=seconds) for at, _note in found.fires]
    width = max(map(len, moments), default=0)
    for (at, note), words in zip(found.fires, moments, strict=True):
        said = f"  {note}" if note else ""
        utc = fire_json(at)["utc"].removesuffix(":00Z").removesuffix("Z") + "Z"
        screen.say(("  next  ", "dim"), f"{words:{width}}", (f"  {utc}", "dim"), (said, "yellow"))
    if not found.fires and not found.warnings:
        screen.say(("  next  ", "dim"), "it fires no more")
    for change, said in found.changes:
        screen.say(("  clock ", "dim"), f"{day_words(change.moment)} {change.words()}: {said}")
    for warning in found.warnings:
        screen.say(("  note  ", "yellow"), warning)


def _json(found: Explained) -> dict[str, object]:
    return {
        "expression": found.expression,
        "words": found.words,
        "kind": found.kind,
        "zone": found.zone,
        "fires": [fire_json(at, note=note) for at, note in found.fires],
        "changes": [fire_json(change.moment, clock=change.words(), effect=said) for change, said in found.changes],
        "warnings": found.warnings,
    }

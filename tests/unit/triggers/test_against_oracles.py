"""Cron against two independent evaluators of the manual's rules, on random lines, zones and starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from random import Random
from zoneinfo import ZoneInfo

import pytest

from asyncsched.errors import TriggerError
from asyncsched.triggers import Cron, Daily
from oracle import dates, timeline
from oracle.cases import Case, random_cases
from oracle.lines import read_line

FIRES = 5
HORIZON = timedelta(days=500)
MICROSECOND = timedelta(microseconds=1)
LAST = datetime(2200, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(80))
def test_cron_agrees_with_both_evaluators(seed: int) -> None:
    for case in random_cases(seed, 40):
        _check(case)


def _check(case: Case) -> None:
    line, zone = read_line(case.text, dialect=case.dialect, days=case.days), ZoneInfo(case.zone)
    options = {"gap": case.gap, "overlap": case.overlap}
    walked = list(islice(timeline.fires(line, zone, case.start, case.start + HORIZON, **options), FIRES))
    end = walked[-1] if len(walked) == FIRES else case.start + HORIZON
    assert dates.fires(line, zone, case.start, end, **options) == walked, f"the evaluators differ on {case}"
    try:
        cron = Cron(case.text, tz=case.zone, dialect=case.dialect, days=case.days, **options)
    except TriggerError as error:
        if _any_date(case):
            raise AssertionError(f"{case} is refused") from error
        return
    _check_fires(cron, case, walked)


def _check_fires(cron: Cron, case: Case, expected: list[datetime]) -> None:
    found = list(islice(cron.upcoming(case.start), FIRES))
    within = [fire.astimezone(UTC) for fire in found if fire <= case.start + HORIZON]
    assert within == expected, f"{case}\n expected {expected}\n      got {within}"
    for fire in found:
        assert str(fire.tzinfo) == case.zone
        assert fire.astimezone(UTC).astimezone(fire.tzinfo).fold == fire.fold, f"{case}: the fold of {fire!r}"
    _check_laws(cron, case, found)


def _check_laws(cron: Cron, case: Case, found: list[datetime]) -> None:
    """However a start is told, and wherever it lies between two fires, the next fire is the same."""
    known = [case.start, *(fire.astimezone(UTC) for fire in found)]
    for one, other in pairwise(known):
        for start in (one, one.astimezone(ZoneInfo(case.zone)), one + (other - one) / 2, other - MICROSECOND):
            again = cron.next_after(start)
            assert again is not None
            assert again.astimezone(UTC) == other, f"{case} from {start!r}"
    if found:
        between = [fire.astimezone(UTC) for fire in cron.between(found[0], found[-1])]
        assert between == known[1:-1], f"{case} between {found[0]!r} and {found[-1]!r}"


@pytest.mark.parametrize("seed", range(10))
def test_daily_agrees_with_the_evaluators(seed: int) -> None:
    random = Random(seed)
    for case in random_cases(seed + 1000, 30):
        hour = random.choice((0, 1, 2, 3, 23, random.randrange(24)))
        minute = random.choice((0, 30, 59))
        days = random.choice((None, "mon-fri", "sat,sun", "fri", "mon,wed"))
        daily = Daily(f"{hour:02}:{minute:02}", tz=case.zone, days=days, gap=case.gap, overlap=case.overlap)
        line = read_line(f"{minute} {hour} * * {days or '*'}")
        options = {"gap": case.gap, "overlap": case.overlap}
        expected = list(
            islice(timeline.fires(line, ZoneInfo(case.zone), case.start, case.start + HORIZON, **options), FIRES)
        )
        found = [fire.astimezone(UTC) for fire in islice(daily.upcoming(case.start), FIRES)]
        assert found == expected, f"{daily} {case}"


def _any_date(case: Case) -> bool:
    line = read_line(case.text, dialect=case.dialect, days=case.days)
    first = datetime(1970, 1, 1, tzinfo=UTC).date()
    return any(line.has_date(first + timedelta(days=day)) for day in range((LAST.date() - first).days))


@pytest.mark.parametrize(
    "text",
    [
        "0 0 29 2 */7",
        "30 2 29 2 */3",
        "0 0 0 1 1 * 2099",
        "0 0 0 29 2 * 2096",
        "0 0 ? 2 MON#5",
        "0 0 L-29 1 +FRI",
        "0 0 L-28 2 *",
        "15 1 31W * *",
        "0 0 0 25 12 +SUN 2000-2050",
        "0 0 0 ? * 5#5 2150-2199",
    ],
)
@pytest.mark.parametrize("zone", ["America/New_York", "Pacific/Apia"])
def test_rare_fires_are_found_to_the_end_of_2199(text: str, zone: str) -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    line = read_line(text)
    days = [start.date() + timedelta(days=day) for day in range((LAST.date() - start.date()).days)]
    expected = [
        instant.astimezone(UTC)
        for day in days
        if line.has_date(day)
        for wall in [datetime(day.year, day.month, day.day, max(line.hours), max(line.minutes))]
        for instant in dates.instants(ZoneInfo(zone), wall)[:1] or [dates.first_past(ZoneInfo(zone), wall)]
        if instant > start
    ]
    assert [fire.astimezone(UTC) for fire in Cron(text, tz=zone).upcoming(start)] == expected


def test_the_evaluators_know_what_a_human_worked_out() -> None:
    zone = ZoneInfo("America/New_York")
    start, end = datetime(2024, 11, 3, 4, tzinfo=UTC), datetime(2024, 11, 3, 8, tzinfo=UTC)
    for text, expected in {"30 1 * * *": ["05:30"], "*/30 1 * * *": ["05:00", "05:30", "06:00", "06:30"]}.items():
        line = read_line(text)
        for found in (dates.fires(line, zone, start, end), timeline.fires(line, zone, start, end)):
            assert [f"{instant:%H:%M}" for instant in found] == expected

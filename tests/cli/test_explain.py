"""``asyncsched explain``."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from asyncsched.cli._explain import explain, warnings_about
from asyncsched.triggers import parse_trigger

MARCH = datetime(2026, 3, 7, 5, tzinfo=UTC)


def warnings(expression: str) -> list[str]:
    return list(warnings_about(parse_trigger(expression)))


@pytest.mark.feature("LS3")
def test_ls3_a_line_is_put_into_words_with_its_next_five_fires(command) -> None:
    done = command("explain", "0 0 4 * * *", "--tz", "UTC", "--from", "2026-03-28")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "at 04:00, every day",
        "  kind  cron line, seconds first, fixed times: each once, on the days that do not have 24 hours too",
        "  zone  UTC",
        "  next  Sat 28 Mar 2026 04:00 UTC  2026-03-28T04:00Z",
        "  next  Sun 29 Mar 2026 04:00 UTC  2026-03-29T04:00Z",
        "  next  Mon 30 Mar 2026 04:00 UTC  2026-03-30T04:00Z",
        "  next  Tue 31 Mar 2026 04:00 UTC  2026-03-31T04:00Z",
        "  next  Wed  1 Apr 2026 04:00 UTC  2026-04-01T04:00Z",
    ]


@pytest.mark.feature("LS3")
def test_ls3_every_second_of_an_hours_first_minute_is_said_to_be_that(command) -> None:
    done = command("explain", "* 0 4 * * *", "--tz", "UTC", "--from", "2026-03-28", "-n", "61", "--json")
    found = json.loads(done.out)
    assert found["words"] == "every second of 04:00, every day"
    assert [fire["utc"] for fire in found["fires"][::30]] == [
        "2026-03-28T04:00:00Z",
        "2026-03-28T04:00:30Z",
        "2026-03-29T04:00:00Z",
    ]


def test_a_fire_that_is_made_up_for_is_told_and_so_is_the_change(command) -> None:
    done = command("explain", "30 2 * * *", "--tz", "America/New_York", "--from", "2026-03-07")
    assert "Sun  8 Mar 2026 03:00 EDT  2026-03-08T07:00Z  made up for 02:30, which the clock skipped" in done.out
    last = "  clock Sun  8 Mar 2026 02:00 EST -> 03:00 EDT: 02:30 does not come: made up for at 03:00"
    assert done.out.splitlines()[-1] == last


def test_the_zone_of_the_expression_counts_before_the_systems(command) -> None:
    found = json.loads(command("explain", "every day at 01:30 in Europe/Berlin", "--from", "2026-10-25", "--json").out)
    assert found["zone"] == "Europe/Berlin"
    assert found["fires"][0] == {"at": "2026-10-25T01:30:00+02:00", "utc": "2026-10-24T23:30:00Z", "note": None}


def test_an_interval_first_fires_one_interval_later() -> None:
    found = explain("90s", "UTC", MARCH, 2, None)
    assert [at.isoformat() for at, _note in found.fires] == ["2026-03-07T05:01:30+00:00", "2026-03-07T05:03:00+00:00"]


def test_all_else_may_fire_at_the_very_start() -> None:
    found = explain("0 5 * * *", "UTC", MARCH, 1, None)
    assert found.fires == [(MARCH, None)]


def test_the_changes_of_the_coming_year_are_told() -> None:
    found = explain("0 * * * *", "Europe/Berlin", MARCH, 0, None)
    assert [f"{change.moment:%d %b %Y}: {said}" for change, said in found.changes] == [
        "29 Mar 2026: 02:00 does not come: 03:00 fires once",
        "25 Oct 2026: 02:00 comes twice: fires both times",
    ]


def test_h_needs_the_id_of_a_task() -> None:
    assert explain("H 4 * * *", "UTC", MARCH, 5, None).fires == []
    assert len(explain("H 4 * * *", "UTC", MARCH, 5, "app:backup").fires) == 5


def test_what_has_passed_is_told() -> None:
    found = explain("2020-01-01 00:00", "UTC", MARCH, 5, None)
    assert found.fires == []
    assert found.warnings == ["the instant has passed: a task that is newly declared with it runs at once"]


@pytest.mark.parametrize(
    ("expression", "part"),
    [
        ("every 24h", "24 hours are not a day"),
        ("every 48h", "48 hours are not a day"),
        ("0 0 13 * FRI", "day of month 13 and day of week FRI are both given: either is enough; +FRI wants both"),
        ("0 0 */2 * MON", "must both match, since one begins with *"),
        ("*/90 * * * *", "minute */90: the step is larger than the field, so only 0 is left"),
        ("*/7 * * * *", "minute */7 begins anew after 56: the last step is 4, not 7"),
        ("0 */5 * * *", "hour */5 begins anew after 20: the last step is 4, not 5"),
        ("0 0 31 * *", "months without such a day are skipped"),
    ],
)
def test_what_may_not_have_been_meant_is_told(expression: str, part: str) -> None:
    (said,) = warnings(expression)
    assert part in said


@pytest.mark.parametrize(
    "expression",
    [
        "every 90m",
        "0 9 * * mon-fri",
        "*/15 * * * *",
        "0 0 1 * *",
        "0 0 31 1,3 *",
        "0 0 13 * +FRI",
        "0 0 L * *",
        "@daily",
    ],
)
def test_what_is_as_it_seems_has_no_warning(expression: str) -> None:
    assert warnings(expression) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["61 * * * *"], "asyncsched: minute 61 is not in 0-59 (field 1 of 5)\n"),
        (["every tuseday"], "'tuseday'"),
        (["@daily", "--tz", "Mars"], "unknown time zone 'Mars'"),
        (["@daily", "--from", "soon"], "--from 'soon'"),
    ],
)
def test_what_cannot_be_is_a_usage_error(command, words: list[str], said: str) -> None:
    done = command("explain", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err

"""What happens where the clock is changed, in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from asyncsched.cli._changes import changes, effect, fire_note, zone_followed
from asyncsched.clock import to_us
from asyncsched.triggers import AnyOf, Binding, Cron, Daily, Every, Never, Once, Trigger, parse_trigger

YEAR = to_us(datetime(2024, 1, 1, tzinfo=UTC)), to_us(datetime(2025, 1, 1, tzinfo=UTC))
NEW_YORK = "America/New_York"


def bound(text: str | Trigger, zone: str = NEW_YORK) -> Trigger:
    return parse_trigger(text).bind(Binding(zone=zone, anchor_us=YEAR[0]))


def us(text: str) -> int:
    return to_us(datetime.fromisoformat(text))


def test_a_year_has_the_changes_that_its_zone_has() -> None:
    found = [(change.moment.isoformat(), change.words()) for change in changes(NEW_YORK, *YEAR)]
    assert found == [
        ("2024-03-10T03:00:00-04:00", "02:00 EST -> 03:00 EDT"),
        ("2024-11-03T01:00:00-05:00", "02:00 EDT -> 01:00 EST"),
    ]
    assert list(changes("UTC", *YEAR)) == []


def test_a_change_at_the_edges_counts_at_the_start_and_not_at_the_end() -> None:
    at = us("2024-03-10T03:00-04:00")
    assert len(list(changes(NEW_YORK, at, at + 1))) == 1
    assert len(list(changes(NEW_YORK, at - 1, at))) == 0


@pytest.mark.parametrize(
    ("text", "spring", "autumn"),
    [
        ("30 2 * * *", "02:30 does not come: made up for at 03:00", None),
        ("at 02:30", "02:30 does not come: made up for at 03:00", None),
        ("0,30 2 * * *", "02:00 and 02:30 do not come: made up for at 03:00", None),
        ("0 2,3 * * *", "02:00 does not come: 03:00 fires once", None),
        ("30 1 * * *", None, "01:30 comes twice: fires the first time only"),
        ("*/30 2 * * *", "02:00 and 02:30 do not come: no fire", None),
        ("*/30 1 * * *", None, "01:00 and 01:30 come twice: fires both times"),
        (
            "* * * * *",
            "60 times from 02:00 to 02:59 do not come: 03:00 fires once",
            "60 times from 01:00 to 01:59 come twice: fires both times",
        ),
        ("0 12 * * *", None, None),
        ("every 1h", None, None),
        ("30 1 * * * in Europe/Berlin", None, None),
    ],
)
def test_the_effect_of_a_change_is_told(text: str, spring: str | None, autumn: str | None) -> None:
    trigger = bound(text)
    assert [effect(trigger, change) for change in changes(NEW_YORK, *YEAR)] == [spring, autumn]


@pytest.mark.parametrize(
    ("trigger", "spring", "autumn"),
    [
        (Cron("30 2 * * *", gap="skip"), "02:30 does not come: no fire", None),
        (Cron("30 1 * * *", overlap="both"), None, "01:30 comes twice: fires both times"),
        (Daily("01:30", overlap="last"), None, "01:30 comes twice: fires the second time only"),
        (AnyOf(Daily("02:30"), Daily("01:30")), "02:30 does not come: made up for at 03:00",
         "01:30 comes twice: fires the first time only"),
        (AnyOf(Daily("02:30"), Every("1h")), None, None),
    ],
)  # fmt: skip
def test_options_and_unions_are_seen(trigger: Trigger, spring: str | None, autumn: str | None) -> None:
    assert [effect(bound(trigger), change) for change in changes(NEW_YORK, *YEAR)] == [spring, autumn]


def test_a_date_that_was_never_shown_is_not_missed() -> None:
    trigger = bound("0 9 * * *", "Pacific/Apia")
    (change,) = changes("Pacific/Apia", us("2011-12-30T00:00+00:00"), us("2011-12-31T00:00+00:00"))
    assert effect(trigger, change) is None


@pytest.mark.parametrize(
    ("text", "at", "note"),
    [
        ("30 2 * * *", "2024-03-10T03:00-04:00", "made up for 02:30, which the clock skipped"),
        ("30 2 * * *", "2024-03-11T02:30-04:00", None),
        ("0 2,3 * * *", "2024-03-10T03:00-04:00", None),
        ("*/30 * * * *", "2024-03-10T03:00-04:00", None),
        ("30 1 * * *", "2024-11-03T01:30-04:00", "the first 01:30 of two: the other does not fire"),
        ("*/30 1 * * *", "2024-11-03T01:30-04:00", "the first 01:30 of two: both fire"),
        ("*/30 1 * * *", "2024-11-03T01:30-05:00", "the second 01:30 of two: both fire"),
        ("every 1h", "2024-11-03T01:00-05:00", None),
    ],
)
def test_what_is_unusual_about_a_fire_is_told(text: str, at: str, note: str | None) -> None:
    trigger = bound(text)
    assert fire_note(trigger, us(at)) == note


def test_only_what_looks_at_a_clock_follows_a_zone() -> None:
    moment = datetime(2027, 1, 1)
    followed = [bound(trigger) for trigger in (Daily("02:30"), Cron("@daily"), Once(moment))]
    assert [zone_followed(trigger) for trigger in followed] == [NEW_YORK] * 3
    others = [bound(trigger) for trigger in (Every("1h"), Never(), Once(moment.replace(tzinfo=UTC)))]
    assert [zone_followed(trigger) for trigger in others] == [None] * 3

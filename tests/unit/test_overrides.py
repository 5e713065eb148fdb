"""What an operator puts in place of what code declares, as a value; and keys that a renamed task takes along."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.backfill import BACKFILL_KEY
from asyncsched.errors import ConfigError, TriggerError
from asyncsched.limits import Idempotency, Unique, limit_key, unique_key
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.renaming import renamed_key, renamed_names, renamed_terms
from asyncsched.run import NO_TERMS, Terms
from asyncsched.triggers import Cron, Every


@pytest.mark.parametrize(
    "overrides",
    [
        NO_OVERRIDES,
        Overrides(trigger=Cron("0 4 * * *", tz="Europe/Dublin"), priority=-3, max_running=2, at_us=5, note="why"),
        Overrides(trigger=Every("5m")),
        Overrides(priority=0),
    ],
)
def test_they_come_back_from_json(overrides: Overrides) -> None:
    assert Overrides.from_json(json.loads(json.dumps(overrides.to_json()))) == overrides


@pytest.mark.parametrize("said", [{"priority": "high"}, {"at_us": [1]}, {"trigger": {"kind": "gone"}}])
def test_what_is_none_is_refused(said: dict[str, object]) -> None:
    with pytest.raises((TypeError, TriggerError)):
        Overrides.from_json(said)


def test_what_a_later_version_has_put_beside_them_stays_whatever_is_put_here() -> None:
    said = {"priority": 3, "colour": ["red", {"more": 1}], "note": "why"}
    found = Overrides.from_json(json.loads(json.dumps(said)))
    assert found.to_json() == said
    assert found.with_limits(DEFAULT_POLICY, 5, 2).to_json() == {**said, "priority": 5, "max_running": 2}
    assert found._replace(trigger=Every("5m"), note=None).to_json().keys() == {"priority", "colour", "trigger"}
    assert found.over(DEFAULT_POLICY) == Overrides(priority=3).over(DEFAULT_POLICY)
    named = {"more": 1, "priority": 2}
    assert Overrides.from_json(named).to_json() == named


def test_limits_go_over_those_of_the_policy_and_nothing_else_does() -> None:
    policy = Policy.of({"priority": 4, "queue": "mail", "overlap": "allow"})
    assert NO_OVERRIDES.over(policy) is policy
    assert Overrides(trigger=Every("5m")).over(DEFAULT_POLICY) is DEFAULT_POLICY
    over = Overrides(priority=0, max_running=3).over(policy)
    assert (over.priority, over.max_running, over.queue, over.limit) == (0, 3, "mail", 3)


def test_limits_are_added_to_what_was_put_before() -> None:
    first = NO_OVERRIDES.with_limits(DEFAULT_POLICY, 5, None)
    assert first.with_limits(DEFAULT_POLICY, None, 2) == Overrides(priority=5, max_running=2)
    serial = Policy.of({"overlap": "queue_all"})
    assert NO_OVERRIDES.with_limits(serial, None, 1).max_running == 1
    with pytest.raises(ConfigError, match="one at a time"):
        NO_OVERRIDES.with_limits(serial, None, 2)
    for priority, most in ((True, None), (1.5, None), (None, 0)):
        with pytest.raises(ConfigError, match="a whole number"):
            NO_OVERRIDES.with_limits(DEFAULT_POLICY, priority, most)  # type: ignore[arg-type]


def test_the_keys_of_a_task_are_renamed_with_it() -> None:
    for key in ("old", limit_key("old", "a/b~c"), unique_key("old", "old"), f"{BACKFILL_KEY}old"):
        there = renamed_key(key, "old", "new")
        assert there == key.replace("old", "new", 1)
    for other in (None, "older", "old.x", "x/old", "other~old", f"{BACKFILL_KEY}older"):
        assert renamed_key(other, "old", "new") == other


@given(st.text(alphabet="ab/~.", max_size=6))
def test_a_key_is_renamed_there_and_back(rest: str) -> None:
    key = f"old/{rest}"
    assert renamed_key(renamed_key(key, "old", "new"), "new", "old") == key


def test_terms_are_renamed_by_their_keys() -> None:
    assert renamed_terms(NO_TERMS, "old", "new") is NO_TERMS
    terms = Terms(3, "mail", limit_key="old", once=Unique(), once_key="old~u", idempotency=Idempotency("old~k", 5))
    assert renamed_terms(terms, "old", "new") == Terms(
        3, "mail", limit_key="new", once=Unique(), once_key="new~u", idempotency=Idempotency("new~k", 5)
    )
    assert renamed_names({"old": "f1", "x": "f2"}, "old", "new") == {"new": "f1", "x": "f2"}

"""What the options of a task make."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from asyncsched.errors import ConfigError
from asyncsched.options import POLICY_NAMES, within
from asyncsched.policy import Policy
from asyncsched.triggers import Between, Every, Trigger

JUNE, JULY = datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC)


def test_every_field_of_a_policy_is_an_option() -> None:
    assert set(Policy.__slots__) == POLICY_NAMES


def test_a_task_fires_from_its_start_to_its_end() -> None:
    every: Trigger = Every("1d", JUNE)
    assert within(every, None, None) is every
    assert within(every, JUNE, None) == Between(every, JUNE)
    assert within(every, JUNE, JULY) == Between(every, JUNE, JULY)
    assert within(None, None, None) is None


@pytest.mark.parametrize(
    ("trigger", "starts", "ends", "message"),
    [
        (Every("1d"), "2026-06-01", None, "starts='2026-06-01': give a datetime"),
        (Every("1d"), None, 5, "ends=5: give a datetime"),
        (Every("1d"), JULY, JUNE, "a start before an end"),
        (None, JUNE, None, "give it a trigger"),
    ],
)
def test_what_bounds_nothing_is_refused(trigger: Trigger | None, starts: Any, ends: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        within(trigger, starts, ends)

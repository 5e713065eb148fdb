"""What an operator has put in place of what code declares of a task: a value, which outlives a redeploy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from asyncsched.errors import ConfigError
from asyncsched.policy import Policy
from asyncsched.triggers import Trigger

_LEAST_PRIORITY = -(2**31)


class Overrides(NamedTuple):
    """What wins over code, until it is reset; ``None`` is what code says.

    trigger: bound, that is with zone and anchor.
    priority, max_running: of the runs that are made from then on.
    at_us: when the last of them was put, in microseconds since the epoch.
    note: why, as the operator said.
    more: what a later version has put beside these, as JSON values: it stays whatever is put here, until it is reset.
    """

    trigger: Trigger | None = None
    priority: int | None = None
    max_running: int | None = None
    at_us: int | None = None
    note: str | None = None
    more: Mapping[str, Any] | None = None

    def over(self, policy: Policy) -> Policy:
        """The policy, with what wins over it."""
        priority, most = self.priority, self.max_running
        if priority is None and most is None:
            return policy
        return replace(
            policy,
            priority=policy.priority if priority is None else priority,
            max_running=policy.max_running if most is None else most,
        )

    def with_limits(self, policy: Policy, priority: int | None, max_running: int | None) -> Overrides:
        """These and the limits that are given, which are checked against the policy that code declares.

        Raises:
            ConfigError: one is no number that it may be.
        """
        for name, value, least in (("priority", priority, _LEAST_PRIORITY), ("max_running", max_running, 1)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ConfigError(f"{name}={value!r}: a whole number from {least} on")
        if max_running is not None and max_running > 1 and replace(policy, max_running=None).limit == 1:
            how = f"overlap={policy.overlap!r}, missed={policy.missed!r}"
            raise ConfigError(f"max_running={max_running!r}: the task runs one at a time, as its code says ({how})")
        return self._replace(
            priority=self.priority if priority is None else priority,
            max_running=self.max_running if max_running is None else max_running,
        )

    def to_json(self) -> dict[str, Any]:
        """These as JSON values, what is ``None`` left out."""
        said = {name: value for name in _NAMES if (value := getattr(self, name)) is not None}
        if self.trigger is not None:
            said["trigger"] = self.trigger.to_json()
        return said if self.more is None else {**self.more, **said}

    @staticmethod
    def from_json(said: Mapping[str, Any]) -> Overrides:
        """Those that ``to_json`` wrote.

        Raises:
            TriggerError: the trigger cannot be made.
            TypeError: a value is of another kind.
        """
        numbers = [said.get(name) for name in ("priority", "max_running", "at_us")]
        if not all(isinstance(number, int | None) for number in numbers):
            raise TypeError(f"stored overrides {said!r} hold what is no number")
        trigger, note = said.get("trigger"), said.get("note")
        priority, max_running, at_us = numbers
        more = {name: value for name, value in said.items() if name not in _NAMES}
        return Overrides(
            None if trigger is None else Trigger.from_json(trigger),
            priority,
            max_running,
            at_us,
            None if note is None else str(note),
            more or None,
        )


_NAMES = tuple(name for name in Overrides._fields if name != "more")
NO_OVERRIDES = Overrides()

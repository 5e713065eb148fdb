"""How a run is submitted: when, with which precedence, and what makes it the same as another one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple

from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.limits import Idempotency, check_key, key_of
from asyncsched.policy import PRIORITIES, Policy, is_text
from asyncsched.run import Run
from asyncsched.signature import Signature

KEY_KEPT = timedelta(hours=24)
"""For how long a submit with the same idempotency key gives the same run, unless the caller says otherwise."""
_US = timedelta(microseconds=1)


class Submission(NamedTuple):
    """When and how submitted runs are to start; what is ``None`` is as the task says, and now.

    idempotency: its key is that of the caller, and stands for one run of the task.
    connection: the caller's own, in whose transaction the runs are written.
    by_hand: somebody wants just this run: neither ``debounce`` nor ``cooldown`` concerns it.
    needs: the runs among the arguments of each call that has any, by its number.
    """

    at: datetime | None = None
    delay: timedelta | None = None
    priority: int | None = None
    queue: str | None = None
    unique: str | None = None
    unique_for: timedelta | None = None
    by_hand: bool = False
    idempotency: Idempotency | None = None
    connection: object = None
    needs: Mapping[int, tuple[Run[Any], ...]] = MappingProxyType({})

    @classmethod
    def of(
        cls,
        at: datetime | None,
        delay: timedelta | str | None,
        priority: int | None,
        queue: str | None,
        unique: str | None,
        unique_for: timedelta | str | None,
        idempotency_key: str | None = None,
        keep_key: timedelta | str | None = None,
        connection: object = None,
    ) -> Submission:
        """What ``Task.using`` was given, checked.

        Raises:
            ConfigError: both ``at`` and ``delay``, or a value that is none.
        """
        if at is not None and delay is not None:
            raise ConfigError(f"using(at={at!r}, delay={delay!r}): give one or the other")
        if at is not None and not isinstance(at, datetime):
            raise ConfigError(f"using(at={at!r}): give a datetime")
        if priority is not None and (type(priority) is not int or priority not in PRIORITIES):
            bounds = f"from {PRIORITIES.start} to {PRIORITIES[-1]}"
            raise ConfigError(f"using(priority={priority!r}): give a whole number {bounds}")
        for name, text in (("queue", queue), ("unique", unique), ("idempotency_key", idempotency_key)):
            if text is not None and not is_text(text):
                raise ConfigError(f"using({name}={text!r}): give a text of whole characters, without NUL")
        if unique_for is not None and unique is None:
            raise ConfigError(f"using(unique_for={unique_for!r}) makes unique= hold longer: give that too")
        wait = None if delay is None else as_duration("delay", delay, zero=True)
        keep = None if unique_for is None else as_duration("unique_for", unique_for)
        if keep_key is not None and idempotency_key is None:
            raise ConfigError(f"using(keep_key={keep_key!r}) is for how long idempotency_key= holds: give that too")
        given = None
        if idempotency_key is not None:
            kept = KEY_KEPT if keep_key is None else as_duration("keep_key", keep_key)
            given = Idempotency(idempotency_key, kept // _US)
        return cls(at, wait, priority, queue, unique, keep, idempotency=given, connection=connection)


class Keys(NamedTuple):
    """What the options ``key`` and ``unique`` make of the arguments of a run; ``None`` where they are not given."""

    limit: str | None = None
    unique: str | None = None


def checked_keys(
    task: str, policy: Policy, signature: Signature, fires: tuple[tuple[Any, ...], Mapping[str, Any]] | None
) -> Keys:
    """What the keys make of the arguments with which the task fires, if it does.

    Raises:
        ConfigError: a key is neither a function nor the name of a parameter, or makes nothing of those arguments.
    """
    for option, key in (("key", policy.key), ("unique", policy.unique)):
        if key is not None and not isinstance(key, bool):
            check_key(key, signature.parameters, option)
    if fires is None:
        return Keys()
    try:
        return keys_of(policy, signature, *fires)
    except Exception as error:
        raise ConfigError(f"task {task!r} has no key when it fires: {error!r}") from error


def keys_of(policy: Policy, signature: Signature, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Keys:
    """What the policy's keys make of these arguments. What a function there raises is raised here.

    Raises:
        ArgumentsError: a value has no text that is the same everywhere.
    """
    key, unique = policy.key, policy.unique
    if isinstance(unique, bool):
        one = "" if unique else None
        return Keys(None, one) if key is None else Keys(key_of(key, signature.bind(args, kwargs)), one)
    bound = signature.bind(args, kwargs)
    return Keys(None if key is None else key_of(key, bound), key_of(unique, bound, "unique"))

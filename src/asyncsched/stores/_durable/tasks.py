"""Tasks as the columns of a durable store: what is declared of one, and where it stands."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from asyncsched.errors import StoreError, TriggerError
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.stored import StoredTask
from asyncsched.stores._base import Declared, Standing
from asyncsched.stores.records import declaration_from_json, declaration_to_json
from asyncsched.triggers import Trigger

log = logging.getLogger("asyncsched.stores")
_dumps = json.JSONEncoder(sort_keys=True).encode

STANDING = (
    "id, declaration, trigger, next_at, version, history_limit, paused_until_at, skip_at, made, overrides, metadata"
)


class Declaration(NamedTuple):
    """A declared task as its columns; its trigger as it is, for that is written of few."""

    task: str
    declaration: str
    trigger: Trigger | None
    next_us: int | None
    history_limit: int
    aliases: tuple[str, ...]
    metadata: str | None


def declaration_of(declared: Declared) -> Declaration:
    """The task as its columns.

    Raises:
        StoreError: its trigger has no JSON.
    """
    text = stored_as(declared.task, declaration_to_json(declared.declaration))
    metadata = json.dumps(declared.metadata, default=str, sort_keys=True) if declared.metadata else None
    kept = declared.next_us, declared.history_limit, declared.aliases
    return Declaration(declared.task, text, declared.trigger, *kept, metadata)


def stored_as(task: str, said: object) -> str:
    """What is declared of a task, as JSON.

    Raises:
        StoreError: it has none.
    """
    try:
        return _dumps(said)
    except (TypeError, ValueError) as error:
        cure = "its fields must be JSON values, dates, datetimes, timedeltas or triggers"
        raise StoreError(f"the trigger of task {task!r} cannot be stored: {error}; {cure}") from error


@lru_cache(4_096)
def _trigger_of(text: str) -> Trigger:
    """The trigger that is stored so; tasks that were declared together often have equal ones."""
    return Trigger.from_json(json.loads(text))


def standing_of(found: tuple[Any, ...], known: tuple[Declared, Declaration] | None = None) -> Standing:
    """Where a task stands, as its columns say. One whose trigger cannot be read has none.

    known: what was just declared of it, in both forms: what is as there need not be read.
    """
    task, declaration, text, next_us, version, history_limit, paused_until_us, skip_us, made, overridden, _ = found
    trigger = None
    declared: object
    try:
        trigger = None if text is None else _trigger_of(text)
        same = known is not None and declaration == known[1].declaration
        declared = (
            known[0].declaration if known is not None and same else declaration_from_json(json.loads(declaration))
        )
        if not all(type(number) is int or number is None for number in (next_us, paused_until_us, skip_us)):
            raise ValueError("an instant is no whole number")
    except (TriggerError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        log.warning("task %s: its stored trigger cannot be read, it does not fire: %s", task, error)
        declared = trigger = next_us = skip_us = None
    overrides = NO_OVERRIDES if overridden is None else overrides_of(task, overridden)
    return Standing(
        task,
        declared,
        overrides.trigger or trigger,
        next_us,
        version,
        history_limit,
        paused_until_us,
        skip_us,
        made,
        overrides,
        trigger,
    )


def overrides_of(task: str, text: str) -> Overrides:
    """What an operator has put, as its column says, but a trigger that cannot be read; nothing if that is no JSON."""
    try:
        said = json.loads(text)
        try:
            return Overrides.from_json(said)
        except TriggerError as error:
            log.warning("task %s: the trigger that was put cannot be read, the code's stands: %s", task, error)
            rest = Overrides.from_json({name: value for name, value in said.items() if name != "trigger"})
            return rest._replace(more={**(rest.more or {}), "trigger": said["trigger"]})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        log.warning("task %s: its stored overrides cannot be read, what code declares stands: %s", task, error)
        return NO_OVERRIDES


class Found(NamedTuple):
    """What ``reconcile`` found, in columns; ``digest`` is that of the list of all that was declared."""

    standings: list[tuple[Any, ...]]
    added: list[str]
    changed: list[str]
    renamed: list[tuple[str, str]]
    digest: str


def digest_of(tasks: Sequence[str]) -> str:
    """By what the list of these tasks is known."""
    return hashlib.sha256(json.dumps(tasks).encode()).hexdigest()[:32]


def stored_task(columns: tuple[Any, ...], retired_us: int | None) -> StoredTask:
    *standing, served, waiting, running, parked = columns
    stands = standing_of(tuple(standing))
    return StoredTask(
        task=stands.task,
        trigger=stands.trigger,
        coded=stands.coded,
        next_us=stands.next_us,
        skip_us=stands.skip_us,
        paused_until_us=stands.paused_until_us,
        overrides=stands.overrides,
        retired=not served,
        retired_us=retired_us,
        waiting=waiting,
        running=running,
        parked=parked,
        metadata=_metadata(standing[10]),
    )


def _metadata(text: str | None) -> dict[str, Any]:
    try:
        said = json.loads(text or "{}")
    except (ValueError, TypeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}

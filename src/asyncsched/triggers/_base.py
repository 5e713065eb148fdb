"""What a trigger is: a set of instants, and nothing that changes.

A trigger is frozen: no clock, no memory, no randomness. ``next_after`` says the same whenever it is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date, datetime, timedelta
from functools import cache
from typing import Any, ClassVar, NamedTuple, Self

from asyncsched.clock import from_us, to_us
from asyncsched.duration import format_duration, parse_duration
from asyncsched.errors import ConfigError, TriggerError

_kinds: dict[str, type[Trigger]] = {}
_AS_THEY_ARE = frozenset({str, int, float, bool})  # in JSON


class Binding(NamedTuple):
    """What a trigger takes from its surroundings when a task with it is registered.

    zone: the name of the zone for triggers without ``tz=``.
    anchor_us: where the grid of an ``Every`` without ``start=`` begins, microseconds since the epoch.
    key: the task's id, from which ``H`` in a cron line is spread; ``None`` where there is none.
    """

    zone: str
    anchor_us: int
    key: str | None = None


@dataclass(frozen=True)
class Trigger(ABC):
    """A set of instants.

    Derive from it to make your own: a frozen dataclass whose fields are JSON values, dates, datetimes,
    timedeltas or triggers, with ``next_after``. It then works as the built-in ones do, in stores too.
    """

    kind: ClassVar[str] = "Trigger"

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Built-in kinds are short names; a user's carries its module, so that no two libraries collide.
        ours = cls.__module__.startswith("asyncsched.")
        cls.kind = cls.__name__ if ours else f"{cls.__module__}:{cls.__qualname__}"
        _kinds[cls.kind] = cls

    @abstractmethod
    def next_after(self, moment: datetime) -> datetime | None:
        """The earliest instant of this trigger strictly after the aware ``moment``; ``None`` if there is none."""

    def next_us(self, after_us: int) -> int | None:
        """As ``next_after``, in microseconds since the epoch: what the engine asks."""
        found = self.next_after(from_us(after_us))
        return None if found is None else to_us(found)

    def bind(self, binding: Binding) -> Self:
        """This trigger with what it leaves open filled in: zone, anchor, ``H``. Bound ones are left as they are."""
        changed = {
            field.name: value.bind(binding)
            for field in fields(self)
            if isinstance(value := getattr(self, field.name), Trigger)
        }
        return replace(self, **changed) if changed else self

    def upcoming(self, moment: datetime) -> Iterator[datetime]:
        """The instants after the aware ``moment``, one after another, without end if the trigger has none."""
        found = self.next_after(moment)
        while found is not None:
            yield found
            found = self.next_after(found)

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """The instants from the aware ``start`` (included) to the aware ``end`` (not included)."""
        # In microseconds: datetimes of one zone are compared, and subtracted from, by their wall times.
        end_us = moment_us(end)
        for found in self.upcoming(from_us(moment_us(start) - 1)):
            if to_us(found) >= end_us:
                return
            yield found

    def describe(self) -> str:
        """This trigger in words."""
        return str(self)

    def to_json(self) -> dict[str, Any]:
        """This trigger as JSON values, complete: ``Trigger.from_json`` makes an equal one."""
        return {"kind": self.kind} | {name: _encode(getattr(self, name)) for name in _field_names(type(self))}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Trigger:
        """The trigger that ``to_json`` wrote.

        Only kinds that the program itself has defined are made; nothing is imported or evaluated.

        Raises:
            TriggerError: an unknown kind, or values that make no trigger.
        """
        kind = value.get("kind")
        found = _kinds.get(kind) if isinstance(kind, str) else None
        if found is None:
            raise TriggerError(f"unknown kind of trigger {kind!r}: known are {', '.join(sorted(_kinds))}")
        try:
            return found._from_fields({name: _decode(item) for name, item in value.items() if name != "kind"})
        except ConfigError:
            raise
        except (TypeError, ValueError, LookupError) as error:
            raise TriggerError(f"a stored {kind} does not have the fields of today's: {error}") from error

    @classmethod
    def _from_fields(cls, values: Mapping[str, Any]) -> Trigger:
        """The trigger with these fields; for a constructor that does not take them by name."""
        return cls(**values)

    def __getstate__(self) -> dict[str, Any]:
        """The fields alone: what was worked out from them is worked out anew where a copy arrives."""
        return {name: getattr(self, name) for name in _field_names(type(self))}

    def __str__(self) -> str:
        """A text that ``when`` reads back as an equal trigger."""
        import json  # 1.4 ms to import, and few programs write triggers as JSON

        return json.dumps(self.to_json(), separators=(",", ":"))


class InstantTrigger(Trigger):
    """A trigger that computes in microseconds; datetimes are made at its edges only."""

    @abstractmethod
    def next_us(self, after_us: int) -> int | None: ...

    def next_after(self, moment: datetime) -> datetime | None:
        found = self.next_us(moment_us(moment))
        return None if found is None else self._shown(found)

    def _shown(self, instant_us: int) -> datetime:
        """The instant as callers see it; triggers with a zone show it there."""
        return from_us(instant_us)


def moment_us(moment: datetime) -> int:
    """The aware ``moment`` in microseconds since the epoch.

    Raises:
        TriggerError: it is naive, so it is no instant.
    """
    if moment.tzinfo is None:
        raise TriggerError(f"{moment!r} is naive: give an aware datetime, as in datetime.now(UTC)")
    return to_us(moment)


@cache
def _field_names(kind: type[Trigger]) -> tuple[str, ...]:
    """The names of its fields: those of 100,000 triggers are asked for when they are stored."""
    return tuple(field.name for field in fields(kind))


def _encode(value: Any) -> Any:
    if value is None or type(value) in _AS_THEY_ARE:
        return value
    if type(value) is timedelta:
        return {"duration": format_duration(value)}
    match value:
        case Trigger():
            return value.to_json()
        case datetime():
            # ISO 8601 has no fold: a naive time in an overlap would come back as its first pass.
            return {"datetime": value.isoformat()} | ({"fold": 1} if value.fold and value.tzinfo is None else {})
        case date():
            return {"date": value.isoformat()}
        case timedelta():
            return {"duration": format_duration(value)}
        case tuple() | list() | frozenset():
            return [_encode(item) for item in value]
        case _:
            return value


def _decode(value: Any) -> Any:
    if value is None or type(value) in _AS_THEY_ARE:
        return value
    match value:
        case {"kind": _}:
            return Trigger.from_json(value)
        case {"datetime": str(text)}:
            return datetime.fromisoformat(text).replace(fold=value.get("fold", 0))
        case {"date": str(text)}:
            return date.fromisoformat(text)
        case {"duration": str(text)}:
            return parse_duration(text)
        case list():
            return tuple(_decode(item) for item in value)
        case _:
            return value

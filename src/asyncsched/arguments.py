"""What a scheduler is made of: its arguments, checked."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias, get_args

from asyncsched._engine.capacity import Capacity
from asyncsched.errors import ConfigError
from asyncsched.stores import MemoryStore, Store

Role: TypeAlias = Literal["fire", "run"]
"""What a process does beside submitting and looking: fire the tasks, run what is ready."""
ROLES: frozenset[Role] = frozenset(get_args(Role))


def checked_roles(roles: Collection[Role]) -> frozenset[Role]:
    """The roles; with none a process submits, and neither fires nor runs.

    Raises:
        ConfigError: one is unknown.
    """
    known = ", ".join(map(repr, sorted(ROLES)))
    if isinstance(roles, str) or not isinstance(roles, Collection):
        raise ConfigError(f"roles={roles!r}: give a collection of {known}, such as {{'run'}}")
    if unknown := [role for role in roles if role not in ROLES]:
        raise ConfigError(f"roles={roles!r}: {unknown[0]!r} is none; they are {known}")
    return frozenset(roles)


def checked_count(name: str, value: int) -> int:
    """The number.

    Raises:
        ConfigError: it is not a whole one from 1 on.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}={value!r}: a whole number from 1 on")
    return value


def store_for(store: Store | str) -> Store:
    """The store, itself or the one that the text names.

    Raises:
        ConfigError: it names none.
    """
    if isinstance(store, Store):
        return store
    if store in ("memory://", "memory"):
        return MemoryStore()
    if isinstance(store, str) and store.startswith("sqlite:"):
        # Here and not above: sqlite3 takes 8 ms to import, and the memory store does without.
        from asyncsched.stores.sqlite import store_at

        return store_at(store)
    if isinstance(store, str) and store.startswith(("postgresql://", "postgres://")):
        from asyncsched.stores.postgres import store_at as postgres_at

        return postgres_at(store)
    if isinstance(store, str) and store.startswith(("redis:", "redis+", "rediss:", "rediss+", "unix:")):
        from asyncsched.stores.redis import store_at as redis_at

        return redis_at(store)
    known = "'memory://', 'sqlite:///jobs.db', 'postgresql://user:password@host/database', 'redis://host' or a Store"
    raise ConfigError(f"store={_without_password(store)!r}: give {_meant(store) or known}")


def _without_password(store: object) -> object:
    """What was given, as it may stand in a log. Rather too much is hidden than too little."""
    return re.sub(r"(?s):(?!//).*@|(?<=password=)[^&]*", _hidden, store) if isinstance(store, str) else store


def _hidden(found: re.Match[str]) -> str:
    return ":***@" if found[0].startswith(":") else "***"


def _meant(store: object) -> str | None:
    """What the URL of another library, or in other letters, would be here, as far as that can be told."""
    scheme, _, rest = store.partition("://") if isinstance(store, str) else ("", "", "")
    name = scheme.lower().partition("+")[0].replace("valkey", "redis")
    if not rest or name not in ("postgresql", "postgres", "sqlite", "redis", "rediss"):
        return None
    return f"'{name}://' in the place of '{scheme}://'"


def capacity_of(
    max_running: int | None, queues: Collection[str] | Mapping[str, int | None] | None, groups: Mapping[str, int]
) -> Capacity:
    """The limits of this process.

    Raises:
        ConfigError: a limit is no whole number from 1 on.
    """
    limits = queues if isinstance(queues, Mapping) else None if queues is None else dict.fromkeys(queues)
    if isinstance(queues, str):
        raise ConfigError(f"queues={queues!r}: give a list of names, such as [{queues!r}]")
    if not isinstance(groups, Mapping) or None in groups.values():
        raise ConfigError(f"groups={groups!r}: give how many runs of each at once, such as {{'kernel': 3}}")
    for name, limit in [("max_running", max_running), *(limits or {}).items(), *groups.items()]:
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
            raise ConfigError(f"{name}={limit!r}: how many runs at once, a whole number from 1 on")
    return Capacity(max_running, limits, groups)

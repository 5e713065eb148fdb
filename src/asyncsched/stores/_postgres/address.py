"""Where a PostgreSQL store is, and how it is to be used, by its URL: checked before anything is connected."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError
from asyncsched.stores._durable.lease import STALL_LIMIT
from asyncsched.values import VALUE_LIMIT

SCHEMES = ("postgresql://", "postgres://")
LEAST_LEASE_US, MOST_LEASE_US = 3_000_000, 86_400_000_000
"""A shorter lease would take a busy machine for a dead node."""
MOST_CONNECTIONS = 100
_SCHEMA = re.compile(r"[a-z_][a-z0-9_]{0,40}")
_OURS = ("schema", "migrate", "max_value_size", "lease", "notify", "connections", "stall_limit")
_LIKE = "'postgresql://user:password@host:5432/database'"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the tables are, and how connections there are made.

    dsn: what the driver is told. schema: the PostgreSQL schema with the tables.
    connections: so many at most, beside one that renews the lease and listens.
    notify: whether nodes hint at their changes by NOTIFY; if not, nothing of a session outlives a transaction.
    """

    dsn: str = field(repr=False)
    schema: str
    connections: int
    notify: bool

    def __str__(self) -> str:
        parts = urlsplit(self.dsn)
        where = parts.netloc.rpartition("@")[2] or dict(parse_qsl(parts.query)).get("host", "")
        return f"postgresql {where}{parts.path} schema {self.schema}"


def address_of(url: str, schema: str, connections: int, *, notify: bool) -> Address:
    """The address, checked.

    Raises:
        ConfigError: one of them is wrong.
    """
    if not isinstance(url, str) or not url.startswith(SCHEMES):
        raise ConfigError(f"PostgresStore({_shown(url)}): give a URL such as {_LIKE}")
    try:
        for host in urlsplit(url).netloc.rpartition("@")[2].split(","):
            _port = urlsplit(f"//{host}").port
    except ValueError as error:
        raise ConfigError(f"PostgresStore({_shown(url)}): {error}: give a URL such as {_LIKE}") from None
    if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
        cure = "small letters, digits and _, beginning with none of the digits, at most 41, such as 'asyncsched'"
        raise ConfigError(f"schema={schema!r}: {cure}")
    if isinstance(connections, bool) or not isinstance(connections, int) or not 1 <= connections <= MOST_CONNECTIONS:
        raise ConfigError(f"connections={connections!r}: a whole number from 1 to {MOST_CONNECTIONS}")
    return Address(url, schema, connections, notify)


def lease_us_of(lease: timedelta | str) -> int:
    """The lease in microseconds.

    Raises:
        ConfigError: it is none.
    """
    given_us = as_duration("lease", lease) // timedelta(microseconds=1)
    if not LEAST_LEASE_US <= given_us <= MOST_LEASE_US:
        why = "a busy machine is taken for a dead one before that" if given_us < LEAST_LEASE_US else "that is no lease"
        raise ConfigError(f"lease={lease!r}: from '3s' to '1d', such as '20s': {why}")
    return given_us


@dataclass(frozen=True, slots=True)
class Options:
    """What a URL says, as the arguments of the store."""

    url: str
    schema: str = "asyncsched"
    migrate: bool = True
    max_value_size: int = VALUE_LIMIT
    lease: str = "20s"
    notify: bool = True
    connections: int = 4
    stall_limit: str = STALL_LIMIT


def options_of(url: str) -> Options:
    """The store's own options of a URL, and the rest of it, which is the driver's.

    Raises:
        ConfigError: one of them has no such value.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    ours = {name: value for name, value in given if name in _OURS}
    rest = urlunsplit(parts._replace(query=urlencode([one for one in given if one[0] not in _OURS])))
    if not rest.startswith(SCHEMES):  # an empty host before a query is dropped with its slashes
        rest = rest.replace(":", "://", 1)
    options = Options(rest)
    return Options(
        rest,
        schema=ours.get("schema", options.schema),
        migrate=_choice(ours, "migrate", {"yes": True, "no": False}, "yes, or no if 'asyncsched migrate' does it"),
        max_value_size=_number(ours, "max_value_size", options.max_value_size),
        lease=ours.get("lease", options.lease),
        notify=_choice(ours, "notify", {"on": True, "off": False}, "on, or off behind a transaction pooler"),
        connections=_number(ours, "connections", options.connections),
        stall_limit=ours.get("stall_limit", options.stall_limit),
    )


def _choice(given: dict[str, str], name: str, choices: dict[str, bool], cure: str) -> bool:
    said = given.get(name)
    if said is None:
        return True
    if said not in choices:
        raise ConfigError(f"{name}={said!r} in the URL of the store: {cure}")
    return choices[said]


def _number(given: dict[str, str], name: str, default: int) -> int:
    said = given.get(name, str(default))
    if not (said.isascii() and said.isdigit()):
        raise ConfigError(f"{name}={said!r} in the URL of the store: a whole number, such as {default}")
    return int(said)


def _shown(url: object) -> str:
    """The URL without its password."""
    return re.sub(r"//([^/@:]*):[^/@]*@", r"//\1:***@", repr(url))

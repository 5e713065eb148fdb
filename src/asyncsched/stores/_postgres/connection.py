"""Connections to PostgreSQL, and its troubles in words."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from asyncsched.errors import MissingExtra, StoreError
from asyncsched.stores._postgres.address import Address

try:
    import asyncpg
except ImportError as missing:
    raise MissingExtra(
        "PostgresStore needs asyncpg: pip install 'asyncsched[postgres]'", name=missing.name
    ) from missing

log = logging.getLogger("asyncsched.stores")

LEAST_VERSION = 13
"""Without the functions about transactions and snapshots of version 13 nothing here works."""
CONNECT_S, STATEMENT_S = 5, 10
"""So long a new connection may take to be made, and a statement to be answered: whoever asks is told after both."""
_SETTINGS = {
    "jit": "off",  # its start costs more than any statement here
    # To plan a claim anew each time takes longer than to carry it out. A plan is kept, and may have been made when the
    # tables were empty: so nothing is left to what was believed of them. Each statement names the rows that it wants,
    # by an index, and those are hashed.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_nestloop": "off",
    "enable_mergejoin": "off",
    "statement_timeout": "9s",  # sooner than the client gives up, so that the server says what is wrong
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "15s",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}
TROUBLES = (
    *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError, EOFError),
)
"""What a connection raises; an internal error where the server has just ended it, and that is not read yet."""
STUCK = (TimeoutError, asyncpg.InternalClientError)
"""After these nothing more is to be had of a connection, though it may look open."""
AGAIN = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
"""After these the same transaction may work."""
BUSY = (*AGAIN, asyncpg.LockNotAvailableError)
"""And after these one that wants whole tables to itself."""
_CURES = {
    "08": "the connection broke: look whether the server runs there and can be reached; later calls work again once it "
    "does",
    "28": "check the user and the password in the URL, and what pg_hba.conf lets in",
    "3D": "that database does not exist: make it first (createdb), or name another one",
    "42501": "this user lacks a right there: grant it, or let 'asyncsched migrate' be run by one who may make the "
    "schema",
    "42704": "an option behind the ? of the URL is none of the store, of asyncpg, or of the server: leave it out",
    "42P01": "a table is missing: somebody has dropped it; restore it, or drop the schema, which is then made anew",
    "3F": "the schema is missing: somebody has dropped it; restore it, or start a node, which makes it anew",
    "53300": "the server has no connection left: raise max_connections, or lower ?connections= of the URL",
    "53100": "the server's disk is full: free some space; nothing was written, and later calls work again",
    "25006": "the server only reads, as a standby does, or lets this user do no more (default_transaction_read_only): "
    "name the primary in the URL, or let him write",
    "57014": "a statement took too long: look for a transaction that was left open, and for a server without rest",
    "55P03": "a lock was held for too long: look for a transaction that was left open",
    "57P": "the server is going down or coming up; later calls work again once it is there",
}


class Database:
    """One connection, by which statements are sent that name all tables as ``asyncsched.``, whatever the schema is."""

    def __init__(self, connection: Any, schema: str) -> None:
        self.connection = connection
        self.schema = schema
        self._texts = _texts.setdefault(schema, {})

    def _text(self, statement: str) -> str:
        text = self._texts.get(statement)
        if text is None:
            text = self._texts[statement] = statement.replace("asyncsched.", f'"{self.schema}".')
        return text

    async def rows(self, statement: str, *values: Any) -> list[Any]:
        """All rows of the answer, each as a record."""
        found: list[Any] = await self.connection.fetch(self._text(statement), *values)
        return found

    async def row(self, statement: str, *values: Any) -> Any | None:
        """The first row of the answer; ``None`` if there is none."""
        return await self.connection.fetchrow(self._text(statement), *values)

    async def value(self, statement: str, *values: Any) -> Any:
        """The first column of the first row of the answer; ``None`` if there is none."""
        return await self.connection.fetchval(self._text(statement), *values)

    async def execute(self, statement: str, *values: Any) -> int:
        """How many rows the statement has changed."""
        status: str = await self.connection.execute(self._text(statement), *values)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def many(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Carry out the statement for each of these."""
        given = list(rows)
        if given:
            await self.connection.executemany(self._text(statement), given)


_texts: dict[str, dict[str, str]] = {}


async def connect(address: Address, name: str, statement_s: float = STATEMENT_S) -> Any:
    """A connection of its own.

    name: what the server shows of it.
    statement_s: so long it waits for an answer.

    Raises:
        StoreError: it cannot be made; the message says what to do.
    """
    try:
        limit_s: Any = min(CONNECT_S, statement_s)  # which is said to be whole, and need not be
        return await asyncpg.connect(
            address.dsn, timeout=limit_s, command_timeout=statement_s, **session(address, name)
        )
    except (*TROUBLES, ValueError, asyncpg.ClientConfigurationError) as error:
        raise store_error(address, error) from error


async def make_pool(address: Address, made: Callable[[Any], Awaitable[None]]) -> Any:
    """Some connections to be shared, of which one is there.

    made: called with each that was made, before anything is asked on it.

    Raises:
        StoreError: that one cannot be made; the message says what to do.
    """
    pool = asyncpg.create_pool(
        address.dsn,
        min_size=0,  # else the pool tries by itself while the server is away, and logs each time that it failed
        max_size=address.connections,
        timeout=CONNECT_S,
        command_timeout=STATEMENT_S,
        init=made,
        reset=_nothing,
        **session(address, "store"),
    )
    try:
        return await pool
    except (*TROUBLES, ValueError, asyncpg.ClientConfigurationError) as error:
        with suppress(Exception):
            pool.terminate()
        raise store_error(address, error) from error


def work_pool(address: Address) -> Any:
    """Connections for what users do, made when they are needed, with the settings of the user and of the database."""
    settings: dict[str, Any] = {"server_settings": {"application_name": "asyncsched work"}} if address.notify else {}
    return asyncpg.create_pool(
        address.dsn,
        min_size=0,
        max_size=address.connections,
        timeout=CONNECT_S,
        statement_cache_size=100 if address.notify else 0,
        **settings,
    )


async def _nothing(_connection: Any) -> None:
    """What is done to a connection that goes back to the others: nothing here leaves anything behind."""


def session(address: Address, name: str) -> dict[str, Any]:
    """How sessions are: behind a transaction pooler each statement may come to another one."""
    if not address.notify:
        return {"statement_cache_size": 0}
    return {
        "statement_cache_size": 500,
        "max_cached_statement_lifetime": 0,
        "server_settings": {"application_name": f"asyncsched {name}", **_SETTINGS},
    }


async def check_server(database: Database, address: Address) -> None:
    """Nothing, if the server is one that the store can use.

    Raises:
        StoreError: it is too old, or keeps texts in another encoding.
    """
    version, encoding = await database.row(  # type: ignore[misc]
        "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_encoding')"
    )
    if (wrong := unfit(version, encoding)) is not None:
        raise StoreError(f"{address}: {wrong}")


def unfit(version: int, encoding: str) -> str | None:
    """Why a server of this major version cannot be used, or a database of this encoding; ``None``: it can."""
    if version < LEAST_VERSION:
        return f"the server is PostgreSQL {version}; the store needs {LEAST_VERSION} or later: upgrade it"
    if encoding != "UTF8":
        cure = "make a database WITH ENCODING 'UTF8' TEMPLATE template0"
        return f"the database keeps texts as {encoding}, which lacks most letters: {cure}"
    return None


def sessionless(address: Address, error: StoreError) -> Address | None:
    """The address without what a session keeps, if it was refused that: so does a transaction pooler; else ``None``."""
    cause = error.__cause__
    if not (address.notify and isinstance(cause, asyncpg.ProtocolViolationError) and "startup param" in str(cause)):
        return None
    log.warning(
        "%s: a transaction pooler stands before the server (%s): nodes do without LISTEN and without settings of the "
        "session, and look once a second what others have done; ?notify=off says that it is meant so",
        *(address, cause),
    )
    return replace(address, notify=False)


def refused(error: BaseException) -> bool:
    """Whether the database refused what was to be written, rather than failed."""
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return isinstance(
        cause, asyncpg.DataError | asyncpg.IntegrityConstraintViolationError | asyncpg.exceptions.DataError
    ) or (isinstance(cause, asyncpg.InterfaceError) and isinstance(cause, ValueError))


def store_error(address: Address, error: BaseException) -> StoreError:
    """What went wrong at the server, and what to do."""
    if isinstance(error, StoreError):
        return error
    state = getattr(error, "sqlstate", None) or ""
    cure = next((cure for code, cure in _CURES.items() if state.startswith(code)), None)
    said = str(error) or type(error).__name__
    if cure is None and not state:
        if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
            cure = (
                "none of the servers in the URL is what target_session_attrs asks for: name all of them, and look "
                "whether one is the primary; later calls work again once it is"
            )
        elif isinstance(error, ssl.SSLCertVerificationError):
            cure = (
                "the server's certificate is not one that this URL trusts: let it bear the name of the host in the URL "
                "and name who has signed it by ?sslrootcert=/path/to/ca.pem"
            )
        elif isinstance(error, socket.gaierror):
            cure = "check the name of the host in the URL"
        elif isinstance(error, ValueError | asyncpg.ClientConfigurationError) and not isinstance(error, OSError):
            cure = "mend the URL: 'postgresql://user:password@host:5432/database'"
        else:
            cure = "look whether the server runs there and can be reached; later calls work again once it does"
    return StoreError(f"{address}: {cure} ({said})" if cure else f"{address}: {said}")

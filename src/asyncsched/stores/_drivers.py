"""Connections of others: which driver one is of, by the name of its module, and the driver's own behind a wrapper."""

from __future__ import annotations

import inspect
from typing import Any

from asyncsched.errors import MisuseError

_KNOWN = frozenset(("sqlite3", "aiosqlite", "asyncpg", "psycopg", "sqlalchemy"))


def driver_of(connection: object) -> str:
    """The package that the connection comes from, such as ``"sqlite3"``, ``"aiosqlite"`` or ``"sqlalchemy"``.

    A class of the user's own that is derived from a driver's counts as the driver's.
    """
    packages = [kind.__module__.partition(".")[0] for kind in type(connection).__mro__]
    return next((package for package in packages if package in _KNOWN), packages[0])


async def driver_connection(connection: Any) -> object:
    """The driver's own connection; SQLAlchemy's (a connection or a session, plain or asyncio) has it inside.

    What SQLAlchemy is to commit or to roll back has begun then.

    Raises:
        MisuseError: it is something else of SQLAlchemy's, or SQLAlchemy does not let it be used as it stands.
    """
    if driver_of(connection) != "sqlalchemy":
        return connection
    from sqlalchemy.exc import InvalidRequestError  # it is there: the connection is one of its objects

    try:
        return await _inside(connection)
    except InvalidRequestError as error:
        cure = "give one that is open and may begin a transaction"
        raise MisuseError(
            f"connection={type(connection).__name__} cannot be used as it stands ({error}): {cure}"
        ) from error


async def _inside(given: Any) -> object:
    connection = await _settled(given.connection()) if hasattr(given, "get_bind") else given  # a session has one
    if not hasattr(connection, "in_transaction"):
        cure = "give a Connection, a Session, an AsyncConnection or an AsyncSession"
        raise MisuseError(f"connection={type(given).__name__} of SQLAlchemy is no connection: {cure}")
    if not connection.in_transaction():
        await _settled(connection.begin())
    asks = getattr(connection, "get_raw_connection", None)
    raw = connection.connection if asks is None else await asks()
    own = raw.driver_connection
    if driver_of(own) == "asyncpg" and not own.is_in_transaction():  # SQLAlchemy begins there with its first statement
        await _settled(connection.exec_driver_sql("SELECT 1"))
    return own


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value

"""Rows that nobody needs any more and that the server cannot clear away, and who keeps it from that.

A claim passes over what it has left behind until it is cleared away (VACUUM). That takes a server a minute or so,
unless somebody might still look at it: a transaction that was begun before, and left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from asyncsched.stores._durable.rows import DELAYED
from asyncsched.stores._postgres.connection import TROUBLES, Database

LOOK_S = 20
"""So often it is looked. What was there at two looks is no accident."""
PILE = 50_000
"""So many rows make a claim take 10 ms longer."""
# The server begins to clear away each minute: what no look has seen it do is not done.
_IN_VAIN = 15
_NAMED = 3
# So long what is submitted may take to be committed before it counts as coming late.
_LATE_US = 2_000_000
# All that is ready has an instant at or after the least of those that are first of their queue and priority.
_LOWEST = (
    "WITH RECURSIVE h AS ((SELECT queue, priority, due_at FROM asyncsched.runs WHERE state = 0 "
    "ORDER BY queue, priority DESC, due_at, seq LIMIT 1) UNION ALL SELECT n.* FROM h CROSS JOIN LATERAL ("
    "(SELECT r.queue, r.priority, r.due_at FROM asyncsched.runs r WHERE r.state = 0 AND r.queue = h.queue "
    "AND r.priority < h.priority ORDER BY r.queue, r.priority DESC, r.due_at, r.seq LIMIT 1) UNION ALL "
    "(SELECT r.queue, r.priority, r.due_at FROM asyncsched.runs r WHERE r.state = 0 AND r.queue > h.queue "
    "ORDER BY r.queue, r.priority DESC, r.due_at, r.seq LIMIT 1) LIMIT 1) AS n) "
    "SELECT least((SELECT min(due_at) FROM h), (SELECT min(due_at) FROM asyncsched.runs WHERE state = 2), "
    f"asyncsched.now_us() - {_LATE_US})"
)
_DENIED = "42501"

_ROWS = (
    "SELECT pg_stat_get_dead_tuples(r), pg_stat_get_vacuum_count(r) + pg_stat_get_autovacuum_count(r) "
    "FROM (SELECT 'asyncsched.runs'::regclass AS r) AS t"
)
# Of others' sessions everybody may see what they look at, their names and users, but not since when, nor of which kind
# they are: those that clear away themselves have no user, standbys no database. What holds on to the most is first.
_HOLDERS = """
SELECT who, coalesce(since, ''), cure, xid::text FROM (
  SELECT format('process %s (%s, user %s)', pid, coalesce(nullif(application_name, ''), 'without a name'),
      coalesce(usename, '?')) AS who, to_char(xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"') AS since,
    format('end its transaction, or: SELECT pg_terminate_backend(%s)', pid) AS cure,
    CASE WHEN backend_xmin IS NULL OR age(backend_xid) >= age(backend_xmin) THEN backend_xid ELSE backend_xmin END
      AS xid
  FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND leader_pid IS NULL AND usename IS NOT NULL
    AND datname = current_database()
  UNION ALL
  SELECT format('the standby of process %s (%s, user %s)', pid, application_name, usename), NULL,
    'end the long query there, or turn hot_standby_feedback off there', backend_xmin
  FROM pg_stat_activity WHERE datname IS NULL AND usename IS NOT NULL
  UNION ALL
  SELECT format('the prepared transaction %L of user %s', gid, owner),
    to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'),
    format('COMMIT PREPARED or ROLLBACK PREPARED %L', gid), transaction
  FROM pg_prepared_xacts WHERE database = current_database()
  UNION ALL
  SELECT format('the replication slot %L', slot_name), NULL,
    format('let its standby come back, or: SELECT pg_drop_replication_slot(%L)', slot_name), xmin
  FROM pg_replication_slots
) AS h WHERE xid IS NOT NULL ORDER BY age(xid) DESC LIMIT 20"""


class Holder(NamedTuple):
    """Somebody who may still look at what others do not need any more.

    since: when that began, in words; empty where it may not be known. xid: the oldest transaction that is held on to.
    """

    who: str
    since: str
    cure: str
    xid: str

    def __str__(self) -> str:
        return f"{self.who}{', since ' if self.since else ''}{self.since}: {self.cure}"


class Look(NamedTuple):
    """What was seen at a time.

    rows: how many rows are to be cleared away. vacuums: how often the server has tried that.
    holders: who may keep it from that, the worst first.
    """

    rows: int
    vacuums: int
    holders: Sequence[Holder]


async def look(db: Database) -> Look:
    """How many rows are to be cleared away, and, if there are many, who holds on to any."""
    rows, vacuums = await db.row(_ROWS)  # type: ignore[misc]
    if rows < PILE:
        return Look(rows, vacuums, ())
    try:
        holders = [Holder(*one) for one in await db.rows(_HOLDERS)]
    except TROUBLES as error:
        if getattr(error, "sqlstate", None) != _DENIED:
            raise
        holders = []  # whoever runs the server has hidden that
    return Look(rows, vacuums, holders)


async def lowest(db: Database) -> int:
    """An instant before which nothing is due that waits for its instant, or to be claimed.

    To find it all is passed over that was left behind, so it is asked for seldom. What comes later with an instant
    before it, as what is handed back does, is seen when it is asked for again.
    """
    found: int = await db.value(_LOWEST)
    return found


@cache
def bounded(statement: str, parameter: int) -> str:
    """The same about what is due from then on: its index then need not be passed over from its beginning.

    A statement of its own: to ask for what is due since ever would cost those who need no bound.
    """
    for waits in ("state = 0", f"state = {DELAYED}"):
        for alias in ("", "r.", "o."):
            told = f"WHERE {alias}{waits} "
            statement = statement.replace(told, f"{told}AND {alias}due_at >= ${parameter}::bigint ")
            told = f"WHERE {alias}{waits})"
            statement = statement.replace(told, f"{told[:-1]} AND {alias}due_at >= ${parameter}::bigint)")
    return statement


class Pile:
    """Tells from one look after another what is to be said."""

    def __init__(self) -> None:
        self._held: set[tuple[str, str]] = set()
        """Who held on to what at the last look."""
        self.held = False
        """Whether somebody keeps the server from clearing away many."""
        self._told = False
        self._vacuums = -1
        self._in_vain = 0
        """How many looks have seen many rows, and that the server did nothing about them."""

    def judge(self, seen: Look) -> tuple[int, Sequence[str]] | None:
        """The rows, and who keeps them from being cleared away, if that has begun; none if it is over."""
        stay = [one for one in seen.holders if (one.who, one.xid) in self._held]
        self._held = {(one.who, one.xid) for one in seen.holders}
        many = seen.rows >= PILE
        self.held = many and bool(stay)
        cleared = seen.vacuums != self._vacuums
        self._vacuums, self._in_vain = seen.vacuums, 0 if cleared or not many else self._in_vain + 1
        if not self._told and many and (stay or self._in_vain >= _IN_VAIN):
            self._told = True
            return seen.rows, [str(one) for one in stay[:_NAMED]]
        if self._told and not (many and (stay or not cleared)):
            self._told = False
            return 0, ()
        return None

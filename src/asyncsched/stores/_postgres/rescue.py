"""Nodes come and go, and the runs of those that are gone are handed back, within a transaction."""

from __future__ import annotations

from collections.abc import Sequence

from asyncsched import crash_points
from asyncsched.run import RunStatus
from asyncsched.stores._durable.lost import let_go
from asyncsched.stores._durable.rows import COLUMNS, PARKED, Row, terms_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.places import pass_on
from asyncsched.stores._postgres.plain import WALL_US
from asyncsched.stores._postgres.roster import RUNNING, edit, strike
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import Unit, locks_of

_AT_ONCE, _RUNS_AT_ONCE = 20, 200
# While the server was down nobody could renew: from its start on each node has the time of a lease to do so.
DEAD = (
    "SELECT id FROM asyncsched.nodes WHERE greatest(expires_at, "
    f"(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint + $1) <= {WALL_US} AND id <> $2"
)
"""The nodes but for $2 whose leases, of length $1, are over."""
_DEAD = f"{DEAD} ORDER BY id LIMIT $3 FOR UPDATE SKIP LOCKED"


async def enter(db: Transaction, node_id: str, name: str, lease_us: int) -> None:
    """Let the node be one of those that live at the store."""
    await db.execute(
        "INSERT INTO asyncsched.nodes (id, name, started_at, expires_at, lease) "
        f"VALUES ($1, $2, {WALL_US}, {WALL_US} + $3, $3)",
        *(node_id, name, lease_us),
    )


async def renew(db: Database, node_id: str, lease_us: int) -> bool:
    """Renew the lease of the node; whether it is one. One that is late, and nobody has taken for dead, is."""
    return (
        await db.execute(f"UPDATE asyncsched.nodes SET expires_at = {WALL_US} + $2 WHERE id = $1", *(node_id, lease_us))
        > 0
    )


@crash_points.unit("leave")
async def leave(db: Transaction, node_id: str) -> None:
    """Let it be none of them; what it leaves RUNNING is handed back."""
    await db.change("SELECT 1 FROM asyncsched.nodes WHERE id = $1 FOR UPDATE", node_id)
    await _let_go(db, [node_id], lost=False)
    await db.execute("DELETE FROM asyncsched.nodes WHERE id = $1", node_id)
    await strike(db)


@crash_points.unit("rescue", lambda done: done[0])
async def rescue(db: Transaction, node_id: str, lease_us: int) -> tuple[int, bool]:
    """Hand back some of the runs of nodes whose leases are over; how many nodes are gone, and whether there is more."""
    dead = [other for (other,) in await db.change(_DEAD, lease_us, node_id, _AT_ONCE)]
    if not dead or await _let_go(db, dead, lost=True, most=_RUNS_AT_ONCE) == _RUNS_AT_ONCE:
        return 0, bool(dead)
    await db.execute("DELETE FROM asyncsched.nodes WHERE id = ANY($1::text[])", dead)
    await strike(db)
    return len(dead), len(dead) == _AT_ONCE


async def take_strays(db: Transaction) -> None:
    """Hand back the runs whose owners are no nodes: somebody has taken these away by hand."""
    strays = await db.rows(
        f"SELECT DISTINCT owner FROM asyncsched.runs WHERE {RUNNING} AND owner NOT IN (SELECT id FROM asyncsched.nodes)"
    )
    if strays:
        await _let_go(db, [owner for (owner,) in strays], lost=True)
        await strike(db)


async def release(db: Transaction, node_id: str, here: Sequence[str]) -> None:
    """Hand back what this node has claimed without getting to know of it."""
    await _let_go(db, [node_id], lost=False, but=here)


async def park(db: Transaction, unreadable: Sequence[tuple[Row, str]]) -> None:
    """Let nobody claim runs that were claimed and cannot be read; each says why."""
    keys = await db.rows(
        "SELECT DISTINCT limit_key FROM asyncsched.runs WHERE id = ANY($1::text[]) AND limit_key IS NOT NULL",
        [row.id for row, _why in unreadable],
    )
    await db.many(
        f"UPDATE asyncsched.runs SET state = {PARKED}, status = 'PENDING', reason = $1, token = token + 1, "
        "node = NULL, owner = NULL, attempt = attempt - 1, lapses_at = NULL, holds = 0 WHERE id = $2 AND token = $3",
        [(why[:500], row.id, row.token) for row, why in unreadable],
    )
    await pass_on(db, [key for (key,) in keys])  # those that it held up
    await edit(db)  # so that nodes look which may be able to read them


async def _let_go(
    db: Transaction, owners: Sequence[str], *, lost: bool, but: Sequence[str] = (), most: int | None = None
) -> int:
    """Hand back what runs at these nodes; end what was told to stop, and what has lost too many nodes. How many."""
    chosen = await db.rows(
        f"SELECT id, terms FROM asyncsched.runs WHERE {RUNNING} AND owner = ANY($1::text[]) AND id <> ALL($2::text[]) "
        "ORDER BY task LIMIT $3",  # by what the index has, not by id: all would be looked at
        *(list(owners), list(but), most),
    )
    if not chosen:
        return 0
    await db.lock({lock for _run_id, text in chosen for lock in locks_of(terms_of(text))})
    found = await db.change(
        f"SELECT lost, stop, {COLUMNS} FROM asyncsched.runs WHERE id = ANY($1::text[]) AND state = 1 "
        "AND owner = ANY($2::text[]) ORDER BY id FOR UPDATE",
        *([run_id for run_id, _terms in chosen], list(owners)),
    )
    if lost:
        ids = [row["id"] for row in found]
        await db.execute("UPDATE asyncsched.runs SET lost = lost + 1 WHERE id = ANY($1::text[])", ids)
    unit = Unit(db)
    for times, stop, *columns in found:
        row = Row._make(columns)
        after = let_go(row, db.now_us, stop, times + 1 if lost else None)
        if after.status == RunStatus.PENDING.value:
            await unit.admit(after)
        else:
            await unit.end(after, "= 1")
    await unit.close()
    return len(chosen)

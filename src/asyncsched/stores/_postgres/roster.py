"""Which tasks are kept, and which of them any node declares, within a transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from asyncsched.stored import PARKED as REASON
from asyncsched.stored import Unserved, unserved_reason
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.rows import COLUMNS, DELAYED, PARKED, QUEUED, READY, Row, terms_of
from asyncsched.stores._durable.tasks import digest_of
from asyncsched.stores._durable.unread import AT_ONCE
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.transaction import Transaction
from asyncsched.stores._postgres.unit import Unit, locks_of

# So many lists of tasks that no node declares any more are remembered, for when that ended.
_REMEMBERED = 1_000
_SERVED = (
    "SELECT unnest(r.tasks) FROM asyncsched.serving s JOIN asyncsched.nodes n ON n.id = s.node "
    "JOIN asyncsched.rosters r ON r.digest = s.digest"
)
# As many steps in the index as there are tasks.
_LIVE = (
    "WITH RECURSIVE t(id) AS (SELECT min(task) FROM asyncsched.runs UNION ALL "
    "SELECT (SELECT min(r.task) FROM asyncsched.runs r WHERE r.task > t.id) FROM t WHERE t.id IS NOT NULL) "
    "SELECT id FROM t WHERE id IS NOT NULL"
)
RUNNING = f"task = ANY(ARRAY({_LIVE})) AND state = 1"
"""Which runs are under way: an index of its own would be written at each claim, and what runs is asked for seldom."""


async def edit(db: Transaction, count: int = 1) -> int:
    """The last of the next versions of whatever task: one that is dropped never has a version again that it had.

    Those of others come later, and are seen later: who looks for what is newer misses none.
    """
    (found,) = await db.change(
        "INSERT INTO asyncsched.counts (name, value) VALUES ('edits', $1) ON CONFLICT (name) "
        "DO UPDATE SET value = counts.value + $1 RETURNING value",
        count,
    )
    return int(found[0])


async def enrol(db: Transaction, node_id: str, tasks: Sequence[str]) -> str:
    """Let the node declare these tasks too; the digest of their list."""
    digest = digest_of(tasks)
    await db.execute(
        "INSERT INTO asyncsched.rosters (digest, tasks) VALUES ($1, $2) ON CONFLICT DO NOTHING", digest, list(tasks)
    )
    await enrol_again(db, node_id, [digest])
    return digest


async def enrol_again(db: Transaction, node_id: str, digests: Iterable[str]) -> None:
    """Let the node declare the tasks of these lists."""
    new = await db.execute(
        "INSERT INTO asyncsched.serving (node, digest) SELECT $1, d FROM unnest($2::text[]) AS d "
        "ON CONFLICT DO NOTHING",
        *(node_id, sorted(digests)),
    )
    if new:
        await edit(db)


async def forget(db: Transaction, task: str) -> None:
    """Keep no list of a task alone: programs that add and remove tasks all day would have ever more of them."""
    alone = digest_of([task])
    await db.execute("DELETE FROM asyncsched.serving WHERE digest = $1", alone)
    await db.execute("DELETE FROM asyncsched.rosters WHERE digest = $1", alone)


async def strike(db: Transaction) -> None:
    """Let what nodes declared be declared no more that are none any more."""
    gone = "SELECT digest FROM asyncsched.serving WHERE node NOT IN (SELECT id FROM asyncsched.nodes)"
    struck = await db.execute(f"UPDATE asyncsched.rosters SET until_at = $1 WHERE digest IN ({gone})", db.now_us)
    if not struck:
        return
    await db.execute("DELETE FROM asyncsched.serving WHERE node NOT IN (SELECT id FROM asyncsched.nodes)")
    await db.execute(
        "DELETE FROM asyncsched.rosters WHERE digest NOT IN (SELECT digest FROM asyncsched.serving) AND digest NOT IN "
        "(SELECT digest FROM asyncsched.rosters ORDER BY until_at DESC NULLS LAST LIMIT $1)",
        _REMEMBERED,
    )
    await edit(db)


async def unserved(db: Database, served: Callable[[str], bool]) -> dict[str, int]:
    """The tasks with waiting runs that no node declares, and how many wait; ``served`` tells of this node's own."""
    asked = [task for task in await _tasks_of_runs(db) if not served(task)]
    if not asked:
        return {}
    counted = await db.rows(
        "SELECT r.task, count(*) FROM asyncsched.runs r WHERE r.task = ANY($1::text[]) "
        f"AND r.state IN ({READY}, {DELAYED}, {QUEUED}, {PARKED}) AND r.task NOT IN ({_SERVED}) GROUP BY r.task",
        asked,
    )
    return dict(counted)


async def _tasks_of_runs(db: Database) -> list[str]:
    """The tasks of the live runs."""
    return [task for (task,) in await db.rows(_LIVE)]


async def since(db: Database, tasks: Collection[str]) -> dict[str, int]:
    """When the last node went that declared these tasks, where it is remembered."""
    found = await db.rows(
        "SELECT t, max(r.until_at) FROM asyncsched.rosters r, unnest(r.tasks) AS t "
        "WHERE r.until_at IS NOT NULL AND t = ANY($1::text[]) GROUP BY t",
        list(tasks),
    )
    return dict(found)


async def park_unserved(db: Transaction, served: Callable[[str], bool]) -> list[Unserved]:
    """Let nobody claim the waiting runs of tasks that no node declares; these tasks."""
    found = await unserved(db, served)
    for task in sorted(found):
        await db.execute(
            f"UPDATE asyncsched.runs SET state = {PARKED}, reason = $1, token = token + 1 "
            f"WHERE id = ANY(ARRAY(SELECT id FROM asyncsched.runs WHERE task = $2 "
            f"AND state IN ({READY}, {DELAYED}, {QUEUED}) "
            "ORDER BY id FOR UPDATE))",
            *(unserved_reason(task), task),
        )
    went = await since(db, found)
    return [Unserved(task, count, went.get(task)) for task, count in sorted(found.items())]


async def unpark(db: Transaction, tasks: Sequence[str] | None) -> None:
    """Let parked runs of these tasks wait again: they are declared now. With ``None`` those that could not be read."""
    if tasks is None:
        await _unpark(db, "reason LIKE $1 || '%'", PARKED_AS)
    else:
        await _unpark(db, "task = ANY($1::text[])", list(tasks))


async def unread(db: Database) -> list[Row]:
    """Runs that nodes have put aside as they could not read them."""
    found = await db.rows(
        f"SELECT {COLUMNS} FROM asyncsched.runs WHERE state = {PARKED} AND reason LIKE $1 || '%' LIMIT {AT_ONCE}",
        PARKED_AS,
    )
    return list(map(Row._make, found))


async def unpark_unread(db: Transaction, run_ids: Sequence[str]) -> None:
    """Let these of them wait again."""
    await _unpark(db, "id = ANY($1::text[])", list(run_ids))


async def _unpark(db: Transaction, which: str, asked: str | list[str]) -> None:
    where = f"FROM asyncsched.runs WHERE state = {PARKED} AND {which}"
    terms = await db.rows(f"SELECT DISTINCT terms {where}", asked)
    if not terms:
        return
    await db.lock({lock for (text,) in terms for lock in locks_of(terms_of(text))})
    unit = Unit(db)
    for row in map(Row._make, await db.change(f"SELECT {COLUMNS} {where} ORDER BY id FOR UPDATE", asked)):
        await unit.admit(row._replace(token=row.token + 1, reason=None))
    await unit.close()


async def listed(db: Database, tasks: Sequence[str] | None, columns: str) -> list[Any]:
    """These tasks or all: their columns, whether any node declares them, and how many runs they have.

    The runs are counted as waiting, running, and, among those that wait, parked.
    """
    only = "($1::text[] IS NULL OR {} = ANY($1::text[]))"
    return await db.rows(
        f"WITH served AS MATERIALIZED ({_SERVED}), live AS (SELECT task, "
        "count(*) FILTER (WHERE status = 'PENDING') AS waiting, count(*) FILTER (WHERE status = 'RUNNING') AS running, "
        f"count(*) FILTER (WHERE state = {PARKED} AND reason LIKE '{REASON}%') AS parked "
        f"FROM asyncsched.runs WHERE {only.format('task')} GROUP BY task) "
        f"SELECT {columns}, id IN (SELECT * FROM served), coalesce(waiting, 0), coalesce(running, 0), "
        f"coalesce(parked, 0) FROM asyncsched.tasks LEFT JOIN live ON live.task = id WHERE {only.format('id')} "
        "ORDER BY id",
        None if tasks is None else list(tasks),
    )

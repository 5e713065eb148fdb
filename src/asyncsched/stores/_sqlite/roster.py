"""Which tasks are kept, and which of them any node declares, within a transaction.

What a node declares is written as lists of some hundreds of tasks, each once for all nodes that declare the same: a
node with 100,000 tasks comes and goes with a hundred rows.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from asyncsched.stored import PARKED as REASON
from asyncsched.stored import Unserved, unserved_reason
from asyncsched.stores._durable.marred import PARKED_AS
from asyncsched.stores._durable.rows import COLUMNS, DELAYED, PARKED, QUEUED, READY, Row
from asyncsched.stores._durable.tasks import digest_of
from asyncsched.stores._durable.unread import AT_ONCE
from asyncsched.stores._sqlite.screening import SOUND
from asyncsched.stores._sqlite.unit import Unit

# So many lists of tasks that no node declares any more are remembered, for when that ended.
_REMEMBERED = 1_000
_WAITING = f"state IN ({READY}, {DELAYED}, {QUEUED}, {PARKED})"
# What cannot be read lists nothing.
_LISTED = "json_each(CASE WHEN json_valid(r.tasks) THEN r.tasks ELSE '[]' END)"
_SERVED = (
    "SELECT value FROM asyncsched_serving s JOIN asyncsched_nodes n ON n.id = s.node "
    f"JOIN asyncsched_rosters r ON r.digest = s.digest JOIN {_LISTED}"
)


def edit(db: sqlite3.Connection) -> int:
    """The next version of whatever task: one that is dropped and comes back never has a version that it had before."""
    (value,) = db.execute(
        "INSERT INTO asyncsched_counts (name, value) VALUES ('edits', 1) "
        "ON CONFLICT (name) DO UPDATE SET value = value + 1 RETURNING value"
    ).fetchall()[0]
    return int(value)


def last_edit(db: sqlite3.Connection) -> int:
    """The version that was given last."""
    found = db.execute("SELECT CAST(value AS INTEGER) FROM asyncsched_counts WHERE name = 'edits'").fetchone()
    return 0 if found is None else int(found[0])


def edited_since(db: sqlite3.Connection, version: int) -> list[str]:
    """The tasks that have a later version."""
    return [task for (task,) in db.execute("SELECT id FROM asyncsched_tasks WHERE version > ?", (version,))]


def enrol(db: sqlite3.Connection, node_id: str, tasks: Sequence[str]) -> str:
    """Let the node declare these tasks too; the digest of their list."""
    digest = digest_of(tasks)
    db.execute("INSERT OR IGNORE INTO asyncsched_rosters (digest, tasks) VALUES (?, ?)", (digest, json.dumps(tasks)))
    enrol_again(db, node_id, [digest])
    return digest


def forget(db: sqlite3.Connection, task: str) -> None:
    """Keep no list of a task alone: programs that add and remove tasks all day would have ever more of them."""
    alone = (digest_of([task]),)
    db.execute("DELETE FROM asyncsched_serving WHERE digest = ?", alone)
    db.execute("DELETE FROM asyncsched_rosters WHERE digest = ?", alone)


def enrol_again(db: sqlite3.Connection, node_id: str, digests: Iterable[str]) -> None:
    """Let the node declare the tasks of these lists."""
    before = db.total_changes
    db.executemany(
        "INSERT OR IGNORE INTO asyncsched_serving (node, digest) VALUES (?, ?)",
        [(node_id, digest) for digest in digests],
    )
    if db.total_changes > before:
        edit(db)


def strike(db: sqlite3.Connection, now_us: int) -> None:
    """Let what nodes declared be declared no more that are none any more."""
    gone = "SELECT digest FROM asyncsched_serving WHERE node NOT IN (SELECT id FROM asyncsched_nodes)"
    if not db.execute(f"UPDATE asyncsched_rosters SET until_at = ? WHERE digest IN ({gone})", (now_us,)).rowcount:
        return
    db.execute("DELETE FROM asyncsched_serving WHERE node NOT IN (SELECT id FROM asyncsched_nodes)")
    db.execute(
        "DELETE FROM asyncsched_rosters WHERE digest NOT IN (SELECT digest FROM asyncsched_serving) AND digest NOT IN "
        "(SELECT digest FROM asyncsched_rosters ORDER BY until_at DESC LIMIT ?)",
        (_REMEMBERED,),
    )
    edit(db)


def unserved(db: sqlite3.Connection, served: Callable[[str], bool]) -> dict[str, int]:
    """The tasks with waiting runs that no node declares, and how many wait; ``served`` tells of this node's own."""
    asked = [task for task in _tasks_of_runs(db) if not served(task)]
    if not asked:
        return {}
    others = db.execute(f"SELECT a.value FROM json_each(?) a WHERE a.value IN ({_SERVED})", (json.dumps(asked),))
    known = {task for (task,) in others}
    counted = {task: _waiting(db, task) for task in asked if task not in known}
    return {task: count for task, count in counted.items() if count}


def _tasks_of_runs(db: sqlite3.Connection) -> list[str]:
    """The tasks of the live runs, found by as many steps in the index as there are tasks."""
    return [
        task
        for (task,) in db.execute(
            "WITH RECURSIVE t(id) AS (SELECT min(task) FROM asyncsched_runs UNION ALL "
            "SELECT (SELECT min(task) FROM asyncsched_runs WHERE task > t.id) FROM t WHERE t.id IS NOT NULL) "
            "SELECT id FROM t WHERE id IS NOT NULL"
        )
    ]


def _waiting(db: sqlite3.Connection, task: str) -> int:
    (count,) = db.execute(f"SELECT count(*) FROM asyncsched_runs WHERE task = ? AND {_WAITING}", (task,)).fetchone()
    return int(count)


def since(db: sqlite3.Connection, tasks: Collection[str]) -> dict[str, int]:
    """When the last node went that declared these tasks, where it is remembered."""
    found = db.execute(
        f"SELECT t.value, max(r.until_at) FROM asyncsched_rosters r JOIN {_LISTED} t "
        "WHERE r.until_at IS NOT NULL AND t.value IN (SELECT value FROM json_each(?)) GROUP BY t.value",
        (json.dumps(list(tasks)),),
    )
    return dict(found.fetchall())


def park_unserved(db: sqlite3.Connection, served: Callable[[str], bool]) -> list[Unserved]:
    """Let nobody claim the waiting runs of tasks that no node declares; these tasks."""
    found = unserved(db, served)
    for task in found:
        db.execute(
            f"UPDATE asyncsched_runs SET state = {PARKED}, reason = ?, token = token + 1 "
            f"WHERE task = ? AND state IN ({READY}, {DELAYED}, {QUEUED})",
            (unserved_reason(task), task),
        )
    went = since(db, found)
    return [Unserved(task, count, went.get(task)) for task, count in sorted(found.items())]


def unpark(db: sqlite3.Connection, now_us: int, tasks: Sequence[str] | None) -> None:
    """Let parked runs of these tasks wait again: they are declared now. With ``None`` those that could not be read."""
    if tasks is None:
        _unpark(db, now_us, "reason LIKE ? || '%'", PARKED_AS)
    else:
        _unpark(db, now_us, "task IN (SELECT value FROM json_each(?))", json.dumps(tasks))


def unread(db: sqlite3.Connection) -> list[Row]:
    """Runs that nodes have put aside as they could not read them."""
    return _parked(db, f"reason LIKE ? || '%' LIMIT {AT_ONCE}", PARKED_AS)


def unpark_unread(db: sqlite3.Connection, now_us: int, run_ids: Sequence[str]) -> None:
    """Let these of them wait again."""
    _unpark(db, now_us, "id IN (SELECT value FROM json_each(?))", json.dumps(list(run_ids)))


def _parked(db: sqlite3.Connection, which: str, *asked: object) -> list[Row]:
    if db.execute(f"SELECT 1 FROM asyncsched_runs WHERE state = {PARKED} LIMIT 1").fetchone() is None:
        return []
    query = f"SELECT {COLUMNS} FROM asyncsched_runs WHERE state = {PARKED} AND {SOUND} AND {which}"
    return list(map(Row._make, db.execute(query, asked).fetchall()))


def _unpark(db: sqlite3.Connection, now_us: int, which: str, asked: str) -> None:
    unit = Unit(db, now_us)
    for row in _parked(db, which, asked):
        unit.admit(row._replace(token=row.token + 1, reason=None))
    unit.close()


def listed(db: sqlite3.Connection, tasks: Sequence[str] | None, columns: str) -> list[tuple[Any, ...]]:
    """These tasks or all: their columns, whether any node declares them, and how many runs they have.

    The runs are counted as waiting, running, and, among those that wait, parked.
    """
    given = None if tasks is None else json.dumps(tasks)
    only = "" if tasks is None else " WHERE {} IN (SELECT value FROM json_each(?1))"
    return db.execute(
        f"WITH served AS MATERIALIZED ({_SERVED}), live AS (SELECT task, sum(status = 'PENDING') waiting, "
        f"sum(status = 'RUNNING') running, sum(state = {PARKED} AND reason LIKE '{REASON}%') parked "
        f"FROM asyncsched_runs{only.format('task')} GROUP BY task) "
        f"SELECT {columns}, id IN served, coalesce(waiting, 0), coalesce(running, 0), coalesce(parked, 0) "
        f"FROM asyncsched_tasks LEFT JOIN live ON live.task = id{only.format('id')} ORDER BY id",
        () if given is None else (given,),
    ).fetchall()

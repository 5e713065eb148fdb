"""The verbs about the nodes that are there, on SQLite."""

from __future__ import annotations

import sqlite3

from asyncsched.nodes import NodeReport, StoredNode, report_of
from asyncsched.stores._nodes import NodeVerbs
from asyncsched.stores._sqlite.nodes import heard_us
from asyncsched.stores._sqlite.presence import Presence
from asyncsched.stores._sqlite.roster import edit

_KEEP = (
    "INSERT INTO asyncsched_reports (node, said) SELECT id, ? FROM asyncsched_nodes WHERE id = ? "
    "ON CONFLICT (node) DO UPDATE SET said = excluded.said"
)
_GONE = "DELETE FROM asyncsched_reports WHERE node NOT IN (SELECT id FROM asyncsched_nodes)"
_ASK = (
    "INSERT INTO asyncsched_reports (node, asked) SELECT id, 1 FROM asyncsched_nodes WHERE id = ? "
    "ON CONFLICT (node) DO UPDATE SET asked = 1"
)
_NODES = (
    "SELECT n.id, n.name, n.started_at, r.said, coalesce(r.asked, 0), "
    "(SELECT count(*) FROM asyncsched_runs u WHERE u.owner = n.id AND u.state = 1) "
    "FROM asyncsched_nodes n LEFT JOIN asyncsched_reports r ON r.node = n.id ORDER BY n.started_at, n.id"
)


class NodeDesk(Presence, NodeVerbs):
    """Which nodes there are, at a SQLite file."""

    async def report(self, said: NodeReport | None) -> bool | None:
        node_id = self._id
        if said is None:
            heard: bool | None = await self._read(lambda db: _asked(db, node_id))
            return heard
        text = said.text()

        def work(db: sqlite3.Connection, _now_us: int) -> bool | None:
            db.execute(_KEEP, (text, node_id))
            db.execute(_GONE)
            return _asked(db, node_id)

        asked: bool | None = await self._write(work)
        return asked

    async def nodes(self) -> list[StoredNode]:
        path, now_us = self._path, self._clock.now_us()
        found = await self._read(lambda db: db.execute(_NODES).fetchall())
        return [
            StoredNode(
                id=node_id,
                name=name,
                started_us=started_us,
                heard_us=max(started_us, heard_us(path, node_id, now_us)),
                running=running,
                report=report_of(said),
                asked=bool(asked),
            )
            for node_id, name, started_us, said, asked, running in found
        ]

    async def ask_to_drain(self, node_id: str) -> bool:
        def work(db: sqlite3.Connection, _now_us: int) -> bool:
            found = db.execute(_ASK, (node_id,)).rowcount > 0
            if found:
                edit(db)  # so that it looks
            return found

        there: bool = await self._write(work)
        return there


def _asked(db: sqlite3.Connection, node_id: str) -> bool | None:
    """Whether the node is to drain; ``None`` if nothing is kept of what it has said."""
    found = db.execute(
        "SELECT asked FROM asyncsched_reports WHERE node = ? AND said IS NOT NULL", (node_id,)
    ).fetchone()
    return None if found is None else bool(found[0])

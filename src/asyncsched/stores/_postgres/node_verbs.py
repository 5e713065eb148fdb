"""The verbs about the nodes that are there, on PostgreSQL."""

from __future__ import annotations

from asyncsched.nodes import NodeReport, StoredNode, report_of
from asyncsched.stores._nodes import NodeVerbs
from asyncsched.stores._postgres.presence import Presence
from asyncsched.stores._postgres.roster import RUNNING, edit
from asyncsched.stores._postgres.transaction import Transaction

_SAY = "UPDATE asyncsched.nodes SET said = $2 WHERE id = $1 RETURNING asked"
_HEAR = "SELECT asked FROM asyncsched.nodes WHERE id = $1 AND said IS NOT NULL"
_NODES = (
    "SELECT n.id, n.name, n.started_at, greatest(n.started_at, n.expires_at - n.lease) AS heard_at, n.said, n.asked, "
    "coalesce(u.running, 0) AS running FROM asyncsched.nodes n LEFT JOIN "
    f"(SELECT owner, count(*) AS running FROM asyncsched.runs WHERE {RUNNING} GROUP BY owner) u ON u.owner = n.id "
    "ORDER BY n.started_at, n.id"
)


class NodeDesk(Presence, NodeVerbs):
    """Which nodes there are, at a PostgreSQL store."""

    own_clock = True

    async def report(self, said: NodeReport | None) -> bool | None:
        node_id = self._id
        asked = (node_id,) if said is None else (node_id, said.text())
        found = await self._read(lambda db: db.row(_HEAR if said is None else _SAY, *asked))
        return None if found is None else bool(found[0])

    async def nodes(self) -> list[StoredNode]:
        found = await self._read(lambda db: db.rows(_NODES))
        return [
            StoredNode(
                id=one["id"],
                name=one["name"],
                started_us=one["started_at"],
                heard_us=one["heard_at"],
                running=one["running"],
                report=report_of(one["said"]),
                asked=one["asked"],
            )
            for one in found
        ]

    async def ask_to_drain(self, node_id: str) -> bool:
        async def work(db: Transaction) -> bool:
            if not await db.execute("UPDATE asyncsched.nodes SET asked = true WHERE id = $1", node_id):
                return False
            await edit(db)  # so that it looks
            return True

        found = await self._write(work)
        self._changed()
        return found

"""The verbs about the nodes that are there, on Redis."""

from __future__ import annotations

from asyncsched.nodes import NodeReport, StoredNode, report_of
from asyncsched.stores._nodes import NodeVerbs
from asyncsched.stores._redis.presence import Presence
from asyncsched.stores._redis.wire import Unit


class NodeDesk(Presence, NodeVerbs):
    """Which nodes there are, at a Redis store."""

    own_clock = True

    async def report(self, said: NodeReport | None) -> bool | None:
        node_id = self._id
        if said is not None:
            kept = Unit([("alive", node_id)], [("call", "HSET", "said", node_id, said.text())])
            if (await self._server.carry_out([kept])).answers[0] is None:
                return None
        known, asked = await self._server.ask(("HEXISTS", "said", node_id), ("SISMEMBER", "asked", node_id))
        return bool(asked) if known else None

    async def nodes(self) -> list[StoredNode]:
        link = self._server
        leases, names, came, said, asked = await link.ask(
            *(("ZRANGE", "nodes", 0, -1, "WITHSCORES"), ("HGETALL", "names"), ("HGETALL", "came")),
            *(("HGETALL", "said"), ("SMEMBERS", "asked")),
        )
        expires = {node_id: int(float(at)) for node_id, at in _pairs(leases)}
        running = await link.ask(*(("SCARD", f"o:{node_id}") for node_id in expires))
        known = dict(_pairs(names)), dict(_pairs(came)), dict(_pairs(said))
        found = [
            _node(node_id, expires_us, count, *(one.get(node_id, "") for one in known), asked=node_id in asked)
            for (node_id, expires_us), count in zip(expires.items(), running, strict=True)
        ]
        return sorted(found, key=lambda node: (node.started_us, node.id))

    async def ask_to_drain(self, node_id: str) -> bool:
        (there,) = await self._server.ask(("ZSCORE", "nodes", node_id))
        if there is None:
            return False
        told = [("call", "SADD", "asked", node_id), ("count", "edits")]  # so that it looks
        await self._server.carry_out([Unit([], told)])
        self._changed()
        return True


def _pairs(answer: object) -> list[tuple[str, str]]:
    """What the server answers as names and values, one after the other or already in pairs."""
    if isinstance(answer, dict):
        return list(answer.items())
    assert isinstance(answer, list)
    if answer and not isinstance(answer[0], str):
        return [(name, value) for name, value in answer]
    return list(zip(answer[::2], answer[1::2], strict=True))


def _node(node_id: str, expires_us: int, running: int, name: str, came: str, said: str, *, asked: bool) -> StoredNode:
    started_us, lease_us = map(int, (came or "0:0").split(":"))
    return StoredNode(
        id=node_id,
        name=name,
        started_us=started_us,
        heard_us=max(started_us, expires_us - lease_us),
        running=running,
        report=report_of(said),
        asked=asked,
    )

"""The nodes at the store: ``scheduler.nodes``."""

from __future__ import annotations

import builtins
from collections.abc import Callable

from asyncsched._engine.engine import Engine
from asyncsched.nodes import StoredNode, node_named


class Nodes:
    """The nodes that are at the store of a running scheduler; itself is one of them."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def list(self) -> builtins.list[StoredNode]:
        """The nodes, in the order in which they came.

        One that has died is among them until the others have noticed, which takes no longer than its lease.

        Raises:
            StoreError: the store cannot be asked.
        """
        return await self._engine().store.nodes()

    async def drain(self, node: str) -> StoredNode:
        """Let a node claim no more runs, from the moment when it hears of it, which takes a second; how it stands.

        It finishes those that are under way there, and still fires and submits. ``list`` tells of it as ``draining``,
        and as ``drained`` once it has said that it claims nothing and nothing is under way. There is no way back but
        to start its process again.

        Args:
            node: its id or the beginning of that, or its name where only one has it.

        Raises:
            UnknownNode: there is none; the message tells which there are.
            StoreError: the store cannot be asked.
        """
        engine = self._engine()
        wanted = node_named(await engine.store.nodes(), node).id
        await engine.store.ask_to_drain(wanted)
        engine.presence.stir()  # it may be this one
        engine.turns.call()
        return node_named(await engine.store.nodes(), wanted)

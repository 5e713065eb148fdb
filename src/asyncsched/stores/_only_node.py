"""The one node of a store that is its process's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from asyncsched.nodes import NodeReport, StoredNode
from asyncsched.run import Run, RunStatus
from asyncsched.stores._nodes import NodeVerbs
from asyncsched.stores._waiting import WaitingRoom


class OnlyNode(NodeVerbs):
    """Those verbs of the memory store that tell of nodes: there is one, from ``open`` to ``close``."""

    _node: str
    _now_us: Callable[[], int]
    _live: dict[str, Run[Any]]
    _room: WaitingRoom

    def __init__(self) -> None:
        self._entered_us: int | None = None
        self._said: NodeReport | None = None
        self._asked = False

    def _enter(self) -> None:
        self._entered_us, self._said, self._asked = self._now_us(), None, False

    def _leave(self) -> None:
        self._entered_us = None

    async def report(self, said: NodeReport | None) -> bool | None:
        self._said = said or self._said
        return None if self._said is None else self._asked

    async def nodes(self) -> list[StoredNode]:
        if self._entered_us is None:
            return []
        running = sum(run.status is RunStatus.RUNNING for run in self._live.values())
        return [
            StoredNode(
                id=self._node,
                name=self._node,
                started_us=self._entered_us,
                heard_us=self._now_us(),
                running=running,
                report=self._said,
                asked=self._asked,
            )
        ]

    async def ask_to_drain(self, node_id: str) -> bool:
        found = self._entered_us is not None and node_id == self._node
        self._asked = self._asked or found
        return found

    def clock_set_back(self, by_us: int) -> None:
        self._room.set_back(by_us)

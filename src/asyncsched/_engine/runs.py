"""The runs: ``scheduler.runs``."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from asyncsched._engine.engine import Engine
from asyncsched.errors import UnknownRun
from asyncsched.run import Run, RunStatus
from asyncsched.stores import RunFilter


class Runs:
    """The runs that are waiting or running, and those that have ended, as far as they are kept."""

    def __init__(self, engine: Callable[[], Engine]) -> None:
        self._engine = engine

    async def list(
        self,
        *,
        task: str | None = None,
        status: RunStatus | str | Collection[RunStatus | str] | None = None,
        limit: int = 100,
    ) -> list[Run[Any]]:
        """Up to ``limit`` runs and recorded skips, newest first: of one task, of one status or of several.

        Raises:
            ValueError: there is no such status.
        """
        wanted = None
        if status is not None:
            wanted = {RunStatus(one) for one in ([status] if isinstance(status, str) else status)}
        return await self._engine().store.runs(RunFilter(task=task, status=wanted, limit=limit))

    async def get(self, run_id: str) -> Run[Any]:
        """The run of this id.

        Raises:
            UnknownRun: there is none, or it is no longer kept.
        """
        run = await self._engine().store.run(run_id)
        if run is None:
            raise UnknownRun(f"no run {run_id!r}: ended runs are kept up to their task's history_limit")
        return run

"""Requests that come while one is under way are carried out together, by the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# So many requests are carried out at once.
_MOST = 500


class Joining(Generic[T]):
    """One exchange at a time: a slow database makes larger batches, and a fast one adds no delay.

    carry_out: does what is asked, all of it or nothing.
    one_of_them: whether what that raised is the doing of one request, so that the others are worth another try.
    """

    def __init__(
        self, carry_out: Callable[[list[T]], Awaitable[None]], one_of_them: Callable[[BaseException], bool]
    ) -> None:
        self._carry_out = carry_out
        self._one_of_them = one_of_them
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    def ask(self, item: T) -> asyncio.Future[None]:
        """Done when that is; it raises what went wrong."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._working is None:
            self._working = asyncio.ensure_future(self._work())
        return future

    async def finish(self) -> None:
        """Return once nothing is under way."""
        if self._working is not None:
            await asyncio.wait([self._working])

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:_MOST], self._waiting[_MOST:]
                await self._do(batch)
        finally:
            self._working = None

    async def _do(self, batch: list[tuple[T, asyncio.Future[None]]]) -> None:
        try:
            await self._carry_out([item for item, _future in batch])
        except BaseException as error:
            if len(batch) > 1 and self._one_of_them(error):
                for one in batch:
                    await self._do([one])
                return
            for _item, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for _item, future in batch:
            if not future.done():
                future.set_result(None)

"""docket on its memory backend: one worker, tasks that perpetuate themselves."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket, Perpetual, Worker

from benchmarks.adapters._base import Adapter, Order, Work

logging.getLogger("docket").setLevel(logging.ERROR)
_RESOLUTION = timedelta(milliseconds=5)


class Measured(Adapter):
    distribution = "pydocket"
    settings = (
        "memory://, Perpetual, add_many, concurrency=1000, minimum_check_interval and scheduling_resolution 5 ms "
        "(250 ms by default), logs only errors"
    )
    plain_functions = False
    most = 10_000
    add_us = 300

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._docket: Docket | None = None
        self._worker: Worker | None = None
        self._serving: asyncio.Task[None] | None = None

    async def _enter(self, period: int) -> Docket:
        if self._docket is None:
            called, again = self.work.function, Perpetual(every=timedelta(seconds=period))

            async def numbered(number: int, _again: Perpetual = again) -> None:
                await called(number)

            async def bare(_again: Perpetual = again) -> None:
                await called()

            self._function: Any = numbered if self.work.numbered else bare
            self._docket = await Docket(name=f"benchmark-{os.getpid()}", url="memory://").__aenter__()
            self._docket.register(self._function)
            self._worker = await Worker(
                self._docket,
                concurrency=1000,
                minimum_check_interval=_RESOLUTION,
                scheduling_resolution=_RESOLUTION,
            ).__aenter__()
        return self._docket

    async def start(self) -> None:
        assert self._worker is not None
        self._serving = asyncio.create_task(self._worker.run_forever())

    async def stop(self) -> None:
        if self._serving is not None:
            self._serving.cancel()

    async def add(self, orders: Sequence[Order]) -> list[str]:
        docket = await self._enter(orders[0].period)
        await docket.add_many(
            docket.call(self._function, when=self._first(order), key=str(order.number))(*self.arguments(order))
            for order in orders
        )
        return [str(order.number) for order in orders]

    @staticmethod
    def _first(order: Order) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=order.period) if order.first is None else order.first_at

    async def remove(self, handle: str) -> None:
        assert self._docket is not None
        await self._docket.cancel(handle)

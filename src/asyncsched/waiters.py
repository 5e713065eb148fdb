"""Who waits for the end of a run, on whichever event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress


def let_go(waiters: Iterable[asyncio.Future[None]], error: BaseException | None) -> None:
    """Let those who wait go on; with ``error`` they raise it. Called on the scheduler's loop."""
    here = asyncio.get_running_loop()
    for waiter in waiters:
        if waiter.get_loop() is here:
            _settle(waiter, error)
        else:
            with suppress(RuntimeError):  # that loop was closed: nobody waits there any more
                waiter.get_loop().call_soon_threadsafe(_settle, waiter, error)


def _settle(waiter: asyncio.Future[None], error: BaseException | None) -> None:
    if waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)

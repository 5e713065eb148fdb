"""A scheduler within a host: started before its first request, stopped after its last."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Any, Literal


class Lifespan(AsyncGenerator[None, None]):
    """What ``Scheduler.lifespan`` gives: an asynchronous context manager, and an asynchronous iterator of one step.

    Frameworks ask for one or the other. Entered, or asked for its step, it starts the scheduler; left, or asked
    for another step, it stops it.
    """

    def __init__(
        self, state: Mapping[str, Any], start: Callable[[], Awaitable[object]], stop: Callable[[], Awaitable[object]]
    ) -> None:
        self._state = dict(state)
        self._start = start
        self._stop = stop
        self._stage: Literal["new", "serving", "over"] = "new"

    async def __aenter__(self) -> dict[str, Any]:
        """Start the scheduler; what the host is to remember: ``{"scheduler": scheduler}``.

        Raises:
            MisuseError: the scheduler is running already.
        """
        await self._start()
        return self._state

    async def __aexit__(self, *_exc: object) -> None:
        await self._stop()

    async def asend(self, _value: None, /) -> None:
        """The next step, which is what ``__anext__`` asks for."""
        if self._stage == "new":
            self._stage = "over"
            await self._start()
            self._stage = "serving"
        else:
            await self._end()
            raise StopAsyncIteration

    async def athrow(self, typ: Any, val: Any = None, tb: Any = None, /) -> None:
        """Stop the scheduler, then raise, which is what ``aclose`` asks for."""
        await self._end()
        error: BaseException = typ if isinstance(typ, BaseException) else val if val is not None else typ()
        raise error.with_traceback(tb)

    async def _end(self) -> None:
        stage, self._stage = self._stage, "over"
        if stage == "serving":
            await self._stop()

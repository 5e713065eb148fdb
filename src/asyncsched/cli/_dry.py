"""A double of a scheduler on virtual time: the same tasks, and nothing that is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from asyncsched.clock import from_us
from asyncsched.errors import ConfigError
from asyncsched.events import Event
from asyncsched.executors import Executor
from asyncsched.registry import Registry
from asyncsched.scheduler import Scheduler
from asyncsched.testing import VirtualClock, VirtualLoop
from asyncsched.triggers._daytime import instant_us
from asyncsched.zone import system_zone_name, zone_name


class DryRun(NamedTuple):
    """A running scheduler that calls nothing, and the virtual clock that it lives by."""

    scheduler: Scheduler
    clock: VirtualClock


class StandIn(Executor):
    """Calls nothing: every call takes ``takes`` of the clock's time and gives ``None``."""

    def __init__(self, clock: VirtualClock, takes: timedelta) -> None:
        self._clock = clock
        self._takes_us = takes // timedelta(microseconds=1)

    async def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:  # noqa: ARG002
        if not self._takes_us:
            return
        over = asyncio.Event()
        alarm = self._clock.alarm(over.set)
        alarm.set(self._clock.now_us() + self._takes_us)
        try:
            await over.wait()
        finally:
            alarm.close()

    @property
    def busy(self) -> int:
        return 0


@asynccontextmanager
async def dry_run(
    scheduler: Scheduler,
    at: datetime,
    zone: str,
    tell: Callable[[Event], None] = lambda _event: None,
    takes: timedelta = timedelta(0),
) -> AsyncIterator[DryRun]:
    """A double of ``scheduler`` that starts at ``at``, on a virtual loop; ``tell`` hears its events.

    Another scheduler than the user's, so that the listeners of that one hear nothing of it.
    """
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    clock = VirtualClock(loop, at)
    registry = Registry()
    for task in scheduler.served():
        registry.register(task)
    double = Scheduler(registry=registry, shutdown_timeout=timedelta(0))
    double.events.on({Event}, tell)
    with double.simulated(clock=clock, tz=zone, random=Random(0), executor=StandIn(clock, takes)):
        async with double:
            yield DryRun(double, clock)


def zone_for(scheduler: Scheduler, given: str | None) -> str:
    """The zone of tasks that name none: as given, as the scheduler says, or the system's."""
    return zone_name(given) if given else scheduler.tz or system_zone_name()


def moment(name: str, text: str, zone: str) -> datetime:
    """The instant that an ISO date, or date and time, says; in ``zone`` if it names no offset.

    Raises:
        ConfigError: it is none.
    """
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{name} {text!r}: an ISO date, or date and time, such as 2026-03-28 or 2026-03-28T14:30"
        ) from None
    return found if found.tzinfo else from_us(instant_us(found, zone))

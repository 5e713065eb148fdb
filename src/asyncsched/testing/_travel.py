"""``datetime.now()`` and ``time.time()`` as the virtual clock shows them, for functions that ask themselves."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from types import TracebackType

from asyncsched.errors import MissingExtra
from asyncsched.testing._clock import VirtualClock
from asyncsched.zone import load_zone

# time-machine sets TZ, and reads the zone's file, at every move to a datetime in a ZoneInfo or in UTC.
_NO_ZONE = timezone(timedelta(hours=1))


class Travel:
    """A context manager: while entered, ``datetime.now()``, ``time.time()`` and their like show ``clock``.

    In all threads. ``time.monotonic()`` stays real. Needs time-machine.

    Args:
        clock: what they show.
        tz: the name of the zone that local times are in; by default the process's own.

    Raises:
        MissingExtra: time-machine is not installed.
        TimeZoneError: there is no zone ``tz``.
    """

    def __init__(self, clock: VirtualClock, *, tz: str | None = None) -> None:
        self._clock = clock
        self._zone = None if tz is None else load_zone(tz)
        self._exit = ExitStack()

    def __enter__(self) -> Travel:
        try:
            import time_machine
        except ImportError as error:
            raise MissingExtra("asyncsched.testing needs: pip install 'asyncsched[testing]'") from error
        with ExitStack() as stack:
            if self._zone is not None:  # the outer journey keeps the zone, the inner one moves
                stack.enter_context(time_machine.travel(self._clock.now().astimezone(self._zone), tick=False))
            traveller = stack.enter_context(time_machine.travel(self._there(), tick=False))

            def follow() -> None:
                traveller.move_to(self._there())

            self._clock.loop.on_jump.append(follow)
            stack.callback(self._clock.loop.on_jump.remove, follow)
            self._exit = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    def _there(self) -> datetime:
        return self._clock.now().astimezone(_NO_ZONE)

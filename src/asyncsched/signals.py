"""The signals that end a scheduler: the first asks, the second forces."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

# What a forced end may still take before the process is ended whatever it does.
_LAST_SECONDS = 2.0
_ENDING = (signal.SIGINT, signal.SIGTERM)


class ForcedEnd(SystemExit):
    """A second signal came: the exit code is 128 plus its number, as shells expect."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)


@contextlib.contextmanager
def ending_signals(first: Callable[[], None], second: Callable[[int], None]) -> Iterator[None]:
    """Call ``first`` on the loop at the first SIGINT or SIGTERM, ``second`` with the number at the next.

    After the second the process ends within two seconds even if the loop hangs. Outside the main thread no signal
    can be taken, so nothing is done there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    seen = 0

    def heard(number: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 1:
            first()
        elif seen == 2:
            watchdog = threading.Timer(_LAST_SECONDS, os._exit, [128 + number])
            watchdog.daemon = True
            watchdog.start()
            second(number)

    def from_handler(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(heard, number)

    before = {number: signal.getsignal(number) for number in _ENDING}
    by_loop = True
    try:
        for number in _ENDING:
            loop.add_signal_handler(number, heard, number)
    except NotImplementedError:  # the loops of Windows
        by_loop = False
        for number in _ENDING:
            signal.signal(number, from_handler)
    try:
        yield
    finally:
        for number in _ENDING:
            if by_loop:
                loop.remove_signal_handler(number)
            signal.signal(number, before[number])

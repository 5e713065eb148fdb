"""Watches the event loop from outside, and names what blocks it.

While runs are under way a thread asks the loop for an answer every fifth of ``stall_warning``. If none comes in
time it looks where the loop's thread stands and whose code that is. While nothing runs the thread sleeps, and
neither it nor the loop is woken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import sysconfig
import threading
import traceback
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path, PurePath
from types import FrameType

from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.living import Living
from asyncsched.clock import SECOND_US, Clock
from asyncsched.events import LoopStalled

log = logging.getLogger("asyncsched.engine")

# A stall is found between one stall_warning and this much of another after it began.
_QUESTIONS = 5
# How long leaving waits for the thread: it may be inside somebody's log handler.
_FAREWELL_S = 1.0
_OURS = Path(__file__).parent.parent
_STDLIB = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})


@dataclass(slots=True)
class Lag:
    """How long the loop took to answer, in microseconds: the last time, and at most since the start."""

    last_us: int = 0
    max_us: int = 0


@dataclass(frozen=True, slots=True)
class _Stall:
    who: str
    task: str | None
    stack: str


class Watcher:
    """Watches the running loop, on which it is made. ``None`` as ``stall_us``: it does nothing."""

    def __init__(self, living: Living, bus: Events, clock: Clock, stall_us: int | None) -> None:
        self.lag = Lag()
        self._living = living
        self._bus = bus
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._stall: _Stall | None = None
        self._woken = threading.Event()
        self._answered = threading.Event()
        self._leaving = threading.Event()
        self._step_s = (stall_us or 0) / SECOND_US / _QUESTIONS
        if stall_us is None:
            self._woken.set()  # who is awake is not woken

    def wake(self) -> None:
        """A run is about to start; it is among the living runs already."""
        if self._woken.is_set():
            return
        self._woken.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._watch, name="asyncsched watcher", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Watch no more."""
        for event in (self._leaving, self._woken, self._answered):
            event.set()
        if self._thread is not None:
            self._thread.join(timeout=_FAREWELL_S)

    def _watch(self) -> None:
        while not self._leaving.wait(timeout=self._step_s):
            if self._living.runs:
                try:
                    self._ask()
                except Exception as error:
                    if self._loop.is_closed():  # and the scheduler on it was never left
                        return
                    complain("the watcher of the event loop failed; it goes on", error=error)
            else:
                self._woken.clear()
                if not (self._living.runs or self._leaving.is_set()):  # set between the two lines
                    self._woken.wait()
                self._woken.set()

    def _ask(self) -> None:
        self._answered.clear()
        if self._leaving.is_set():
            return
        self._loop.call_soon_threadsafe(self._answer, self._clock.steady_us())
        # In two steps: if the whole process was stopped, the loop has the second one to answer.
        if self._answered.wait(timeout=self._step_s * (_QUESTIONS - 1)) or self._answered.wait(timeout=self._step_s):
            return
        stall = self._look()
        with self._lock:
            if self._answered.is_set():
                return
            self._stall = stall
        warn(
            "%s blocks the event loop, for %.0f ms so far:\n%s",
            stall.who,
            self._step_s * _QUESTIONS * 1000,
            stall.stack,
        )
        self._answered.wait()

    def _answer(self, asked_us: int) -> None:
        """The loop is there. Called on it."""
        lag_us = self._clock.steady_us() - asked_us
        self.lag.last_us = lag_us
        self.lag.max_us = max(self.lag.max_us, lag_us)
        with self._lock:
            self._answered.set()
            stall, self._stall = self._stall, None
        if stall is not None:
            with contextlib.suppress(Exception):
                log.info("the event loop answers again after %.0f ms: %s blocked it", lag_us / 1000, stall.who)
            by = timedelta(microseconds=lag_us)
            self._bus.tell(LoopStalled(at_us=self._clock.now_us(), by=by, task=stall.task, stack=stall.stack))

    def _look(self) -> _Stall:
        """Where the loop stands now, and in which run."""
        current = asyncio.current_task(self._loop)
        stack = told(sys._current_frames().get(self._loop_thread))
        if current is None:
            return _Stall("a callback", None, stack)
        for living in list(self._living.runs.values()):
            if living.handle is current:
                return _Stall(f"task {living.run.task}, run {living.run.id},", living.run.task, stack)
        return _Stall(f"asyncio task {current.get_name()!r}", None, stack)


def told(frame: FrameType | None) -> str:
    """The stack that ends in ``frame``: the user's own lines, innermost first, then how many are of libraries."""
    summary = list(traceback.StackSummary.extract(traceback.walk_stack(frame), lookup_lines=False))
    # What called the scheduler, such as the line of asyncio.run, blocks nothing.
    ours = [number for number, line in enumerate(summary) if _library(line.filename) == "asyncsched"]
    summary = summary[: ours[-1] + 1] if ours else summary
    own = [line for line in summary if not _library(line.filename)] or summary[:3]
    lines = [text for line in own for text in traceback.format_list([line])]
    libraries = sorted({name for line in summary if line not in own and (name := _library(line.filename))})
    if libraries:
        lines.append(f"  and {len(summary) - len(own)} frames of {', '.join(libraries)}\n")
    return "".join(lines)


def _library(file: str) -> str | None:
    """The name of the library that ``file`` belongs to; ``None`` for what users write."""
    path = PurePath(file)
    if file.startswith("<frozen "):
        return file[8:-1].split(".")[0]
    for packages in ("site-packages", "dist-packages"):
        if packages in path.parts[:-1]:
            return PurePath(path.parts[path.parts.index(packages) + 1]).stem
    for root in _STDLIB:
        if path.is_relative_to(root):
            return PurePath(path.relative_to(root).parts[0]).stem
    return "asyncsched" if path.is_relative_to(_OURS) else None

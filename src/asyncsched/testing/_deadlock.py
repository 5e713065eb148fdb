"""What to say when nothing is scheduled, nothing is running, and something still waits."""

from __future__ import annotations

import asyncio
import linecache
from types import FrameType
from typing import Any

from asyncsched.errors import CallerError

_PLUMBING = frozenset({"asyncio", "anyio"})  # a line of theirs tells nobody which of his own lines waits


class Deadlock(CallerError, RuntimeError):
    """The virtual loop has nothing to jump to and nobody who could wake it; the message lists what waits."""


def deadlock(loop: asyncio.AbstractEventLoop) -> Deadlock:
    """The error that names each pending task of ``loop`` and the line where it waits."""
    waiting = sorted(f"  {task.get_name()}: {_place(task)}" for task in asyncio.all_tasks(loop))
    return Deadlock(
        "nothing is scheduled and nothing is running, so these would wait for ever:\n"
        + ("\n".join(waiting) or "  (no task: the loop itself was started and has nothing to do)")
        + "\nIf a thread of your own would still wake them, tell the loop: loop.watch(thread.is_alive)"
    )


def _place(task: asyncio.Task[Any]) -> str:
    """Where ``task`` waits: the innermost line that is not asyncio's or anyio's."""
    frames: list[FrameType] = []
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = _own(awaited, "frame")
        if isinstance(frame, FrameType):
            frames.append(frame)
        awaited = _own(awaited, "await") or getattr(awaited, "gi_yieldfrom", None)
    if not frames:
        return repr(task)
    theirs = [frame for frame in frames if frame.f_globals.get("__name__", "").partition(".")[0] not in _PLUMBING]
    shown = (theirs or frames)[-1]
    line = linecache.getline(shown.f_code.co_filename, shown.f_lineno).strip()
    return f"{shown.f_code.co_filename}:{shown.f_lineno} in {shown.f_code.co_name}: {line}"


def _own(awaited: Any, name: str) -> Any:
    """The ``cr_``, ``gi_`` or ``ag_`` attribute of a coroutine, generator or async generator."""
    for prefix in ("cr_", "gi_", "ag_"):
        if hasattr(awaited, prefix + name):
            return getattr(awaited, prefix + name)
    return None

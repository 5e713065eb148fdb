"""How much work something is, counted and not timed: the same number on every machine and under any load."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from asyncsched.testing import VirtualLoop

T = TypeVar("T")
# An idle machine goes through 20 million lines of ours a second.
LINES_IN_50_MS = 1_000_000


class Lines:
    """How many lines of Python this thread went through within a block of ``counted_lines``."""

    def __init__(self) -> None:
        self.count = 0

    def seen(self, _frame: FrameType, event: str, _argument: Any) -> Any:
        """What the interpreter calls at each line."""
        self.count += event == "line"
        return self.seen


class Turns:
    """How many turns a loop took within a block of ``counted_turns``."""

    def __init__(self) -> None:
        self.count = 0


@contextmanager
def counted_lines() -> Iterator[Lines]:
    """Counts what is called in the block, also what coroutines do when they go on in it; not the block's own lines.

    What C code does within one line, a regular expression or JSON, is not in it: bound what that is given.
    """
    lines, before = Lines(), sys.gettrace()
    sys.settrace(lines.seen)
    try:
        yield lines
    finally:
        sys.settrace(before)


@contextmanager
def counted_turns(loop: asyncio.AbstractEventLoop) -> Iterator[Turns]:
    """Counts how often a loop of asyncio looks what is ready: one that spins takes turns without end."""
    turns = Turns()
    turn: Callable[[], None] = loop._run_once  # type: ignore[attr-defined]

    def counted() -> None:
        turns.count += 1
        turn()

    loop._run_once = counted  # type: ignore[attr-defined]
    try:
        yield turns
    finally:
        del loop._run_once  # type: ignore[attr-defined]


@contextmanager
def noted_jumps(loop: asyncio.AbstractEventLoop) -> Iterator[list[float]]:
    """The instants to which a ``VirtualLoop`` jumps in the block, in seconds of its own time."""
    assert isinstance(loop, VirtualLoop)
    jumps: list[float] = []

    def note() -> None:
        jumps.append(loop.time())

    loop.on_jump.append(note)
    try:
        yield jumps
    finally:
        loop.on_jump.remove(note)


def lines_of(call: Callable[[], T]) -> tuple[T, int]:
    """The answer of a call, and how many lines of Python it took."""
    with counted_lines() as lines:
        answer = call()
    return answer, lines.count

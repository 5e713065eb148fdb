"""A store of your own: the rules of the memory store, and a journal that outlives the process.

Each verb that changes something is written to a file, as a line of JSON, before it is done; opening the file does it
all again, at the instants of then. For one process at a time, and for arguments that are plain JSON. The file only
grows: begin a new one now and then.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from asyncsched import Registry, Scheduler
from asyncsched.clock import Clock
from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore, records

V = TypeVar("V", bound=Callable[..., Coroutine[Any, Any, Any]])
VERBS: dict[str, Callable[..., Coroutine[Any, Any, Any]]] = {}


class Moment(Clock):
    """The instant of the verb that is done: now, or the one in the journal."""

    at_us = 0

    def now_us(self) -> int:
        return self.at_us

    def steady_us(self) -> int:
        return self.at_us


def journaled(verb: V) -> V:
    """The verb, which writes down what it is asked before it does it."""
    VERBS[verb.__name__] = verb

    async def write_and_do(self: JournalStore, *args: Any, **options: Any) -> Any:
        self.write(verb.__name__, args, options)
        return await verb(self, *args, **options)

    return cast("V", write_and_do)


class JournalStore(MemoryStore):
    """Keeps everything in memory and, as a list of what was asked, in a file."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        self._path, self._moment, self._length = Path(path), Moment(), 0

    def __str__(self) -> str:
        return f"journal {self._path}"

    async def open(self, node: str, clock: Clock) -> None:
        self._clock = clock
        try:
            self.file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise StoreError(f"the journal {self._path} cannot be opened: {error}; give a file to write to") from error
        self.file.seek(self._length)
        for line in self.file.readlines():
            if not line.endswith(b"\n"):  # the process was killed while it wrote, so nobody was answered
                self.file.truncate(self._length)
                break
            self._length += len(line)
            self._moment.at_us, verb, args, options = await records.Restored(self).restore(json.loads(line))
            if verb == "open":
                await super().open(args[0], self._moment)
            elif verb == "close":
                await super().close()
            else:
                await VERBS[verb](self, *args, **options)
        self.write("open", (node,), {})
        await super().open(node, self._moment)

    async def close(self) -> None:
        try:
            self.write("close", (), {})
            await super().close()
        finally:
            self.file.close()

    async def now_us(self) -> int:
        return self._clock.now_us()

    def clock_set_back(self, by_us: int) -> None:
        """Moves nothing: runs wait for the instants that the journal says."""

    def write(self, verb: str, args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        """Write down what is asked; it is on the disk when this returns."""
        self._moment.at_us = self._clock.now_us()
        line = json.dumps(records.plain([self._moment.at_us, verb, args, options]), default=str).encode() + b"\n"
        try:
            if self.file.write(line) < len(line):
                raise OSError("the disk is full")
            os.fsync(self.file.fileno())
        except OSError as error:
            self.file.truncate(self._length)
            raise StoreError(f"the journal {self._path} cannot be written: {error}; make room for it") from error
        self._length += len(line)

    reconcile = journaled(MemoryStore.reconcile)
    put_task = journaled(MemoryStore.put_task)
    amend = journaled(MemoryStore.amend)
    drop_task = journaled(MemoryStore.drop_task)
    fire = journaled(MemoryStore.fire)
    submit = journaled(MemoryStore.submit)
    cycle = journaled(MemoryStore.cycle)
    cancel = journaled(MemoryStore.cancel)
    settle = journaled(MemoryStore.settle)
    join = journaled(MemoryStore.join)
    prune = journaled(MemoryStore.prune)
    park_unserved = journaled(MemoryStore.park_unserved)


registry = Registry()


@registry.every("1s")
async def tick() -> None:
    print("tick", flush=True)


if __name__ == "__main__":
    Scheduler(JournalStore(sys.argv[1] if len(sys.argv) > 1 else "journal.jsonl"), registry=registry).run()

"""What a verb reads, decides by and changes: carried out if nobody has changed meanwhile what it has read.

Nothing is locked. Whoever comes second finds that out, and decides again by what is there then; of those that meet, one
has been carried out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from asyncsched.errors import StoreError
from asyncsched.stores._redis.link import Link, Read
from asyncsched.stores._redis.records import Kept, kept_of, version_of
from asyncsched.stores._redis.wire import Unit

T = TypeVar("T")

TRIES = 500
"""So often a decision is made again. Each time somebody else's has counted: who comes so far meets a very busy key."""


class Ties(NamedTuple):
    """The runs that need a run, and those that it needs."""

    followers: list[str]
    needs: list[str]


class Transaction:
    """Reads and changes. ``commit`` carries the changes out."""

    def __init__(self, link: Link, now_us: int) -> None:
        self.link = link
        self.now_us = now_us
        self.checks: list[Sequence[Any]] = []
        self._changes: list[Sequence[Any]] = []
        self._runs: dict[str, Kept | None] = {}
        self._texts: dict[str, str | None] = {}
        self.ties: dict[str, Ties] = {}

    def change(self, name: str, *given: Any) -> None:
        """Let this be changed too, after what was said before."""
        self._changes.append((name, *given))

    def call(self, command: str, key: str, *given: Any) -> None:
        """Let a command be carried out too."""
        self._changes.append(("call", command, key, *given))

    async def commit(self) -> list[Any] | None:
        """What the changes gave; ``None`` if they were not made, as what was read has changed."""
        if not self._changes:
            return []
        done = await self.link.carry_out([Unit(self.checks, self._changes)])
        return done.answers[0]

    async def load(self, run_ids: Iterable[str]) -> None:
        """Read these runs, those that were not yet."""
        unknown = [run_id for run_id in dict.fromkeys(run_ids) if run_id not in self._runs]
        for piece in chunks(unknown):
            self.know_read(piece, await self.link.read(piece))

    def know_read(self, run_ids: Sequence[str], read: Read) -> None:
        """Know runs, and what ties them to others, as they were read."""
        self.know(run_ids, read.runs)
        for run_id, tied in zip(run_ids, read.ties, strict=True):
            if tied:
                self.ties.setdefault(run_id, Ties(*([*one] for one in tied)))

    def know(self, run_ids: Sequence[str], said: Sequence[Any]) -> None:
        """Know runs as they were read."""
        for run_id, fields in zip(run_ids, said, strict=True):
            if run_id not in self._runs:
                kept = self._runs[run_id] = kept_of(fields, run_id)
                self.checks.append(("run", run_id, version_of(fields) if kept is None else kept.version))

    def know_texts(self, keys: Sequence[str], said: Sequence[Any]) -> None:
        """Know texts as they were read."""
        for key, found in zip(keys, said, strict=True):
            value = self._texts[key] = found or None
            self.checks.append(("text", key, value))

    async def run(self, run_id: str) -> Kept | None:
        """The run of this id, as it stands after what was changed here."""
        if run_id not in self._runs:
            await self.load([run_id])
        return self._runs[run_id]

    def hold(self, kept: Kept) -> None:
        """Know a run as it is from here on."""
        self._runs[kept.row.id] = kept

    async def text(self, key: str) -> str | None:
        """What is written there."""
        if key not in self._texts:
            (found,) = await self.link.ask(("GET", key))
            self._texts[key] = found
            self.checks.append(("text", key, found))
        return self._texts[key]

    def write_text(self, key: str, value: str | None) -> None:
        """Let this be written there; ``None``: nothing."""
        self._texts[key] = value
        if value is None:
            self.call("DEL", key)
        else:
            self.call("SET", key, value)


async def server_now_us(link: Link) -> int:
    """The clock of the server."""
    return await link.now_us()


def too_busy(link: Link) -> StoreError:
    """What is raised where a decision never counted."""
    return StoreError(f"{link.address}: {TRIES} times in a row others were faster; let fewer nodes share this key")


def chunks(ids: Collection[T], size: int = 200) -> Iterable[list[T]]:
    """These in pieces."""
    listed = list(ids)
    return (listed[start : start + size] for start in range(0, len(listed), size))

"""Which runs of a key have a place and may start: the rules of ``limits``, on what is kept of the key."""

from __future__ import annotations

import json
from bisect import insort
from collections import deque
from collections.abc import Sequence
from typing import Any

from asyncsched.limits import Rate
from asyncsched.stores._durable.admission import PLACE, PROMISE, Admission, Starts
from asyncsched.stores._durable.marred import EARLIEST_US, LATEST_US
from asyncsched.stores._redis.link import PAGE
from asyncsched.stores._redis.records import QUEUED, by_priority, count_said
from asyncsched.stores._redis.transaction import Transaction


class Key(Starts):
    """What is known of one limit key: its latest starts, who has a place, who waits."""

    def __init__(self, unit: Transaction, name: str) -> None:
        super().__init__()
        self._unit = unit
        self.name = name
        self.changed = self.moved = False
        self.holders: dict[str, int] = {}
        self._waiting: deque[tuple[str, str]] = deque()
        self._extra: list[tuple[str, str]] = []
        self._gone: set[str] = set()
        self._read = 0
        self._more = True

    def learn(self, said: Any) -> None:
        """Know what was read: what is kept, who holds a place, the first who wait, and these runs."""
        fields, holders, members, runs = ([*part] for part in said)
        kept = dict(zip(fields[::2], fields[1::2], strict=True))
        self._unit.checks.append(("field", f"k:{self.name}", "v", kept.get("v")))
        pairs = zip(holders[::2], holders[1::2], strict=True)
        self.holders = {run_id: count_said(flags) & (PLACE | PROMISE) for run_id, flags in pairs}
        self.moved = "moved" in kept  # it is being renamed: nobody passes here
        if "starts" in kept:
            wake_us = count_said(kept["wake_at"]) if "wake_at" in kept else None
            count, period_us = count_said(kept.get("count")), count_said(kept.get("period"))
            self.know(_instants(kept["starts"]), count, period_us, wake_us)
        self._take(members)
        self._unit.know([member.partition(":")[2] for member in members], runs)

    def _take(self, members: Sequence[str]) -> None:
        self._waiting.extend((member, member.partition(":")[2]) for member in members)
        self._read += len(members)
        self._more = len(members) == PAGE

    async def _page(self) -> None:
        (members,) = await self._unit.link.ask(("ZRANGE", f"q:{self.name}", self._read, self._read + PAGE - 1))
        self._take(members)
        await self._unit.load(member.partition(":")[2] for member in members)

    async def foremost(self) -> str | None:
        """Who waits and comes first."""
        while True:
            while self._waiting and self._waiting[0][1] in self._gone:
                self._waiting.popleft()
            if self._waiting or not self._more:
                break
            await self._page()
        ahead = [line[0] for line in (self._waiting, self._extra) if line]
        return min(ahead)[1] if ahead else None

    def add(self, member: str, run_id: str) -> None:
        """Let a run wait."""
        self.changed = True
        insort(self._extra, (member, run_id))

    def remove(self, run_id: str) -> None:
        """Let a run wait no more."""
        self.changed = True
        self._gone.add(run_id)
        self._extra = [one for one in self._extra if one[1] != run_id]

    def forget(self, run_id: str) -> None:
        """Take out what does not wait."""
        for member, waits in self._waiting:
            if waits == run_id:
                self._unit.call("ZREM", f"q:{self.name}", member)
        self.remove(run_id)

    def hold(self, run_id: str, flags: int) -> None:
        """Let a run have these flags."""
        before = self.holders.get(run_id, 0)
        if flags == before:
            return
        self.changed = True
        if flags:
            self.holders[run_id] = flags
            self._unit.call("HSET", f"h:{self.name}", run_id, flags)
        else:
            del self.holders[run_id]
            self._unit.call("HDEL", f"h:{self.name}", run_id)

    def start(self, rate: Rate) -> None:
        """Count a start, now."""
        self.add_start(rate, self._unit.now_us)
        self.save()

    def set_back(self) -> None:
        """Let nobody wait for a clock that was set back."""
        self.starts = deque((min(at_us, self._unit.now_us) for at_us in self.starts), self.count)
        self.save()

    def save(self) -> None:
        """Write what is known of the starts, and when that is to be looked at."""
        unit, name = self._unit, self.name
        self.known = self.changed = True
        said = ["starts", self.text, "count", self.count, "period", self.period_us]
        unit.call("HSET", f"k:{name}", *said)
        if self.wake_us is None:
            unit.call("HDEL", f"k:{name}", "wake_at")
        else:
            unit.call("HSET", f"k:{name}", "wake_at", self.wake_us)
        self.note_instants()

    def note_instants(self) -> None:
        """Note when what is known of the starts is to be looked at; nothing, where nothing is known."""
        unit, name, last_us = self._unit, self.name, self.last_us
        fades_us = None
        if self.known and self.wake_us is None:
            fades_us = unit.now_us if last_us is None else last_us + self.period_us
        for zset, at_us in (("kwake", self.wake_us), ("klast", last_us), ("kfade", fades_us)):
            if at_us is None:
                unit.call("ZREM", zset, name)
            else:
                unit.call("ZADD", zset, at_us, name)

    async def fade(self) -> None:
        """Forget starts that matter no more."""
        last_us = self.last_us
        if self.wake_us is None and (last_us is None or last_us + self.period_us <= self._unit.now_us):
            self._unit.call("HDEL", f"k:{self.name}", "starts", "count", "period")
            for zset in ("klast", "kfade"):
                self._unit.call("ZREM", zset, self.name)
            self.known, self.changed = False, True
        else:
            self.note_instants()

    async def close(self) -> None:
        """Let others know that something has changed here; keep nothing of a key that nobody uses."""
        if not self.changed:
            return
        if not self.known and not self.moved and not self.holders and await self.foremost() is None:
            self._unit.call("DEL", f"k:{self.name}")
        else:
            self._unit.change("bump", self.name)


async def pass_on(unit: Transaction, key: Key) -> None:
    """Let those that wait for the key be ready, in their order, until the first that must go on waiting."""
    if key.moved:
        return
    places = sum(flags & PLACE for flags in key.holders.values())
    promised = sum(flags & PROMISE for flags in key.holders.values()) // PROMISE
    admission = Admission(places, promised, unit.now_us)
    rated, waited = False, key.wake_us is not None
    key.wake_us = None
    while (run_id := await key.foremost()) is not None:
        kept = await unit.run(run_id)
        if kept is None or kept.state != QUEUED:  # it was not put there by us
            key.forget(run_id)
            continue
        terms, holds = kept.terms, key.holders.get(run_id, 0)
        if admission.full(terms, holds):
            break
        if terms.rate is not None:
            rated = True
            if admission.early(terms.rate, key):
                break
        key.remove(run_id)
        key.hold(run_id, admission.admit(terms, holds))
        unit.change("set", run_id, [], [], ("ready", terms.queue, by_priority(terms, kept.row.due_at)))
        kept.state = "0"
    # Where nobody waits for the rate any more, that is to be known.
    if (rated and (key.known or key.wake_us is not None)) or (waited and not rated):
        key.save()


def _instants(text: str) -> list[int]:
    """The instants that were written; none if they cannot be read: a rate then knows of no starts."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return []
    fine = isinstance(said, list) and all(type(at_us) is int and EARLIEST_US <= at_us <= LATEST_US for at_us in said)
    return said if fine else []

"""What a verb does to runs within one transaction: writes, ends and forgets them, and puts right what follows."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from asyncsched import crash_points
from asyncsched.deadlines import lapses_us
from asyncsched.limits import Idempotency
from asyncsched.merge import merge, stands_until_us
from asyncsched.run import RunStatus, Settled, Terms
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import Needed, New
from asyncsched.stores._durable.rows import Row, bare_run, merged_row, needs_of, terms_again, terms_of
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.places import Key, pass_on
from asyncsched.stores._redis.records import (
    BLOCKED,
    ENDED,
    PARKED,
    QUEUED,
    RUNNING,
    Kept,
    Where,
    by_priority,
    by_turn,
    fields_of,
    free,
    gone_of,
    stand_said,
    standing_fields,
)
from asyncsched.stores._redis.transaction import TRIES, Transaction, chunks, too_busy

T = TypeVar("T")

_SUCCESS = RunStatus.SUCCESS.value
_READ = 200  # runs, by one call
# What an end does not change.
_STAYS = ("id", "task", "created_at", "scheduled_at", "stands_for", "terms", "args", "retry_of", "flow", "edges")
ENDS = tuple(name for name in Row._fields if name not in _STAYS)
_MOVES = ("status", "reason", "attempt", "token", "node", "due_at", "result", "error", "notes")


class Unit(Transaction):
    """One verb at work. ``close`` it when it has done what it does."""

    def __init__(self, link: Link, now_us: int) -> None:
        super().__init__(link, now_us)
        self._keys: dict[str, Key] = {}
        self._touched: set[str] = set()
        self.fresh: Collection[str] = ()
        """New runs of flows: nobody has seen them, so that a follower changes nothing of them."""

    async def close(self) -> None:
        """Let the next of each key be ready, and let others know which keys have changed."""
        await self.settle_keys()
        for key in self._keys.values():
            await key.close()

    async def key(self, name: str) -> Key:
        """What is known of a limit key."""
        found = self._keys.get(name)
        if found is None:
            found = self.know_key(name, (await self.link.read((), [name])).keys[0])
        return found

    def know_key(self, name: str, said: Any) -> Key:
        """Know a limit key as it was read."""
        found = self._keys[name] = Key(self, name)
        found.learn(said)
        return found

    def touch(self, name: str) -> None:
        """Something has become free under this key."""
        self._touched.add(name)

    async def settle_keys(self) -> None:
        """Let the next of each key that was touched be ready."""
        touched, self._touched = sorted(self._touched), set()
        for name in touched:
            await pass_on(self, await self.key(name))

    # -- runs that come

    async def write(self, new: New, stage: str | None = None) -> None:
        """Write a run, which waits from now on, or is blocked; with a ``stage`` nobody sees it until that is opened."""
        row, needs, maker = new
        terms = terms_of(row.terms)
        kept = Kept(row, BLOCKED if needs is not None else "", maker)
        self.hold(kept)
        where = (
            ("blocked",) if needs is not None else await self._wait(kept, terms, "~" + str(len(self._runs)).zfill(9))
        )
        fields = [*fields_of(row), *standing_fields(row, terms, max(row.due_at, self.now_us)), "maker", maker]
        if row.flow is None and free(terms):
            fields += ("plain", "1")
        if stage is not None:
            fields += ("stage", stage)
        aside = terms.backfill or (needs is not None and '"kind":"gate"' not in (row.edges or ""))
        self.change("new", row.id, row.task, row.created_at, fields, where, row.scheduled_at is not None, aside)
        if needs is not None:
            await self._need(row.id, needs)
        else:
            self._lapse(row, terms)
        if kept.state == QUEUED:
            await self.settle_keys()  # who comes first has its place before the next one comes

    async def _wait(self, kept: Kept, terms: Terms, among: str) -> Where:
        """Where a run stands that waits; ``among``: where among equals."""
        row = kept.row
        arrived_us = max(row.due_at, self.now_us)
        if row.due_at > self.now_us:
            kept.state = "2"
            return ("delayed", str(row.due_at), "delayed" if terms.limit_key is None else "kdelayed")
        if terms.limit_key is None:
            kept.state = "0"
            return ("ready", terms.queue, by_priority(terms, row.due_at))
        kept.state = QUEUED
        self.touch(terms.limit_key)
        turn = by_turn(row, terms, arrived_us)
        (await self.key(terms.limit_key)).add(f"{turn}{among}:{row.id}", row.id)
        return ("queued", terms.limit_key, turn)

    def _lapse(self, row: Row, terms: Terms) -> None:
        if terms.bounds is None:
            return
        lapse_us = lapses_us(bare_run(row))
        if lapse_us is None:
            self.call("ZREM", "lapses", row.id)
        else:
            self.call("ZADD", "lapses", lapse_us, row.id)

    async def submit(self, new: New) -> Row | None:
        """Write a run unless another stands for it: that one; ``None`` if it is written."""
        terms = terms_of(new.row.terms)
        if terms.idempotency is not None:
            return await self._submit_keyed(new, terms, terms.idempotency)
        return await self._submit(new, terms)

    async def _submit_keyed(self, new: New, terms: Terms, given: Idempotency) -> Row | None:
        """The same of a run with an idempotency key: whatever run it is, it stands for the key."""
        earlier = await self._run_of_key(given.key)
        if earlier is not None:
            return earlier
        stands = await self._submit(new, terms)
        row = stands or new.row
        ended = row if row.finished_at is not None else None
        until_us = self.now_us + given.keep_us
        self.write_text(f"i:{given.key}", json.dumps([row.id, ended, until_us]))
        self.call("ZADD", "idem", until_us, given.key)
        if ended is None:
            self.call("SADD", f"ri:{row.id}", given.key)
        kept = await self.run(row.id)
        if stands is not None and kept is not None and kept.live:  # how it ends is to be known by the key
            if terms_of(row.terms).idempotency is None:
                said = terms_again(row.terms, terms_of(row.terms)._replace(idempotency=given))
                kept.row = kept.row._replace(terms=said)
                self.change("set", row.id, ["terms", said], ["plain"], None)
            else:
                self.change("set", row.id, [], [], None)
        return stands

    async def _run_of_key(self, key: str) -> Row | None:
        """The run that stands for the key: within its time, and as long as it has not ended."""
        found = stand_said(await self.text(f"i:{key}"))
        if found is None:
            return None
        run_id, ended, until_us = found
        kept = await self.run(run_id)
        if kept is not None and kept.live:
            return kept.row
        return row_said(json.dumps(ended)) if ended is not None and self.now_us < (until_us or 0) else None

    async def _submit(self, new: New, terms: Terms) -> Row | None:
        if terms.once is None or terms.once_key is None:
            await self.write(new)
            return None
        earlier = await self._standing(terms.once_key)
        row = None if earlier is None else earlier.row
        verdict = merge(bare_run(new.row), None if row is None else bare_run(row), self.now_us)
        if earlier is None or verdict == "new":
            self.write_text(f"s:{terms.once_key}", json.dumps([new.row.id, None, None]))
            self.call("ZREM", "standing", terms.once_key)
            await self.write(new)
            return None
        if verdict == "same":
            return row
        return await self._take_over(earlier, new.row, terms)

    async def _take_over(self, earlier: Kept, row: Row, terms: Terms) -> Row:
        """Let a waiting run take over the instant, terms and arguments of a newer one."""
        await self.leave_key(earlier)
        # Its token grows: whoever holds it, at whichever node, then knows that it is not as it was.
        token = earlier.row.token + 1
        moved = earlier.row = earlier.row._replace(due_at=row.due_at, terms=row.terms, args=row.args, token=token)
        where = await self._wait(earlier, terms, f"{earlier.seq or 0:012x}")
        fields = fields_of(moved, ("due_at", "terms", "args", "token"))
        fields += standing_fields(moved, terms, max(moved.due_at, self.now_us))
        gone = gone_of(moved, ("terms", "args"))
        gone += [name for name, value in (("grouped", terms.group), ("rated", terms.rate)) if value is None]
        self.change("set", moved.id, fields, gone, where)
        self.change("count_from", moved.id, moved.task, where[1] if where[0] == "delayed" else None)
        self.call("ZREM", "lapses", moved.id)
        self._lapse(moved, terms)
        return moved

    async def leave_key(self, kept: Kept) -> None:
        """Let a run wait for its key no more, if it does."""
        name = kept.terms.limit_key
        if name is not None and kept.state == QUEUED:
            (await self.key(name)).remove(kept.row.id)

    async def _standing(self, key: str) -> Kept | None:
        """The run that stands for the key."""
        found = stand_said(await self.text(f"s:{key}"))
        if found is None:
            return None
        run_id, ended, until_us = found
        if ended is None:
            kept = await self.run(run_id)
            return kept if kept is not None and kept.live else None
        row = row_said(json.dumps(ended)) if until_us is None or until_us > self.now_us else None
        return None if row is None else Kept(row, ENDED)

    async def fire(self, new: New) -> Row | None:
        """Write the run of a fire; if another stands for it the record of its skip, which is the answer."""
        if await self.submit(new) is None:
            return None
        skip = merged_row(new.row, self.now_us)
        self.record(skip)
        return skip

    def record(self, row: Row) -> None:
        """Write what has ended into the history."""
        self.change("record", row.id, row.task, row.created_at, fields_of(row))

    async def admit(self, row: Row, lost: int | None = None) -> None:
        """Let a live run wait as the row says, which was running, handed back, put aside or blocked."""
        kept = await self.run(row.id)
        assert kept is not None
        await self.leave_key(kept)
        stored = kept.row
        if kept.state in (BLOCKED, PARKED) and not kept.terms.backfill:
            self.change("count_from", row.id, stored.task, None)
        kept.row = row._replace(args=stored.args, terms=stored.terms, flow=stored.flow, edges=stored.edges, result=None)
        terms = kept.terms
        where = await self._wait(kept, terms, f"{kept.seq or 0:012x}")
        fields = fields_of(kept.row, _MOVES)
        fields += standing_fields(kept.row, terms, max(row.due_at, self.now_us))
        if lost is not None:
            fields += ("lost", lost)
        self.change("set", row.id, fields, gone_of(kept.row, _MOVES), where)
        self._lapse(kept.row, terms)

    async def queue(self, kept: Kept) -> None:
        """Let a run wait for its key whose instant has come."""
        terms = kept.terms
        if terms.limit_key is None:
            return
        kept.state = QUEUED
        turn = by_turn(kept.row, terms, kept.row.due_at)
        (await self.key(terms.limit_key)).add(f"{turn}{kept.seq or 0:012x}:{kept.row.id}", kept.row.id)
        self.change("set", kept.row.id, [], [], ("queued", terms.limit_key, turn))
        self.touch(terms.limit_key)

    async def _need(self, run_id: str, needs: tuple[Needed, ...]) -> None:
        await self.load(one.id for one in needs if one.id not in self.fresh)
        told: list[tuple[str, str]] = []
        for one in needs:
            status, reason = one.status, one.reason
            upstream = None if one.id in self.fresh else await self.run(one.id)
            if upstream is not None and not upstream.live and status is None:
                # It ended before its follower was written: whoever wrote that may have seen it live.
                status, reason = upstream.row.status, upstream.row.reason
            elif upstream is not None and upstream.live:
                # From here on its end matters to others: it is part of a flow.
                flow, edges = upstream.row.flow or one.id, upstream.row.edges or "{}"
                upstream.row = upstream.row._replace(flow=flow, edges=edges)
                self.change("set", one.id, ["flow", flow, "edges", edges], ["plain"], None)
            self.call("SADD", f"f:{one.id}", run_id)
            told.append((one.id, "" if status is None else json.dumps([status, reason])))
        for some in chunks(told, 1_000):
            self.call("HSET", f"n:{run_id}", *(part for pair in some for part in pair))
        for need, how in told:
            if how:
                self.change("told", run_id, need, how)

    # -- runs that end

    async def end(self, row: Row, *, running: bool = False) -> bool | None:
        """Move a live run to the history, as the row says but for its arguments; its token is that of the row less one.

        Whether others need it; ``None`` if there is no such run any more that runs, or does not, and nothing was done.
        """
        kept = await self.run(row.id)
        if kept is None or not kept.live or kept.row.token != row.token - 1 or (kept.state == RUNNING) is not running:
            return None
        stored = kept.row
        await self.leave_key(kept)
        edges = stored.edges if row.flow is None else row.edges
        row = row._replace(args=stored.args, terms=stored.terms, flow=stored.flow or row.flow, edges=edges)
        kept.row, kept.state, kept.owner = row, ENDED, None
        needed = row.flow is not None and await self._end_in_graph(row)
        names = (*ENDS, "flow", "edges")
        self.change("finish", row.id, row.task, fields_of(row, names), gone_of(row, names))
        terms = terms_of(row.terms)
        if terms.limit_key is not None:
            (await self.key(terms.limit_key)).hold(row.id, 0)
            self.touch(terms.limit_key)
        if terms.once_key is not None:
            await self._end_standing(row, terms.once_key)
        if terms.idempotency is not None:
            await self._end_keys(row)
        if row.flow is not None and row.status == _SUCCESS:
            self.call("SET", f"ms:{row.task}", json.dumps(row))
        return needed

    async def end_waiting(self, row: Row, settled: Settled, error: str | None = None) -> Row | None:
        """End a run that waits, as is said; how it then stands, ``None`` if it no longer waits."""
        ended = row._replace(
            status=settled.status.value,
            reason=None if settled.reason is None else str(settled.reason),  # as it is read, not of an enum
            token=row.token + 1,
            finished_at=settled.at_us,
            error=error,
            result=None,
        )
        return None if await self.end(ended) is None else ended

    async def _end_in_graph(self, row: Row) -> bool:
        if row.edges is not None and needs_of(row):
            await self.need_no_more(row.id)
        tied = self.ties.get(row.id)
        followers = tied.followers if tied else (await self.link.ask(("SMEMBERS", f"f:{row.id}")))[0]
        for follower in followers:
            self.change("told", follower, row.id, json.dumps([row.status, row.reason]))
        return bool(followers)

    async def need_no_more(self, run_id: str) -> None:
        """Let a run need nothing."""
        tied = self.ties.get(run_id)
        needs = tied.needs if tied else (await self.link.ask(("HKEYS", f"n:{run_id}")))[0]
        for need in needs:
            self.call("SREM", f"f:{need}", run_id)
        self.call("DEL", f"n:{run_id}")
        self.call("ZREM", "told", run_id)

    async def _end_standing(self, row: Row, key: str) -> None:
        found = stand_said(await self.text(f"s:{key}"))
        if found is None or found[0] != row.id:
            return
        until_us = stands_until_us(bare_run(row), self.now_us)
        if until_us <= self.now_us:
            self.write_text(f"s:{key}", None)
        else:
            self.write_text(f"s:{key}", json.dumps([row.id, row, until_us]))
            self.call("ZADD", "standing", until_us, key)

    async def _end_keys(self, row: Row) -> None:
        """Note how a run ended with whose keys that is to be known."""
        (keys,) = await self.link.ask(("SMEMBERS", f"ri:{row.id}"))
        for key in keys:
            found = stand_said(await self.text(f"i:{key}"))
            if found is not None and found[0] == row.id:
                self.write_text(f"i:{key}", json.dumps([row.id, row, found[2]]))
        self.call("DEL", f"ri:{row.id}")


@crash_points.transaction
async def transact(
    link: Link,
    work: Callable[[Unit], Awaitable[T]],
    runs: Collection[str] = (),
    keys: Collection[str] = (),
    texts: Collection[str] = (),
) -> T:
    """What ``work`` gives, once what it did is carried out; it is done again as often as others were faster.

    runs, keys, texts: what it will look at, as far as that is known: it is read at once, of very many runs in pieces.
    """
    for _ in range(TRIES):
        run_ids, names, places = (list(dict.fromkeys(given)) for given in (runs, keys, texts))
        first = run_ids[:_READ]
        read = await link.read(first, names, places)
        unit = Unit(link, read.now_us)
        unit.know_read(first, read)
        await unit.load(run_ids[_READ:])
        unit.know_texts(places, read.texts)
        for name, said in zip(names, read.keys, strict=True):
            unit.know_key(name, said)
        answer = await work(unit)
        await unit.close()
        if await unit.commit() is not None:
            return answer
    raise too_busy(link)

"""What a verb does to runs within one transaction: writes, ends and forgets them, and puts right what follows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from asyncsched.deadlines import lapses_us
from asyncsched.limits import Idempotency
from asyncsched.merge import merge, merged_reason, stands_until_us
from asyncsched.policy import NO_LIMIT
from asyncsched.run import RunStatus, Settled, Terms
from asyncsched.stores._postgres.keys import end_keys, keep_key, run_of_key
from asyncsched.stores._postgres.places import pass_on
from asyncsched.stores._postgres.transaction import Transaction, of_given, of_key, of_once
from asyncsched.stores._sqlite.marred import row_said
from asyncsched.stores._sqlite.rows import (
    BLOCKED,
    COLUMNS,
    DELAYED,
    QUEUED,
    READY,
    Row,
    bare_run,
    needs_of,
    terms_of,
    terms_text,
)
from asyncsched.stores._sqlite.unit import HISTORY_LIMIT, Needed, New

_WIDTH = len(Row._fields)
_INSERT = (
    f"INSERT INTO asyncsched.runs ({COLUMNS}, state, plain, queue, priority, grouped, limit_key, arrived_at, "
    f"lapses_at, maker) VALUES ({', '.join(f'${place}' for place in range(1, _WIDTH + 10))})"
)
RECORD = (
    f"INSERT INTO asyncsched.history ({COLUMNS}, queue) "
    f"VALUES ({', '.join(f'${place}' for place in range(1, _WIDTH + 2))}) ON CONFLICT (id) DO NOTHING"
)
_MOVE = (
    "UPDATE asyncsched.runs SET status = $1, reason = $2, attempt = $3, token = $4, node = $5, due_at = $6, "
    "result = NULL, error = $7, notes = $8, state = $9, arrived_at = $10, lapses_at = $11, owner = NULL WHERE id = $12"
)
# Of each task what is beyond its keeping. What somebody still needs the result of stays; so does what another node
# forgets at this moment.
_PRUNE = (
    "DELETE FROM asyncsched.history WHERE id IN (SELECT gone.id FROM unnest($1::text[]) AS e(task) "
    "LEFT JOIN asyncsched.tasks t ON t.id = e.task "
    "CROSS JOIN LATERAL (SELECT h.seq FROM asyncsched.history h WHERE h.task = e.task "
    f"AND coalesce(t.history_limit, {HISTORY_LIMIT}) < {NO_LIMIT} "
    f"ORDER BY h.seq DESC OFFSET coalesce(t.history_limit, {HISTORY_LIMIT}) LIMIT 1) AS last "
    "CROSS JOIN LATERAL (SELECT h.id FROM asyncsched.history h WHERE h.task = e.task AND h.seq <= last.seq "
    "AND NOT EXISTS (SELECT 1 FROM asyncsched.needs n WHERE n.upstream = h.id) FOR UPDATE SKIP LOCKED) AS gone)"
)
_SUCCESS = RunStatus.SUCCESS.value


class Unit:
    """One verb at work. ``close`` it when it has done what it does."""

    def __init__(self, db: Transaction) -> None:
        self.db = db
        self.now_us = db.now_us
        self._keys: set[str] = set()
        self._ended: set[str] = set()
        self._marks: dict[str, str] = {}

    async def close(self) -> None:
        """Let the next of each key be ready, note what graphs look for, and forget what is no longer kept."""
        await self.settle_keys()
        if self._marks:
            await self.db.many(
                "INSERT INTO asyncsched.marks (task, succeeded) VALUES ($1, $2) "
                "ON CONFLICT (task) DO UPDATE SET succeeded = excluded.succeeded",
                sorted(self._marks.items()),  # in one order, so that no two wait for each other
            )
        if self._ended:
            await prune(self.db, self._ended)

    def touch(self, key: str) -> None:
        """Something has become free under this key."""
        self._keys.add(key)

    async def settle_keys(self) -> None:
        """Let the next of each key that was touched be ready."""
        if self._keys:
            keys, self._keys = self._keys, set()
            await pass_on(self.db, keys)

    # -- runs that come

    async def write(self, new: New) -> None:
        """Write a run, which waits from now on, or is blocked."""
        row, needs, maker = new
        terms = terms_of(row.terms)
        state = BLOCKED if needs is not None else self._waits(row.due_at, terms.limit_key)
        lapse_us = None if terms.bounds is None or needs is not None else lapses_us(bare_run(row))
        arrived_us = max(row.due_at, self.now_us)
        plain = row.flow is None and free(terms)
        place = (state, plain, terms.queue, terms.priority, terms.group, terms.limit_key, arrived_us, lapse_us, maker)
        await self.db.execute(_INSERT, *row, *place)
        if needs is not None:
            await self._need(row.id, needs)
        elif state == QUEUED:
            await self.settle_keys()  # who comes first has its place before the next one comes

    async def submit(self, new: New) -> tuple[Row, bool] | None:
        """Write a run unless another stands for it: that one, and whether it took over; ``None`` if it is written."""
        terms = terms_of(new.row.terms)
        await self.db.lock(locks_of(terms))
        if terms.idempotency is not None:
            return await self._submit_keyed(new, terms, terms.idempotency)
        return await self._submit(new, terms)

    async def _submit_keyed(self, new: New, terms: Terms, given: Idempotency) -> tuple[Row, bool] | None:
        """The same of a run with an idempotency key: whatever run it is, it stands for the key."""
        earlier = await run_of_key(self.db, given.key)
        if earlier is not None:
            return earlier, False
        answer = await self._submit(new, terms)
        row = new.row if answer is None else answer[0]
        await keep_key(self.db, given, row)
        if answer is not None and terms_of(row.terms).idempotency is None:  # how it ends is to be known by the key
            kept = terms_text(terms_of(row.terms)._replace(idempotency=given))
            await self.db.execute("UPDATE asyncsched.runs SET terms = $1, plain = false WHERE id = $2", kept, row.id)
        return answer

    async def _submit(self, new: New, terms: Terms) -> tuple[Row, bool] | None:
        if terms.once is None or terms.once_key is None:
            await self.write(new)
            return None
        earlier = await self._standing(terms.once_key)
        verdict = merge(bare_run(new.row), None if earlier is None else bare_run(earlier), self.now_us)
        if earlier is None or verdict == "new":
            await self.db.execute(
                "INSERT INTO asyncsched.standing (key, run) VALUES ($1, $2) "
                "ON CONFLICT (key) DO UPDATE SET run = excluded.run, ended = NULL, until_at = NULL",
                *(terms.once_key, new.row.id),
            )
            await self.write(new)
            return None
        if verdict == "same":
            return earlier, False
        return await self._take_over(earlier, new.row, terms)

    async def _take_over(self, earlier: Row, row: Row, terms: Terms) -> tuple[Row, bool]:
        """Let a waiting run take over the instant, terms and arguments of a newer one."""
        moved = earlier._replace(due_at=row.due_at, terms=row.terms, args=row.args, token=earlier.token + 1)
        state = self._waits(moved.due_at, terms.limit_key)
        await self.db.execute(
            "UPDATE asyncsched.runs SET due_at = $1, terms = $2, args = $3, state = $4, queue = $5, priority = $6, "
            "grouped = $7, limit_key = $8, arrived_at = $9, lapses_at = $10, token = $11 WHERE id = $12",
            *(moved.due_at, moved.terms, moved.args, state, terms.queue, terms.priority, terms.group),
            *(terms.limit_key, max(moved.due_at, self.now_us), lapses_us(bare_run(moved)), moved.token, moved.id),
        )
        return moved, True

    async def _standing(self, key: str) -> Row | None:
        """The run that stands for the key, which nobody claims before this transaction is over."""
        found = await self.db.row("SELECT run, ended, until_at FROM asyncsched.standing WHERE key = $1", key)
        if found is None:
            return None
        run_id, ended, until_us = found
        if ended is None:
            live = await self.db.change(f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1 FOR UPDATE", run_id)
            return Row._make(live[0]) if live else None
        return row_said(ended) if until_us is None or until_us > self.now_us else None

    async def fire(self, new: New) -> Row | None:
        """Write the run of a fire; if another stands for it the record of its skip, which is the answer."""
        if await self.submit(new) is None:
            return None
        once = terms_of(new.row.terms).once
        assert once is not None
        reason = merged_reason(once).value
        skip = new.row._replace(
            status=RunStatus.SKIPPED.value, reason=reason, token=new.row.token + 1, finished_at=self.now_us
        )
        await self.record(skip)
        return skip

    async def admit(self, row: Row) -> None:
        """Let a live run wait as the row says, which was running, handed back or blocked."""
        terms = terms_of(row.terms)
        await self.db.lock(locks_of(terms))
        state = self._waits(row.due_at, terms.limit_key)
        lapse_us = None if terms.bounds is None else lapses_us(bare_run(row))
        values = (row.status, row.reason, row.attempt, row.token, row.node, row.due_at, row.error, row.notes)
        await self.db.execute(_MOVE, *values, state, max(row.due_at, self.now_us), lapse_us, row.id)

    def _waits(self, due_us: int, limit_key: str | None) -> int:
        if due_us > self.now_us:
            return DELAYED
        if limit_key is None:
            return READY
        self._keys.add(limit_key)
        return QUEUED

    async def _need(self, run_id: str, needs: tuple[Needed, ...]) -> None:
        upstreams = sorted(one.id for one in needs)
        # Who ends one of them has done so, or finds that it is needed.
        await self.db.change(
            "SELECT 1 FROM asyncsched.runs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE", upstreams
        )
        await self.db.many(
            "INSERT INTO asyncsched.needs (upstream, run, status, reason) VALUES ($1, $2, $3, $4) "
            "ON CONFLICT (upstream, run) DO UPDATE SET status = excluded.status, reason = excluded.reason",
            [(one.id, run_id, one.status, one.reason) for one in needs],
        )
        # One that ended before its follower was written: whoever wrote that may have seen it live.
        await self.db.execute(
            "UPDATE asyncsched.needs n SET status = h.status, reason = h.reason FROM asyncsched.history h "
            "WHERE n.run = $1 AND n.status IS NULL AND h.id = n.upstream",
            run_id,
        )
        # From here on their ends matter to others: they are part of a flow.
        await self.db.execute(
            "UPDATE asyncsched.runs SET flow = coalesce(flow, id), edges = coalesce(edges, '{}'), plain = false "
            "WHERE id = ANY($1::text[]) AND plain",
            upstreams,
        )
        await self.db.execute(
            "UPDATE asyncsched.runs SET flow = id, edges = '{}' WHERE id = ANY($1::text[]) AND flow IS NULL", upstreams
        )

    # -- runs that end

    async def end(self, row: Row, state: str = "<> 1") -> bool | None:
        """Move a live run to the history, as the row says but for its arguments; its token is that of the row less one.

        Whether others need it; ``None`` if there is no such run in this state any more, and nothing was done.
        """
        gone = await self.db.change(
            f"DELETE FROM asyncsched.runs WHERE id = $1 AND token = $2 AND state {state} "
            "RETURNING args, terms, flow, edges",
            *(row.id, row.token - 1),
        )
        if not gone:
            return None
        args, said, flow, edges = gone[0]
        row = row._replace(args=args, terms=said, flow=flow or row.flow, edges=edges if row.flow is None else row.edges)
        terms = terms_of(row.terms)
        await self.db.lock(locks_of(terms))
        needed = row.flow is not None and await self._end_in_graph(row)
        await self.record(row)
        if terms.limit_key is not None:
            self._keys.add(terms.limit_key)
        if terms.once_key is not None:
            await self._end_standing(row, terms.once_key)
        if terms.idempotency is not None:
            await end_keys(self.db, row)
        if row.flow is not None and row.status == _SUCCESS:
            self._marks[row.task] = json.dumps(row)
        return needed

    async def record(self, row: Row) -> None:
        """Write what has ended into the history."""
        await self.db.execute(RECORD, *row, terms_of(row.terms).queue)
        self._ended.add(row.task)

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
            await self.db.execute("DELETE FROM asyncsched.needs WHERE run = $1", row.id)
        told = (row.status, row.reason, row.id)
        return (
            await self.db.execute("UPDATE asyncsched.needs SET status = $1, reason = $2 WHERE upstream = $3", *told) > 0
        )

    async def _end_standing(self, row: Row, key: str) -> None:
        until_us = stands_until_us(bare_run(row), self.now_us)
        if until_us <= self.now_us:
            await self.db.execute("DELETE FROM asyncsched.standing WHERE key = $1 AND run = $2", key, row.id)
        else:
            await self.db.execute(
                "UPDATE asyncsched.standing SET ended = $1, until_at = $2 WHERE key = $3 AND run = $4",
                *(json.dumps(row), until_us, key, row.id),
            )


def free(terms: Terms) -> bool:
    """Whether neither the start nor the end of a run with these terms changes anything for others."""
    return terms.limit_key is None and terms.once is None and terms.idempotency is None


def locks_of(terms: Terms) -> list[str]:
    """What is locked where a run with these terms comes, goes or waits for something else."""
    locks = [] if terms.limit_key is None else [of_key(terms.limit_key)]
    if terms.once_key is not None:
        locks.append(of_once(terms.once_key))
    if terms.idempotency is not None:
        locks.append(of_given(terms.idempotency.key))
    return locks


async def lock_runs(db: Transaction, run_ids: Sequence[str], condition: str = "true") -> list[Row]:
    """Those of these runs that are live and fit, in the order that is asked for; nobody else changes them from here on.

    What they have to do with others is locked before they are.
    """
    query = f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = ANY($1::text[]) AND {condition}"
    asked = list(run_ids)
    terms = await db.rows(
        "SELECT DISTINCT terms FROM asyncsched.runs WHERE id = ANY($1::text[]) AND terms IS NOT NULL", asked
    )
    await db.lock({lock for (text,) in terms for lock in locks_of(terms_of(text))})
    found = {row.id: row for row in map(Row._make, await db.change(f"{query} ORDER BY id FOR UPDATE", asked))}
    await db.lock({lock for row in found.values() for lock in locks_of(terms_of(row.terms))})
    return [found[run_id] for run_id in dict.fromkeys(asked) if run_id in found]


async def prune(db: Transaction, tasks: Collection[str]) -> None:
    """Forget the oldest of the tasks, beyond what each of them keeps."""
    await db.execute(_PRUNE, sorted(tasks))


async def live_row(db: Transaction, run_id: str) -> Row | None:
    """The run of this id, if it has not ended."""
    found = await db.row(f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1", run_id)
    return None if found is None else Row._make(found)

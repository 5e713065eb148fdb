"""What a verb does to runs within one transaction: writes, ends and forgets them, and puts right what follows."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.again import dump_error
from asyncsched.deadlines import lapses_us
from asyncsched.limits import Idempotency
from asyncsched.merge import merge, stands_until_us
from asyncsched.policy import NO_LIMIT
from asyncsched.run import RunStatus, Settled, Terms
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import HISTORY_LIMIT, New
from asyncsched.stores._durable.rows import (
    BLOCKED,
    COLUMNS,
    DELAYED,
    QUEUED,
    READY,
    Row,
    bare_run,
    merged_row,
    needs_of,
    terms_again,
    terms_of,
)
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.keys import end_keys, keep_key, run_of_key
from asyncsched.stores._postgres.places import pass_on
from asyncsched.stores._postgres.transaction import Transaction, of_given, of_key, of_once

_WIDTH = len(Row._fields)
_INSERT = (
    f"INSERT INTO asyncsched.runs ({COLUMNS}, state, plain, queue, priority, grouped, limit_key, arrived_at, "
    f"lapses_at, maker) VALUES ({', '.join(f'${place}' for place in range(1, _WIDTH + 10))})"
)
RECORD = (
    f"INSERT INTO asyncsched.history ({COLUMNS}, queue) "
    f"VALUES ({', '.join(f'${place}' for place in range(1, _WIDTH + 2))}) ON CONFLICT (id) DO NOTHING"
)
_END = (
    "DELETE FROM asyncsched.runs r USING unnest($1::text[], $2::bigint[]) AS v(id, token) "
    "WHERE r.id = ANY($1::text[]) AND r.id = v.id AND r.token = v.token AND r.state {state} "
    "RETURNING r.id, r.args, r.terms, r.flow, r.edges"
)
_MOVE = (
    "UPDATE asyncsched.runs SET status = $1, reason = $2, attempt = $3, token = $4, node = $5, due_at = $6, "
    "result = NULL, error = $7, notes = $8, state = $9, arrived_at = $10, lapses_at = $11, owner = NULL WHERE id = $12"
)
# Of each task what is beyond its keeping. An index of the places alone would be read through, all tasks' ends, and is
# as good as that of tasks and places where the table is believed to be empty: so these are compared together.
# What somebody still needs the result of stays; so does what another node forgets at this moment.
_PRUNE = (
    "DELETE FROM asyncsched.history WHERE id = ANY(ARRAY(SELECT gone.id "
    "FROM unnest($1::text[], $2::bigint[]) AS e(task, low) "
    f"CROSS JOIN LATERAL (SELECT coalesce((SELECT k.history_limit FROM asyncsched.tasks k WHERE k.id = e.task), "
    f"{HISTORY_LIMIT}) AS history_limit) AS t "
    "CROSS JOIN LATERAL (SELECT h.seq FROM asyncsched.history h WHERE (h.task, h.seq) > (e.task, e.low) "
    f"AND h.task <= e.task AND t.history_limit < {NO_LIMIT} ORDER BY h.task DESC, h.seq DESC "
    "OFFSET t.history_limit LIMIT 1) AS last "
    "CROSS JOIN LATERAL (SELECT h.id FROM asyncsched.history h WHERE (h.task, h.seq) > (e.task, e.low) "
    "AND (h.task, h.seq) <= (e.task, last.seq) "
    "AND NOT EXISTS (SELECT 1 FROM asyncsched.needs n WHERE n.upstream = h.id) FOR UPDATE SKIP LOCKED) AS gone)) "
    "RETURNING task, seq"
)
_SUCCESS = RunStatus.SUCCESS.value


class Unit:
    """One verb at work. ``close`` it when it has done what it does."""

    _look = f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1 FOR UPDATE"
    """How the run that stands for a key is looked at."""

    def __init__(self, db: Transaction) -> None:
        self.db = db
        self.now_us = db.now_us
        self._keys: set[str] = set()
        self._ended: set[str] = set()
        self._marks: dict[str, str] = {}
        self._coming: list[tuple[Any, ...]] = []
        """Runs that are to be written, many at once."""
        self._needing: list[tuple[str, str, str | None, str | None]] = []
        """Whom these need: upstream, run, and how the upstream ended, with the reason."""

    async def close(self) -> None:
        """Let the next of each key be ready, note what graphs look for, and forget what is no longer kept."""
        await self._flush()
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
            await self._flush()
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
        self._coming.append((*row, *place))
        if needs is not None:
            self._needing += [(one.id, row.id, one.status, one.reason) for one in needs]
        elif state == QUEUED:
            await self.settle_keys()  # who comes first has its place before the next one comes

    async def written(self, run_id: str) -> Row | None:
        """The run of this id, live or ended, written by this unit or before."""
        await self._flush()
        return await any_row(self.db, run_id)

    async def _flush(self) -> None:
        """Have in the tables what was written."""
        if self._coming:
            coming, self._coming = self._coming, []
            await self.db.many(_INSERT, coming)
        if self._needing:
            needing, self._needing = self._needing, []
            await self._need(needing)

    async def submit(self, new: New) -> Row | None:
        """Write a run unless another stands for it: that one; ``None`` if it is written."""
        terms = terms_of(new.row.terms)
        await self.db.lock(locks_of(terms))
        if terms.idempotency is not None:
            return await self._submit_keyed(new, terms, terms.idempotency)
        return await self._submit(new, terms)

    async def _submit_keyed(self, new: New, terms: Terms, given: Idempotency) -> Row | None:
        """The same of a run with an idempotency key: whatever run it is, it stands for the key."""
        await self._flush()
        earlier = await run_of_key(self.db, given.key)
        if earlier is not None:
            return earlier
        stands = await self._submit(new, terms)
        await self._flush()
        row = stands or new.row
        await keep_key(self.db, given, row)
        if stands is not None and terms_of(row.terms).idempotency is None:  # how it ends is to be known by the key
            kept = terms_again(row.terms, terms_of(row.terms)._replace(idempotency=given))
            await self.db.execute("UPDATE asyncsched.runs SET terms = $1, plain = false WHERE id = $2", kept, row.id)
        return stands

    async def _submit(self, new: New, terms: Terms) -> Row | None:
        if terms.once is None or terms.once_key is None:
            await self.write(new)
            return None
        await self._flush()
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
            return earlier
        return await self._take_over(earlier, new.row, terms)

    async def _take_over(self, earlier: Row, row: Row, terms: Terms) -> Row:
        """Let a waiting run take over the instant, terms and arguments of a newer one."""
        # Its token grows: whoever holds it, in whichever process, then knows that it is not as it was.
        moved = earlier._replace(due_at=row.due_at, terms=row.terms, args=row.args, token=earlier.token + 1)
        state = self._waits(moved.due_at, terms.limit_key)
        await self.db.execute(
            "UPDATE asyncsched.runs SET due_at = $1, terms = $2, args = $3, state = $4, queue = $5, priority = $6, "
            "grouped = $7, limit_key = $8, arrived_at = $9, lapses_at = $10, token = $11 WHERE id = $12",
            *(moved.due_at, moved.terms, moved.args, state, terms.queue, terms.priority, terms.group),
            *(terms.limit_key, max(moved.due_at, self.now_us), lapses_us(bare_run(moved)), moved.token, moved.id),
        )
        return moved

    async def _standing(self, key: str) -> Row | None:
        """The run that stands for the key, which nobody claims before this transaction is over."""
        found = await self.db.row("SELECT run, ended, until_at FROM asyncsched.standing WHERE key = $1", key)
        if found is None:
            return None
        run_id, ended, until_us = found
        if ended is None:
            live = await self.db.change(self._look, run_id)
            return Row._make(live[0]) if live else None
        return row_said(ended) if until_us is None or until_us > self.now_us else None

    async def fire(self, new: New) -> Row | None:
        """Write the run of a fire; if another stands for it the record of its skip, which is the answer."""
        if await self.submit(new) is None:
            return None
        skip = merged_row(new.row, self.now_us)
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

    async def _need(self, needs: Sequence[tuple[str, str, str | None, str | None]]) -> None:
        upstreams = sorted({upstream for upstream, *_rest in needs})
        # Who ends one of them has done so, or finds that it is needed.
        await self.db.change(
            "SELECT 1 FROM asyncsched.runs WHERE id = ANY($1::text[]) ORDER BY id FOR UPDATE", upstreams
        )
        # One that ended before its follower was written: whoever wrote that may have seen it live.
        await self.db.execute(
            "INSERT INTO asyncsched.needs (upstream, run, status, reason) SELECT DISTINCT ON (v.upstream, v.run) "
            "v.upstream, v.run, coalesce(v.status, h.status), "
            "CASE WHEN v.status IS NULL THEN h.reason ELSE v.reason END "
            "FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS v(upstream, run, status, reason) "
            "LEFT JOIN LATERAL (SELECT o.status, o.reason FROM asyncsched.history o WHERE o.id = v.upstream LIMIT 1) h "
            "ON true ON CONFLICT (upstream, run) "
            "DO UPDATE SET status = excluded.status, reason = excluded.reason",
            *map(list, zip(*needs, strict=True)),
        )
        # From here on their ends matter to others: they are part of a flow.
        await self.db.execute(
            "UPDATE asyncsched.runs SET flow = coalesce(flow, id), edges = coalesce(edges, '{}'), plain = false "
            "WHERE id = ANY($1::text[]) AND (plain OR flow IS NULL)",
            upstreams,
        )

    # -- runs that end

    async def end(self, row: Row, state: str = "<> 1") -> bool | None:
        """``end_all`` of one."""
        (done,) = await self.end_all([row], state)
        return done

    async def end_all(self, rows: Sequence[Row], state: str = "<> 1") -> list[bool | None]:
        """Move live runs to the history, as the rows say but for their arguments; each has its row's token less one.

        Of each whether others need it; ``None`` if there is no such run in this state any more, and nothing was done.
        """
        await self._flush()
        asked = ([row.id for row in rows], [row.token - 1 for row in rows])
        gone = {found[0]: found for found in await self.db.change(_END.format(state=state), *asked)}
        ended: dict[str, Row] = {}
        for row in rows:
            if row.id in gone and row.id not in ended:
                _id, args, said, flow, edges = gone[row.id]
                edges = edges if row.flow is None else row.edges
                ended[row.id] = row._replace(args=args, terms=said, flow=flow or row.flow, edges=edges)
        await self.db.lock({lock for row in ended.values() for lock in locks_of(terms_of(row.terms))})
        needed = await self._end_in_graphs([row for row in ended.values() if row.flow is not None])
        await self.record(*ended.values())
        for row in ended.values():
            if row.terms is not None:
                await self._end_for_others(row, terms_of(row.terms))
            if row.flow is not None and row.status == _SUCCESS:
                self._marks[row.task] = json.dumps(row)
        # One that is named twice ends once.
        return [row.id in needed if ended.pop(row.id, None) is not None else None for row in rows]

    async def _end_for_others(self, row: Row, terms: Terms) -> None:
        if terms.limit_key is not None:
            self._keys.add(terms.limit_key)
        if terms.once_key is not None:
            await self._end_standing(row, terms.once_key)
        if terms.idempotency is not None:
            await end_keys(self.db, row)

    async def _end_in_graphs(self, rows: Sequence[Row]) -> set[str]:
        """Let those that need these runs know how they ended; the runs that any needs."""
        if not rows:
            return set()
        needing = [row.id for row in rows if row.edges is not None and needs_of(row)]
        if needing:
            await self.db.execute("DELETE FROM asyncsched.needs WHERE run = ANY($1::text[])", needing)
        found = await self.db.change(
            "UPDATE asyncsched.needs n SET status = v.status, reason = v.reason "
            "FROM unnest($1::text[], $2::text[], $3::text[]) AS v(id, status, reason) WHERE n.upstream = v.id "
            "AND n.upstream = ANY($1::text[]) "
            "RETURNING n.upstream",
            *([row.id for row in rows], [row.status for row in rows], [row.reason for row in rows]),
        )
        return {upstream for (upstream,) in found}

    async def record(self, *rows: Row) -> None:
        """Write what has ended into the history."""
        if rows:
            await self.db.many(RECORD, [(*row, terms_of(row.terms).queue) for row in rows])
            self._ended.update(row.task for row in rows)

    async def end_waiting(self, rows: Sequence[tuple[Row, Settled]]) -> list[Row]:
        """End runs that wait, as is said; those of them that did, as they then stand."""
        ended = [
            row._replace(
                status=settled.status.value,
                reason=None if settled.reason is None else str(settled.reason),  # as it is read, not of an enum
                token=row.token + 1,
                finished_at=settled.at_us,
                error=dump_error(settled.error),
                result=None,
            )
            for row, settled in rows
        ]
        done = await self.end_all(ended)
        return [row for row, needed in zip(ended, done, strict=True) if needed is not None]

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


async def prune(db: Database, tasks: Collection[str], low: Mapping[str, int] | None = None) -> dict[str, int]:
    """Forget the oldest of the tasks, beyond what each of them keeps; the place of the last that was, of each.

    low: at which place to begin, of some of them; what is needed or locked, and so kept, may be before it.
    """
    asked = sorted(tasks)
    last: dict[str, int] = {}
    for task, place in await db.rows(_PRUNE, asked, [(low or {}).get(task, 0) for task in asked]):
        last[task] = max(place, last.get(task, 0))
    return last


async def any_row(db: Database, run_id: str) -> Row | None:
    """The run of this id, live or ended."""
    found = await db.row(
        f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1 UNION ALL "
        f"SELECT {COLUMNS} FROM asyncsched.history WHERE id = $1 LIMIT 1",
        run_id,
    )
    return None if found is None else Row._make(found)

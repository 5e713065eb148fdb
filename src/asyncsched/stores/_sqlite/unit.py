"""What a verb does to runs within one transaction: writes, ends and forgets them, and puts right what follows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from asyncsched.deadlines import lapses_us
from asyncsched.limits import Idempotency
from asyncsched.merge import merge, stands_until_us
from asyncsched.policy import NO_LIMIT
from asyncsched.run import RunStatus, Settled, Terms
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.orders import HISTORY_LIMIT, Needed, New
from asyncsched.stores._durable.rows import (
    BLOCKED,
    COLUMNS,
    DELAYED,
    MARKS,
    QUEUED,
    READY,
    Row,
    bare_run,
    merged_row,
    needs_of,
    terms_again,
    terms_of,
)
from asyncsched.stores._sqlite.alone import finish
from asyncsched.stores._sqlite.keys import end_keys, keep_key, run_of_key
from asyncsched.stores._sqlite.places import pass_on

_INSERT = (
    f"INSERT INTO asyncsched_runs ({COLUMNS}, state, queue, priority, grouped, limit_key, arrived_at, lapses_at, "
    f"maker) VALUES ({MARKS}, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_RECORD = f"INSERT OR IGNORE INTO asyncsched_history ({COLUMNS}) VALUES ({MARKS})"
_MOVE = (
    "UPDATE asyncsched_runs SET status = ?, reason = ?, attempt = ?, token = ?, node = ?, due_at = ?, result = NULL, "
    "error = ?, notes = ?, state = ?, arrived_at = ?, lapses_at = ? WHERE id = ?"
)
_SUCCESS = RunStatus.SUCCESS.value


class Unit:
    """One verb at work. ``close`` it when it has done what it does."""

    def __init__(self, db: sqlite3.Connection, now_us: int) -> None:
        self.db = db
        self.now_us = now_us
        self._keys: set[str] = set()
        self._ended: set[str] = set()
        self._needs: bool | None = None

    def close(self) -> None:
        """Let the next of each key be ready, and forget what is no longer kept."""
        self.settle_keys()
        for task in self._ended:
            self.prune(task)

    def touch(self, key: str) -> None:
        """Something has become free under this key."""
        self._keys.add(key)

    def settle_keys(self) -> None:
        """Let the next of each key that was touched be ready."""
        if self._keys:
            pass_on(self.db, self._keys, self.now_us)
            self._keys.clear()

    # -- runs that come

    def write(self, new: New) -> None:
        """Write a run, which waits from now on, or is blocked."""
        row, needs, maker = new
        terms = terms_of(row.terms)
        state = BLOCKED if needs is not None else self._waits(row.due_at, terms.limit_key)
        lapse_us = None if terms.bounds is None or needs is not None else lapses_us(bare_run(row))
        arrived_us = max(row.due_at, self.now_us)
        place = (state, terms.queue, terms.priority, terms.group, terms.limit_key, arrived_us, lapse_us, maker)
        self.db.execute(_INSERT, (*row, *place))
        if needs is not None:
            self._need(row.id, needs)
        elif state == QUEUED:
            self.settle_keys()  # who comes first has its place before the next one comes

    def submit(self, new: New) -> Row | None:
        """Write a run unless another stands for it: that one; ``None`` if it is written."""
        terms = terms_of(new.row.terms)
        if terms.idempotency is not None:
            return self._submit_keyed(new, terms, terms.idempotency)
        return self._submit(new, terms)

    def _submit_keyed(self, new: New, terms: Terms, given: Idempotency) -> Row | None:
        """The same of a run with an idempotency key: whatever run it is, it stands for the key."""
        earlier = run_of_key(self.db, given.key, self.now_us)
        if earlier is not None:
            return earlier
        stands = self._submit(new, terms)
        row = stands or new.row
        keep_key(self.db, given, row, self.now_us)
        if stands is not None and terms_of(row.terms).idempotency is None:  # how it ends is to be known by the key
            kept = terms_again(row.terms, terms_of(row.terms)._replace(idempotency=given))
            self.db.execute("UPDATE asyncsched_runs SET terms = ? WHERE id = ?", (kept, row.id))
        return stands

    def _submit(self, new: New, terms: Terms) -> Row | None:
        if terms.once is None or terms.once_key is None:
            self.write(new)
            return None
        self._forget_standing()
        earlier = self._standing(terms.once_key)
        verdict = merge(bare_run(new.row), None if earlier is None else bare_run(earlier), self.now_us)
        if earlier is None or verdict == "new":
            self.db.execute(
                "INSERT OR REPLACE INTO asyncsched_standing (key, run) VALUES (?, ?)", (terms.once_key, new.row.id)
            )
            self.write(new)
            return None
        if verdict == "same":
            return earlier
        # Its token grows: whoever holds it, in whichever process, then knows that it is not as it was.
        moved = earlier._replace(due_at=new.row.due_at, terms=new.row.terms, args=new.row.args, token=earlier.token + 1)
        state = self._waits(moved.due_at, terms.limit_key)
        self.db.execute(
            "UPDATE asyncsched_runs SET due_at = ?, terms = ?, args = ?, token = ?, state = ?, queue = ?, "
            "priority = ?, grouped = ?, limit_key = ?, arrived_at = ?, lapses_at = ? WHERE id = ?",
            (
                *(moved.due_at, moved.terms, moved.args, moved.token, state, terms.queue, terms.priority),
                *(terms.group, terms.limit_key, max(moved.due_at, self.now_us), lapses_us(bare_run(moved)), moved.id),
            ),
        )
        return moved

    def fire(self, new: New) -> Row | None:
        """Write the run of a fire; if another stands for it the record of its skip, which is the answer."""
        if self.submit(new) is None:
            return None
        skip = merged_row(new.row, self.now_us)
        self.record(skip)
        return skip

    def admit(self, row: Row) -> None:
        """Let a live run wait as the row says, which was running, handed back or blocked."""
        terms = terms_of(row.terms)
        state = self._waits(row.due_at, terms.limit_key)
        lapse_us = None if terms.bounds is None else lapses_us(bare_run(row))
        values = (row.status, row.reason, row.attempt, row.token, row.node, row.due_at, row.error, row.notes)
        self.db.execute(_MOVE, (*values, state, max(row.due_at, self.now_us), lapse_us, row.id))

    def _waits(self, due_us: int, limit_key: str | None) -> int:
        if due_us > self.now_us:
            return DELAYED
        if limit_key is None:
            return READY
        self._keys.add(limit_key)
        return QUEUED

    def _need(self, run_id: str, needs: tuple[Needed, ...]) -> None:
        self._needs = True
        rows = [(one.id, run_id, one.status, one.reason) for one in needs]
        columns = "(upstream, run, status, reason)"
        self.db.executemany(f"INSERT OR REPLACE INTO asyncsched_needs {columns} VALUES (?, ?, ?, ?)", rows)
        # One that ended before its follower was written: whoever wrote that may have seen it live.
        self.db.execute(
            "UPDATE asyncsched_needs SET (status, reason) = (SELECT status, reason FROM asyncsched_history h "
            "WHERE h.id = upstream) WHERE run = ? AND status IS NULL "
            "AND EXISTS (SELECT 1 FROM asyncsched_history h WHERE h.id = upstream)",
            (run_id,),
        )
        # From here on their ends matter to others: they are part of a flow.
        self.db.execute(
            "UPDATE asyncsched_runs SET flow = id, edges = '{}' WHERE flow IS NULL "
            "AND id IN (SELECT upstream FROM asyncsched_needs WHERE run = ?)",
            (run_id,),
        )

    # -- runs that end

    def end(self, row: Row, state: str = "!= 1") -> bool | None:
        """Move a live run to the history, as the row says but for its arguments; its token is that of the row less one.

        Whether others need it; ``None`` if there is no such run in this state any more, and nothing was done.
        """
        gone = self.db.execute(
            f"DELETE FROM asyncsched_runs WHERE id = ? AND token = ? AND state {state} "
            "RETURNING args, terms, flow, edges",
            (row.id, row.token - 1),
        ).fetchall()
        if not gone:
            return None
        args, said, flow, edges = gone[0]
        row = row._replace(args=args, terms=said, flow=flow or row.flow, edges=edges if row.flow is None else row.edges)
        needed = self._any_needs() and self._end_in_graph(row)
        self.record(row)
        if row.terms is not None:
            terms = terms_of(row.terms)
            if terms.limit_key is not None:
                self._keys.add(terms.limit_key)
            if terms.once_key is not None:
                self._end_standing(row, terms.once_key)
            if terms.idempotency is not None:
                end_keys(self.db, row)
        if row.flow is not None and row.status == _SUCCESS:
            self.db.execute(
                "INSERT INTO asyncsched_marks (task, succeeded) VALUES (?, ?) "
                "ON CONFLICT (task) DO UPDATE SET succeeded = excluded.succeeded",
                (row.task, json.dumps(row)),
            )
        return needed

    def end_all(self, rows: Sequence[Row]) -> list[bool | None]:
        """``end`` each of these runs, which ran."""
        done = finish(self.db, rows)
        self._ended.update(done.values())
        return [False if row.id in done else self.end(row, "= 1") for row in rows]

    def record(self, row: Row) -> None:
        """Write what has ended into the history."""
        self.db.execute(_RECORD, row)
        self._ended.add(row.task)

    def end_waiting(self, row: Row, settled: Settled, error: str | None = None) -> Row | None:
        """End a run that waits, as is said; how it then stands, ``None`` if it no longer waits."""
        ended = row._replace(
            status=settled.status.value,
            reason=None if settled.reason is None else str(settled.reason),  # as it is read, not of an enum
            token=row.token + 1,
            finished_at=settled.at_us,
            error=error,
            result=None,
        )
        return None if self.end(ended) is None else ended

    def prune(self, task: str) -> None:
        """Forget the oldest of the task, beyond what it keeps. What somebody still needs the result of stays."""
        found = self.db.execute("SELECT history_limit FROM asyncsched_tasks WHERE id = ?", (task,)).fetchone()
        (limit,) = found or (HISTORY_LIMIT,)
        limit = limit if type(limit) is int else HISTORY_LIMIT
        if limit >= NO_LIMIT:
            return
        last = self.db.execute(
            "SELECT seq FROM asyncsched_history WHERE task = ? ORDER BY seq DESC LIMIT 1 OFFSET ?", (task, limit)
        ).fetchone()
        if last is not None:
            self.db.execute(
                "DELETE FROM asyncsched_history WHERE task = ? AND seq <= ? "
                "AND NOT EXISTS (SELECT 1 FROM asyncsched_needs WHERE upstream = asyncsched_history.id)",
                (task, last[0]),
            )

    def _any_needs(self) -> bool:
        """Whether any run needs another one, as few programs have it."""
        if self._needs is None:
            self._needs = self.db.execute("SELECT 1 FROM asyncsched_needs LIMIT 1").fetchone() is not None
        return self._needs

    def _end_in_graph(self, row: Row) -> bool:
        if row.edges is not None and needs_of(row):
            self.db.execute("DELETE FROM asyncsched_needs WHERE run = ?", (row.id,))
        told = (row.status, row.reason, row.id)
        return (
            self.db.execute("UPDATE asyncsched_needs SET status = ?, reason = ? WHERE upstream = ?", told).rowcount > 0
        )

    # -- which run stands for several submits

    def _standing(self, key: str) -> Row | None:
        """The run that stands for the key."""
        found = self.db.execute("SELECT run, ended FROM asyncsched_standing WHERE key = ?", (key,)).fetchone()
        if found is None:
            return None
        return live_row(self.db, found[0]) if found[1] is None else row_said(found[1])

    def _end_standing(self, row: Row, key: str) -> None:
        if not self.db.execute("SELECT 1 FROM asyncsched_standing WHERE key = ? AND run = ?", (key, row.id)).fetchone():
            return
        until_us = stands_until_us(bare_run(row), self.now_us)
        if until_us <= self.now_us:
            self.db.execute("DELETE FROM asyncsched_standing WHERE key = ?", (key,))
        else:
            self.db.execute(
                "UPDATE asyncsched_standing SET ended = ?, until_at = ? WHERE key = ?", (json.dumps(row), until_us, key)
            )

    def _forget_standing(self) -> None:
        self.db.execute("DELETE FROM asyncsched_standing WHERE until_at <= ?", (self.now_us,))


def live_row(db: sqlite3.Connection, run_id: str) -> Row | None:
    """The run of this id, if it has not ended."""
    found = db.execute(f"SELECT {COLUMNS} FROM asyncsched_runs WHERE id = ?", (run_id,)).fetchone()
    return None if found is None else Row._make(found)


def any_row(db: sqlite3.Connection, run_id: str) -> Row | None:
    """The run of this id, live or ended."""
    found = live_row(db, run_id)
    if found is None:
        ended = db.execute(f"SELECT {COLUMNS} FROM asyncsched_history WHERE id = ?", (run_id,)).fetchone()
        found = None if ended is None else Row._make(ended)
    return found


def upstreams_of(db: sqlite3.Connection, rows: list[Row]) -> dict[str, Row]:
    """The runs that these need, as far as they are kept."""
    found: dict[str, Row] = {}
    for row in rows:
        if row.edges is not None:
            for need in needs_of(row):
                if need not in found and (upstream := any_row(db, need)) is not None:
                    found[need] = upstream
    return found

"""Rows that nobody can work with: found by what their columns hold, and put aside with the reason, in a transaction."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable
from contextlib import suppress

from asyncsched.errors import AsyncschedError
from asyncsched.run import FINAL
from asyncsched.stored import FOREVER
from asyncsched.stores._durable.marred import COUNTS, EARLIEST_US, INSTANTS, LATEST_US, MOST, PARKED_AS
from asyncsched.stores._durable.rows import PARKED, RUNNING
from asyncsched.stores._sqlite.connection import read_anything
from asyncsched.stores._sqlite.places import pass_on

log = logging.getLogger("asyncsched.stores")

_NAMES = ("id", "task", "queue", "grouped", "limit_key", "flow", "maker", "owner")
_REQUIRED_TEXTS = ("id", "task", "queue", "maker")
_TEXTS = (
    *("terms", "args", "reason", "node", "result", "error", "notes", "retry_of", "flow", "edges"),
    *("grouped", "limit_key", "owner"),
)


def _whole(name: str, least: int, most: int) -> str:
    return f"(typeof({name}) != 'integer' OR {name} NOT BETWEEN {least} AND {most})"


# Each column of a live run that may hold what nobody can work with, and when it does.
_WRONG = {
    **{name: _whole(name, EARLIEST_US, LATEST_US) for name in ("created_at", "due_at", "arrived_at")},
    **{
        name: f"({name} IS NOT NULL AND {_whole(name, EARLIEST_US, LATEST_US)})"
        for name in (*INSTANTS[2:], "lapses_at")
    },
    **{name: _whole(name, 0, MOST) for name in (*COUNTS, "lost", "holds")},
    "priority": _whole("priority", -MOST, MOST),
    **{name: f"typeof({name}) != 'text'" for name in _REQUIRED_TEXTS},
    **{name: f"typeof({name}) NOT IN ('text', 'null')" for name in _TEXTS},
    "state": f"(state NOT BETWEEN 0 AND {PARKED} OR typeof(state) != 'integer')",
    "status": f"(status != CASE state WHEN {RUNNING} THEN 'RUNNING' ELSE 'PENDING' END)",
    "owner, which is nobody,": f"(state = {RUNNING} AND owner IS NULL)",
    "limit_key, which is none,": "(state = 4 AND limit_key IS NULL)",
}
_FIND = (
    "SELECT seq, id, task, limit_key, wrong FROM (SELECT seq, id, task, limit_key, state, CASE "
    + " ".join(f"WHEN {wrong} THEN '{name}'" for name, wrong in _WRONG.items())
    + f" END AS wrong FROM asyncsched_runs) WHERE wrong IS NOT NULL AND state IS NOT {PARKED}"
)
_SOUND = " AND ".join(f"NOT {wrong}" for name, wrong in _WRONG.items() if name not in ("state", "status"))
_SCREENED = f"coalesce(reason LIKE '{PARKED_AS}: its % cannot be that', 0)"
SOUND = f"{_SOUND} AND NOT {_SCREENED}"
"""Of a parked run: whether its columns hold what they may, and did when this process came: it is tried again."""
_RECONSIDER = f"UPDATE asyncsched_runs SET reason = ? WHERE state = {PARKED} AND {_SCREENED} AND {_SOUND}"
_PARK = (
    f"UPDATE asyncsched_runs SET state = {PARKED}, status = 'PENDING', reason = ?, owner = NULL, node = NULL, "
    f"lapses_at = NULL, holds = 0, stop = NULL, attempt = CASE WHEN {_WRONG['attempt']} THEN 0 ELSE attempt END, "
    f"token = CASE WHEN {_WRONG['token']} THEN {2**31} ELSE token + 1 END WHERE seq = ?"
)
_ENDS = ", ".join(f"'{status.value}'" for status in sorted(FINAL))
# What a rate knows of its starts is forgotten where it cannot be read; as is which run stands for a key.
_FORGET = (
    """DELETE FROM asyncsched_keys WHERE typeof(key) != 'text' OR typeof(count) != 'integer'
        OR typeof(period) != 'integer' OR typeof(last_at) NOT IN ('integer', 'null')
        OR typeof(wake_at) NOT IN ('integer', 'null') OR CASE WHEN NOT json_valid(starts) THEN 1
        WHEN json_type(starts) != 'array' THEN 1
        ELSE EXISTS (SELECT 1 FROM json_each(starts) WHERE type != 'integer') END""",
    """DELETE FROM asyncsched_standing WHERE typeof(key) != 'text' OR typeof(run) != 'text'
        OR typeof(until_at) NOT IN ('integer', 'null')""",
    # A task is then armed as code declares it. One whose pause cannot be read stays paused.
    f"""UPDATE asyncsched_tasks SET declaration = 'null', next_at = NULL,
        version = CASE WHEN typeof(version) = 'integer' THEN version ELSE -abs(random() % {MOST}) END,
        history_limit = CASE WHEN typeof(history_limit) = 'integer' THEN history_limit ELSE 100 END,
        paused_until_at = CASE WHEN paused_until_at IS NULL OR typeof(paused_until_at) = 'integer'
            THEN paused_until_at ELSE {FOREVER} END,
        skip_at = NULL, made = CASE WHEN typeof(made) = 'integer' THEN made ELSE 0 END
        WHERE typeof(next_at) NOT IN ('integer', 'null') OR next_at NOT BETWEEN {EARLIEST_US} AND {LATEST_US}
        OR {_whole("version", -MOST, MOST)} OR {_whole("history_limit", 0, FOREVER)}
        OR (paused_until_at IS NOT NULL AND {_whole("paused_until_at", EARLIEST_US, FOREVER)})
        OR (skip_at IS NOT NULL AND {_whole("skip_at", EARLIEST_US, LATEST_US)}) OR {_whole("made", 0, MOST)}""",
    f"""UPDATE asyncsched_counts
        SET value = 1 + (SELECT coalesce(max(version), 0) FROM asyncsched_tasks WHERE typeof(version) = 'integer')
        WHERE {_whole("value", 0, MOST)}""",
    # Behind the greatest place that there can be nothing can be written any more.
    *(
        f"UPDATE OR IGNORE asyncsched_{table} SET seq = 1 + (SELECT coalesce(max(seq), 0) FROM asyncsched_{table} "
        f"WHERE seq < {MOST}) WHERE seq >= {MOST}"
        for table in ("runs", "history")
    ),
    # How an upstream ended is looked up again; of one that is gone nothing good is known.
    f"""UPDATE asyncsched_needs SET status = coalesce(
            (SELECT status FROM asyncsched_history h WHERE h.id = upstream AND status IN ({_ENDS})),
            CASE WHEN EXISTS (SELECT 1 FROM asyncsched_runs r WHERE r.id = upstream) THEN NULL ELSE 'FAILED' END)
        WHERE status NOT IN ({_ENDS})""",
)


def reconsider(db: sqlite3.Connection) -> None:
    """Let those be tried again that were put aside before and have been mended since."""
    db.execute(_RECONSIDER, (f"{PARKED_AS} before",))


def screen(db: sqlite3.Connection, now_us: int) -> int:
    """Put aside the live runs that nobody can work with, and forget what cannot be read beside them; how many."""
    found = db.execute(_FIND).fetchall()
    beside = sum(db.execute(statement).rowcount for statement in _FORGET)
    for seq, run_id, task, _key, wrong in found:
        why = f"{PARKED_AS}: its {wrong} cannot be that"
        log.error("run %s of task %s is put aside: its %s cannot be that", run_id, task, wrong)
        db.execute(_PARK, (why, seq))
    pass_on(db, {key for *_run, key, _wrong in found if isinstance(key, str)}, now_us)  # those that they held up
    return len(found) + beside


def repair(db: sqlite3.Connection) -> int:
    """Put aside the live runs that bear a name which is no text, and make one of it; how many."""
    asked = ", ".join(f"CAST({name} AS BLOB)" for name in _NAMES)
    found = 0
    for seq, *given in db.execute(f"SELECT seq, {asked} FROM asyncsched_runs").fetchall():
        wrong = [(name, text) for name, text in zip(_NAMES, given, strict=True) if not _is_text(text)]
        for name, text in wrong:
            repaired = text.decode("utf-8", "replace")
            db.execute(f"UPDATE OR IGNORE asyncsched_runs SET {name} = ? WHERE seq = ?", (repaired, seq))
            db.execute(_PARK, (f"{PARKED_AS}: its {name} cannot be that", seq))
        found += bool(wrong)
    return found


def _is_text(text: bytes | None) -> bool:
    try:
        return text is None or text.decode() is not None
    except UnicodeDecodeError:
        return False


def mend(db: sqlite3.Connection, error: BaseException, now_us: Callable[[], int]) -> bool:
    """What to do about a request that failed by what it found in the file; whether it is worth another try."""
    by_rows = read_anything(db, error) or not isinstance(error, sqlite3.Error | AsyncschedError | OSError)
    if not (by_rows or getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_MISMATCH):
        return False
    try:
        db.execute("BEGIN IMMEDIATE")
        found = repair(db) + screen(db, now_us())
        db.execute("COMMIT")
    except sqlite3.Error:
        return False
    finally:
        if db.in_transaction:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
    return found > 0 or str(error).startswith("Could not decode")

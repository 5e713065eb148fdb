"""One stroke: what of a node's runs is over ends, what is due is ready, and what is ready begins, in one statement.

It is about runs that concern nobody else. Where anything else is to be done first it claims nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.deadlines import lapses_us
from asyncsched.run import NO_TERMS, RunStatus
from asyncsched.stores._base import Ack
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.rows import DELAYED, READY, Row, bare_run
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.pile import bounded
from asyncsched.stores._postgres.plain import (
    ANY_QUEUE,
    FOUND,
    LAPSES_US,
    NODE,
    START,
    THESE_QUEUES,
    Claimed,
    given,
    is_end,
    joined,
    taken_apart,
    told,
    turned,
    with_room,
)
from asyncsched.stores._postgres.unit import free
from asyncsched.values import Values

_WOKEN_AT_ONCE = 10_000
_ACKS = (
    ("id", "text"), ("token", "bigint"), ("status", "text"), ("reason", "text"), ("finished_at", "bigint"),
    ("result", "text"), ("error", "text"), ("notes", "text"), ("attempt", "bigint"), ("due_at", "bigint"),
    ("lapses_at", "bigint"),
)  # fmt: skip
# Of successes without notes, as most ends are, few columns are sent, and the texts among them each as one.
_SUCCESS = RunStatus.SUCCESS.value
_SUCCESSES = (("id", "text"), ("token", "bigint"), ("finished_at", "bigint"), ("result", "text"))
_TEXTS = ("id", "result")
# What a run was is in its row, how it ended is told.
_TOLD = {"status", "reason", "finished_at", "result", "error", "notes"}
_KEPT = (*Row._fields, "queue")
_GONE = ", ".join(f"v.{name}" if name in _TOLD else f"r.{name}" for name in _KEPT)
_ENDED = ", ".join("d.token + 1" if name == "token" else f"d.{name}" for name in _KEPT)


def _acks(told: Sequence[tuple[str, str]], first: int) -> str:
    """The acknowledgements, of which these columns are given; if not all are, they are successes."""
    unsaid = [f"'{_SUCCESS}' AS status" if one == "status" else f"NULL::{kind} AS {one}"
              for one, kind in _ACKS if (one, kind) not in told]  # fmt: skip
    return f"SELECT {', '.join(['*', *unsaid])} FROM {given(told, 'v', first, _TEXTS if told is _SUCCESSES else ())}"


_BACK = (
    "UPDATE asyncsched.runs r SET status = v.status, reason = v.reason, attempt = v.attempt, "
    "token = r.token + 1, node = NULL, owner = NULL, due_at = v.due_at, result = NULL, error = v.error, "
    f"notes = v.notes, state = CASE WHEN v.due_at > {{now}} THEN {DELAYED} ELSE {READY} END, "
    "arrived_at = greatest(v.due_at, {now}), lapses_at = v.lapses_at FROM v WHERE {mine} "
    "AND v.finished_at IS NULL AND r.stop IS NULL RETURNING v.n, v.due_at, v.lapses_at"
)
_NOBODY = "SELECT n, due_at, lapses_at FROM v WHERE false"


_WAKES = (
    f"w AS (UPDATE asyncsched.runs SET state = {READY} WHERE id = ANY(ARRAY(SELECT o.id FROM asyncsched.runs o "
    f"WHERE o.state = {DELAYED} AND o.due_at <= (SELECT now FROM t) AND o.limit_key IS NULL "
    f"ORDER BY o.due_at LIMIT {_WOKEN_AT_ONCE} FOR UPDATE SKIP LOCKED))), "
)


def _statement(told: Sequence[tuple[str, str]], queues: str, first: int, *, wakes: bool) -> str:
    """The whole of it, ``told`` so much of each end; the parameters behind those of the claim begin with ``first``."""
    acks, may_claim = first, first + len(told)
    ids = taken_apart(acks) if told is _SUCCESSES else f"${acks}::text[]"
    mine = f"r.id = ANY({ids}) AND r.id = v.id AND r.token = v.token AND r.plain"
    now = "(SELECT now FROM t)"
    # A smallest one, not any: whatever is believed of the table, that is a look at the end of an index.
    return (
        f"WITH RECURSIVE t AS MATERIALIZED (SELECT asyncsched.now_us() AS now), "
        f"v AS ({_acks(told, acks)}), "
        f"d AS (DELETE FROM asyncsched.runs r USING v WHERE {mine} AND v.finished_at IS NOT NULL "
        f"RETURNING {_GONE}, v.n, r.maker), "
        # Who has deleted the row is alone with it: to look what stands there costs less than ON CONFLICT does.
        f"h AS (INSERT INTO asyncsched.history ({', '.join(_KEPT)}) SELECT {_ENDED} FROM d WHERE NOT EXISTS "
        f"(SELECT 1 FROM asyncsched.history o WHERE o.id = ANY({ids}) AND o.id = d.id) ORDER BY d.n), "
        f"b AS ({_NOBODY if told is _SUCCESSES else _BACK.format(mine=mine, now=now)}), "
        f"{_WAKES if wakes else ''}"
        "m AS MATERIALIZED (SELECT (SELECT min(due_at) FROM asyncsched.runs WHERE state = 2) AS due_at, "
        "(SELECT min(due_at) FROM asyncsched.runs WHERE state = 2 AND limit_key IS NOT NULL) AS keyed_at, "
        "(SELECT min(wake_at) FROM asyncsched.keys WHERE wake_at IS NOT NULL) AS wake_at, "
        "(SELECT max(last_at) FROM asyncsched.keys WHERE last_at IS NOT NULL) AS last_at, "
        f"{LAPSES_US} AS lapses_at), "
        "f AS MATERIALIZED (SELECT "
        "coalesce(least(m.keyed_at, m.wake_at) <= t.now, false) OR coalesce(m.last_at > t.now, false) AS waking, "
        "coalesce(m.lapses_at <= t.now, false) AS lapsing, "
        f"(SELECT min(queue) FROM asyncsched.runs WHERE state = 0 AND (holds >= {PROMISE} OR lost >= {SUSPECT})) "
        "IS NOT NULL "
        "AS special, coalesce(m.due_at <= t.now, false) AS due FROM t CROSS JOIN m), "
        f"g AS MATERIALIZED (SELECT ${may_claim}::boolean AND NOT (waking OR lapsing OR special OR due) AS go FROM f), "
        f"n AS MATERIALIZED ({NODE} AND (SELECT go FROM g)), {queues}, {START} "
        "SELECT ARRAY(SELECT n FROM v EXCEPT (SELECT n FROM d UNION ALL SELECT n FROM b)) AS missed, "
        f"EXISTS (SELECT 1 FROM d WHERE d.maker <> $1) OR EXISTS (SELECT 1 FROM b) AS tell, "
        "f.waking, f.lapsing, f.special, f.due, g.go, "
        f"{FOUND}, least(m.due_at, m.wake_at, (SELECT min(due_at) FROM b)) AS next_us, "
        f"least(m.lapses_at, (SELECT min(lapses_at) FROM b)) AS lapses_us, u.* "
        "FROM t CROSS JOIN m CROSS JOIN f CROSS JOIN g LEFT JOIN u ON true ORDER BY u.place"
    )


_STATEMENTS: dict[tuple[tuple[tuple[str, str], ...], bool, bool], str] = {
    (told, any_queue, wakes): _statement(
        told, ANY_QUEUE if any_queue else THESE_QUEUES, 5 if any_queue else 7, wakes=wakes
    )
    for told in (_ACKS, _SUCCESSES)
    for any_queue in (True, False)
    for wakes in (True, False)
}
_BEFORE = 7


class Stroke(NamedTuple):
    """What one did.

    missed: the places of the acknowledgements that did not count: those runs concern others, or are not the node's.
    tell: whether other nodes may want to know of those that did.
    waking, lapsing: whether something that has a key is due, and whether runs have waited too long.
    special: whether runs are ready that are not to be claimed in this way.
    due: whether runs were due that were still said to be delayed.
    claimed: what was claimed; ``None`` if that is still to be done.
    """

    missed: set[int]
    tell: bool
    waking: bool
    lapsing: bool
    special: bool
    due: bool
    claimed: Claimed | None


class Ends(NamedTuple):
    """What became of attempts, as the columns that are told of them."""

    told_of: tuple[tuple[str, str], ...]
    columns: Sequence[Any]


NOTHING = Ends(_SUCCESSES, ["", [], [], ""])


def successes(acks: Sequence[Ack], values: Callable[[str], Values]) -> Ends | None:
    """These, if they are successes of runs that concern nobody else, as most are; ``None`` if there is more to tell."""
    told = []
    for run, token, settled in acks:
        status, at_us, _due_us, result, error, reason = settled
        more = error is not None or reason is not None or run.notes is not None or run.edges is not None
        if more or status is not RunStatus.SUCCESS or not (run.terms is NO_TERMS or free(run.terms)):
            return None
        told.append((run.id, token, at_us, None if result is None else values(run.task).dump_result(result)))
    ids, tokens, finished, results = turned(told, len(_SUCCESSES))
    texts = joined(ids), joined(results)
    return None if None in texts else Ends(_SUCCESSES, [texts[0], tokens, finished, texts[1]])


def ends_of(rows: Sequence[Row]) -> Ends:
    """What rows say became of their attempts."""
    return Ends(_ACKS, turned([_told_of(row) for row in rows], len(_ACKS))) if rows else NOTHING


async def strike(
    db: Database,
    ends: Ends,
    owner: str,
    node: str,
    limit: int,
    others: Collection[str],
    queues: Mapping[str, int] | None,
    *,
    claims: bool,
    wakes: bool,
    low_us: int | None = None,
) -> Stroke:
    """End these runs or let them wait for their next attempts, as they say; then claim, if ``claims`` and it can be.

    wakes: let those be ready that are due; else nothing is claimed while there are any.
    low_us: nothing is ready that is due before, if that is known.
    """
    asked = (owner, node, limit, list(others), *with_room(queues))
    statement, values = _STATEMENTS[ends.told_of, queues is None, wakes], (*asked, *ends.columns, claims)
    if low_us is not None:
        values = (*values, low_us)
        statement = bounded(statement, len(values))
    found = await db.rows(statement, *values)
    missed, tell, waking, lapsing, special, due, went = found[0][:_BEFORE]
    claimed = told(found, _BEFORE) if went else None
    return Stroke({place - 1 for place in missed}, tell, waking, lapsing, special, due, claimed)


def _told_of(row: Row) -> tuple[Any, ...]:
    """An acknowledgement as its columns."""
    ends = is_end(row)
    lapse_us = None if ends or row.terms is None else lapses_us(bare_run(row))
    told = (row.id, row.token - 1, row.status, row.reason, row.finished_at if ends else None, row.result)
    return (*told, row.error, row.notes, row.attempt, row.due_at, lapse_us)

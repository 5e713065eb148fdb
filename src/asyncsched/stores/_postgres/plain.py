"""Runs that concern nobody else, as most do: written, fired, ended and claimed, many at a time in one statement."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.deadlines import lapses_us
from asyncsched.run import FINAL, NO_TERMS, Run
from asyncsched.stores._durable.admission import PROMISE
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.orders import Order
from asyncsched.stores._durable.rows import DELAYED, READY, Row, terms_text
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.met import on_their_way
from asyncsched.stores._postgres.pile import bounded
from asyncsched.stores._postgres.unit import free
from asyncsched.values import Values

Columns = list[list[Any]]

# What is told of a run that comes: the rest of its row is as it always is then.
_COMING = (
    ("id", "text"), ("task", "text"), ("created_at", "bigint"), ("due_at", "bigint"), ("scheduled_at", "bigint"),
    ("stands_for", "bigint"), ("terms", "text"), ("args", "text"), ("retry_of", "text"), ("queue", "text"),
    ("priority", "bigint"), ("grouped", "text"), ("lapses_at", "bigint"), ("maker", "text"),
)  # fmt: skip
_KINDS = {**dict.fromkeys(Row._fields, "text"), **dict.fromkeys(
    ("created_at", "due_at", "scheduled_at", "stands_for", "attempt", "token", "first_at", "started_at", "finished_at"),
    "bigint",
)}  # fmt: skip
_SKIP = (*((name, _KINDS[name]) for name in Row._fields), ("queue", "text"))


def given(columns: Sequence[tuple[str, str]], alias: str, first: int, texts: Collection[str] = ()) -> str:
    """The rows of an array for each column, whose parameters begin with this one; ``n`` is their place.

    texts: those that are given ``joined``.
    """
    arrays = ", ".join(
        taken_apart(place) if name in texts else f"${place}::{kind}[]"
        for place, (name, kind) in enumerate(columns, first)
    )
    names = ", ".join(name for name, _kind in columns)
    return f"unnest({arrays}) WITH ORDINALITY AS {alias}({names}, n)"


_NAMES = ", ".join(name for name, _kind in _COMING)
_THESE = ", ".join(f"r.{name}" for name, _kind in _COMING)
_WRITE = (
    f"INSERT INTO asyncsched.runs ({_NAMES}, state, plain, arrived_at, status, attempt, token) SELECT {_THESE}, "
    f"CASE WHEN r.due_at > (SELECT now FROM t) THEN {DELAYED} ELSE {READY} END, true, "
    "greatest(r.due_at, (SELECT now FROM t)), 'PENDING', 0, 0 "
)
_TIME = "WITH t AS MATERIALIZED (SELECT asyncsched.now_us() AS now)"
_INSERT = f"{_TIME} {_WRITE} FROM {given(_COMING, 'r', 1)} ORDER BY r.n"
# To send an array costs by its values, none among them. What is the same of all runs is sent once. Texts are sent as
# one, which costs an eighth of that, joined by what neither an id nor JSON contains.
_JOINT, _NOTHING = "\x1f", "\x1e"
_OWN = ("id", "args")
_TIMES = ("created_at", "due_at")


def joined(column: Sequence[str | None]) -> str | None:
    """The texts as one, for ``taken_apart``; ``None`` if they cannot be told apart again."""
    text = _JOINT.join([_NOTHING if one is None else one for one in column])
    apart = text.count(_JOINT) == max(0, len(column) - 1) and text.count(_NOTHING) == column.count(None)
    return text if apart and (text or not column) else None


def taken_apart(place: int) -> str:
    """The texts of a parameter as an array."""
    return f"string_to_array(${place}::text, chr({ord(_JOINT)}), chr({ord(_NOTHING)}))"


def _insert_alike(own: Sequence[str], times: Sequence[str]) -> str:
    """Write runs that are alike but for their ``own`` texts and their ``times``."""
    kinds = dict(_COMING)
    texts = [taken_apart(place) for place, _name in enumerate(own, 1)]
    arrays = [f"${place}::{kinds[name]}[]" for place, name in enumerate(times, len(own) + 1)]
    rest = [name for name, _kind in _COMING if name not in (*own, *times)]
    same = [f"${place}::{kinds[name]} AS {name}" for place, name in enumerate(rest, len(own) + len(times) + 1)]
    return (
        f"{_TIME} {_WRITE} FROM (SELECT *, {', '.join(same)} FROM unnest({', '.join(texts + arrays)}) "
        f"WITH ORDINALITY AS v({', '.join((*own, *times))}, n)) AS r ORDER BY r.n"
    )


_INSERT_ALIKE = _insert_alike(_OWN, _TIMES)
_INSERT_TOGETHER = _insert_alike(_OWN, ())
_TELLING = {
    statement: f"{_TIME}, i AS ({statement.removeprefix(_TIME)}) "
    f"SELECT pg_notify(${len(_COMING) + 1}, ${len(_COMING) + 2})"
    for statement in (_INSERT, _INSERT_ALIKE, _INSERT_TOGETHER)
}
"""The same, and a hint."""
_TASKS = (
    ("id", "text"), ("version", "bigint"), ("was", "bigint"), ("next", "bigint"), ("counted", "bigint"),
    ("number", "bigint"), ("most", "bigint"),
)  # fmt: skip
_SKIPPED = ", ".join(name for name, _kind in _SKIP)
# A fire that does not see the last transaction that let a run of its task go has counted too few, and loses.
_FIRE = (
    f"{_TIME}, v AS (SELECT * FROM {given(_TASKS, 'v', 1)}), "
    "l AS MATERIALIZED (SELECT k.id, v.next, v.counted, v.number, v.most FROM asyncsched.tasks k "
    "JOIN v ON v.id = k.id WHERE k.id = ANY($1::text[]) AND k.version = v.version "
    "AND k.next_at IS NOT DISTINCT FROM v.was AND (v.was IS NULL OR v.was <= (SELECT now FROM t)) "
    "AND (k.touched IS NULL "
    "OR pg_visible_in_snapshot(k.touched, pg_current_snapshot())) ORDER BY k.id FOR UPDATE OF k SKIP LOCKED), "
    "m AS (SELECT l.id, l.next, l.counted FROM l WHERE l.number IS NULL OR l.number = "
    f"{on_their_way('l.id', '(SELECT now FROM t)', 'l.most')}), "
    "a AS (UPDATE asyncsched.tasks k SET next_at = m.next, made = k.made + m.counted FROM m "
    "WHERE k.id = ANY($1::text[]) AND k.id = m.id "
    "RETURNING k.id), "
    f"i AS ({_WRITE} FROM {given(_COMING, 'r', 8)} JOIN a ON a.id = r.task ORDER BY r.n), "
    f"s AS (INSERT INTO asyncsched.history ({_SKIPPED}) SELECT {', '.join(f's.{name}' for name, _kind in _SKIP)} "
    f"FROM {given(_SKIP, 's', 8 + len(_COMING))} JOIN a ON a.id = s.task ORDER BY s.n ON CONFLICT (id) DO NOTHING) "
    "SELECT id FROM a"
)


def plain(run: Run[Any]) -> bool:
    """Whether a new run concerns nobody else: its row is all that there is to be written."""
    return run.edges is None and (run.terms is NO_TERMS or free(run.terms))


def columns_of(runs: Sequence[Run[Any]], values: Callable[[str], Values], maker: str) -> Columns:
    """Such runs as the columns that are written of them.

    Raises:
        ArgumentsError: an argument cannot be stored.
    """
    rows = []
    for run in runs:
        terms, args, kwargs = run.terms, run.args, run.kwargs
        text = values(run.task).dump_arguments(args, kwargs) if args or kwargs else None
        said = None if terms is NO_TERMS else terms_text(terms)
        row = (run.id, run.task, run.created_us, run.due_us, run.scheduled_us, run.stands_for, said, text, run.retry_of)
        lapse_us = None if terms.bounds is None else lapses_us(run)
        rows.append((*row, terms.queue, terms.priority, terms.group, lapse_us, maker))
    return turned(rows, len(_COMING))


def turned(rows: Sequence[Sequence[Any]], width: int) -> Columns:
    """The rows as columns."""
    return list(map(list, zip(*rows, strict=True))) if rows else [[] for _ in range(width)]


async def insert(db: Database, columns: Columns, hint: tuple[str, str] | None = None) -> None:
    """Write such runs; with ``hint`` let those hear that text who listen to that channel."""
    statement, values = _narrowed(columns)
    await db.execute(statement if hint is None else _TELLING[statement], *values, *(hint or ()))


def _narrowed(columns: Columns) -> tuple[str, Sequence[Any]]:
    """The statement that takes the least of such runs, and what it takes."""
    named = dict(zip((name for name, _kind in _COMING), columns, strict=True))
    texts = [joined(named.pop(name)) for name in _OWN]
    same = {name for name, column in named.items() if column.count(column[0]) == len(column)}
    if None in texts or not named.keys() <= same.union(_TIMES):
        return _INSERT, columns
    times = [] if len(same) == len(named) else [named.pop(name) for name in _TIMES]
    return _INSERT_ALIKE if times else _INSERT_TOGETHER, [*texts, *times, *(column[0] for column in named.values())]


async def fire(db: Database, orders: Sequence[Order], runs: Columns, skips: Sequence[tuple[Any, ...]]) -> set[str]:
    """Carry out the orders, each of another task, whose runs are such; the tasks of those that counted."""
    heads = [
        (
            *(one.task, one.version, one.was_us, one.next_us, one.counted),
            *((None, 0) if one.met is None else (one.met.number, one.met.most)),
        )
        for one in orders
    ]
    won = await db.rows(_FIRE, *turned(heads, len(_TASKS)), *runs, *turned(skips, len(_SKIP)))
    return {task for (task,) in won}


# -- claims

# Leases are by the server's own clock. The row of one is locked where anything is claimed: who takes the node for dead
# waits for that, or has done it.
WALL_US = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
NODE = f"SELECT 1 FROM asyncsched.nodes WHERE id = $1 AND expires_at > {WALL_US}"
ANY_QUEUE = (
    "q(name, free) AS (SELECT min(queue), $3 + 1 FROM asyncsched.runs WHERE state = 0 UNION ALL "
    "SELECT (SELECT min(r.queue) FROM asyncsched.runs r WHERE r.state = 0 AND r.queue > q.name), $3 + 1 FROM q "
    "WHERE q.name IS NOT NULL)"
)
THESE_QUEUES = (
    "q(name, free) AS (SELECT name, least(free, $3 + 1) FROM unnest($5::text[], $6::bigint[]) AS given(name, free))"
)
_COLUMNS = ", ".join(f"r.{name}" for name in Row._fields)
START = (
    "c AS MATERIALIZED (SELECT f.id, row_number() OVER (ORDER BY f.priority DESC, f.due_at, f.seq) AS place "
    "FROM q CROSS JOIN LATERAL (SELECT r.id, r.priority, r.due_at, r.seq FROM asyncsched.runs r "
    "WHERE r.state = 0 AND r.queue = q.name AND r.task <> ALL($4::text[]) "
    f"AND r.holds < {PROMISE} AND r.lost < {SUSPECT} "
    "ORDER BY r.priority DESC, r.due_at, r.seq LIMIT q.free FOR UPDATE SKIP LOCKED) AS f "
    "WHERE EXISTS (SELECT 1 FROM n) ORDER BY 2 LIMIT $3 + 1), "
    f"k AS MATERIALIZED ({NODE} AND EXISTS (SELECT 1 FROM c) FOR KEY SHARE), "
    "u AS (UPDATE asyncsched.runs r SET state = 1, status = 'RUNNING', owner = $1, node = $2, token = r.token + 1, "
    "attempt = r.attempt + 1, started_at = (SELECT now FROM t), first_at = coalesce(r.first_at, (SELECT now FROM t)), "
    "lapses_at = NULL FROM c WHERE r.id = ANY(ARRAY(SELECT id FROM c)) AND r.id = c.id AND c.place <= $3 "
    f"AND EXISTS (SELECT 1 FROM k) RETURNING c.place, {_COLUMNS})"
)
"""The runs ``u`` that begin at the node $1 named $2, at most $3 of the queues ``q``, none of the tasks $4; if ``n`` has
a row."""
FOUND = (
    "EXISTS (SELECT 1 FROM c WHERE c.place > $3) AS more, "
    "EXISTS (SELECT 1 FROM n) AND (EXISTS (SELECT 1 FROM k) OR NOT EXISTS (SELECT 1 FROM c)) AS alive, t.now"
)
DELAYED_US = (
    "(SELECT min(due_at) FROM asyncsched.runs WHERE state = 2), "
    "(SELECT min(wake_at) FROM asyncsched.keys WHERE wake_at IS NOT NULL)"
)
LAPSES_US = "(SELECT min(lapses_at) FROM asyncsched.runs WHERE lapses_at IS NOT NULL)"
_CLAIM = (
    "WITH RECURSIVE t AS MATERIALIZED (SELECT asyncsched.now_us() AS now), "
    f"n AS MATERIALIZED ({NODE}), {{queues}}, {START} "
    f"SELECT {FOUND}, least({DELAYED_US}) AS next_us, {LAPSES_US} AS lapses_us, u.* "
    "FROM t LEFT JOIN u ON true ORDER BY u.place"
)
_CLAIM_ANY, _CLAIM_OF = _CLAIM.format(queues=ANY_QUEUE), _CLAIM.format(queues=THESE_QUEUES)


class Claimed(NamedTuple):
    """What a claim got, and what there is to wait for.

    more: whether there is more that is ready. alive: whether the claiming node has its lease.
    """

    more: bool
    alive: bool
    now_us: int
    next_us: int | None
    lapses_us: int | None
    rows: Sequence[Row]


async def claim(
    db: Database,
    owner: str,
    node: str,
    limit: int,
    others: Collection[str],
    queues: Mapping[str, int] | None,
    low_us: int | None = None,
) -> Claimed:
    """Start up to so many of the runs that are ready, of these queues, and of none of these tasks.

    low_us: nothing is ready that is due before, if that is known.
    """
    statement = _CLAIM_ANY if queues is None else _CLAIM_OF
    asked: tuple[Any, ...] = (owner, node, limit, list(others), *with_room(queues))
    if low_us is not None:
        asked = (*asked, low_us)
        statement = bounded(statement, len(asked))
    return told(await db.rows(statement, *asked))


def with_room(queues: Mapping[str, int] | None) -> tuple[list[Any], ...]:
    """The queues from which anything may be claimed, and how much, as a statement is given them; nothing for all."""
    if queues is None:
        return ()
    free = {queue: most for queue, most in queues.items() if most > 0}
    return list(free), list(free.values())


def told(found: Sequence[Any], before: int = 0) -> Claimed:
    """What a statement says that claims; so many of its columns are about something else."""
    width = before + 5
    more, alive, now_us, next_us, lapses_us_ = found[0][before:width]
    rows = [] if found[0][width] is None else [Row._make(one[width + 1 :]) for one in found]
    return Claimed(more, alive, now_us, next_us, lapses_us_, rows)


_UNDO = (
    "UPDATE asyncsched.runs r SET state = 0, status = 'PENDING', owner = NULL, node = NULL, token = r.token + 1, "
    "attempt = r.attempt - 1, started_at = CASE WHEN r.attempt = 1 THEN NULL ELSE r.started_at END, "
    "first_at = CASE WHEN r.attempt = 1 THEN NULL ELSE r.first_at END, lapses_at = v.lapses_at "
    "FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS v(id, token, lapses_at) "
    "WHERE r.id = ANY($1::text[]) AND r.id = v.id AND r.token = v.token"
)


async def undo(db: Database, rows: Sequence[tuple[str, int, int | None]]) -> None:
    """Let runs wait again that were claimed and are not to be started here; each with its token and when it lapses."""
    await db.execute(_UNDO, *turned(rows, 3))


def is_end(row: Row) -> bool:
    """Whether an acknowledgement says how a run ended."""
    return row.status in _FINAL


_FINAL = frozenset(status.value for status in FINAL)

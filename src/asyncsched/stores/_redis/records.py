"""Runs as the hashes that they are kept as."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.run import NO_TERMS, Run, RunStatus, Terms
from asyncsched.stores._durable.marred import COUNTS, INSTANTS, MOST, check, sound
from asyncsched.stores._durable.orders import New
from asyncsched.stores._durable.rows import Row, terms_of

READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED, ENDED = "0", "1", "2", "3", "4", "5", "9"
"""Where a run stands."""
_NAMES = Row._fields
_NUMBERS = tuple(_NAMES.index(name) for name in (*INSTANTS, *COUNTS))
_SHARED = tuple(name for name in _NAMES if name not in ("id", "args"))
_RUNNING = RunStatus.RUNNING.value
_MIDDLE = 2**63  # numbers are written as hexadecimal digits that sort as they do

Where = tuple[str, ...]
"""Where a run is to stand, as the scripts take it: first what for."""


class Kept:
    """A run as it is kept, live or ended."""

    __slots__ = ("lost", "maker", "owner", "row", "seq", "state", "stop", "version", "wrong")

    def __init__(self, row: Row, state: str, maker: str | None = None) -> None:
        self.row = row
        self.state = state
        self.maker = maker
        self.lost = 0
        self.owner: str | None = None
        self.seq: int | None = None
        self.stop: str | None = None
        self.version: str | None = None
        self.wrong: str | None = None
        """Why it cannot be read; the row is then as much of it as can."""

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state != ENDED

    @property
    def terms(self) -> Terms:
        """On which terms it waits."""
        return terms_of(self.row.terms)


def kept_of(said: Mapping[str, str] | Sequence[str], run_id: str) -> Kept | None:
    """The run of a hash; ``None`` if there is none."""
    if not said:
        return None
    fields = said if isinstance(said, Mapping) else dict(zip(said[::2], said[1::2], strict=True))
    if "task" not in fields:  # it is none of ours
        return None
    row = row_of_hash(fields)
    if row.id != run_id:
        row = row._replace(id=run_id)
    kept = _checked(Kept(row, fields.get("state", ENDED), fields.get("maker")))
    kept.owner, kept.stop, kept.version = fields.get("owner"), fields.get("stop"), fields.get("v")
    kept.lost, kept.seq = count_said(fields.get("lost")), count_said(fields.get("seq"))
    return kept


def begun_of(said: Sequence[Any], run_id: str) -> Kept:
    """A run whose next attempt has begun, of what the look tells of it."""
    task, token, attempt, node, started, first, created, due, scheduled, stands_for, terms, args, *more = said[3:]
    reason, finished, *rest = more
    try:
        created, due, stands_for, first, started = int(created), int(due), int(stands_for), int(first), int(started)
        token, attempt = int(token) + 1, int(attempt) + 1
        scheduled = scheduled and int(scheduled)
        finished = finished and int(finished)
    except (TypeError, ValueError):  # whoever checks finds which of them is no number
        pass
    row = Row(
        *(run_id, task, created, due, scheduled, stands_for, terms, args, _RUNNING, reason, attempt, token, node),
        *(first, started, finished, *rest),
    )
    return _checked(Kept(row, RUNNING))


def _checked(kept: Kept) -> Kept:
    """The same; of what is not as it should be, what may stand there."""
    try:
        check(kept.row)
    except ValueError as error:
        kept.wrong, kept.row = f"its {str(error).partition(' ')[0]} cannot be that", sound(kept.row)
    return kept


def version_of(said: Mapping[str, str] | Sequence[str]) -> str | None:
    """The version of a hash, of one that is no run too."""
    fields = said if isinstance(said, Mapping) else dict(zip(said[::2], said[1::2], strict=True))
    return fields.get("v")


def row_of_hash(fields: Mapping[str, str]) -> Row:
    """A run as its columns; what is no number where there should be one stays as it is, for whoever checks."""
    columns: list[Any] = list(map(fields.get, _NAMES))
    for place in _NUMBERS:
        if columns[place] is not None:
            columns[place] = number_said(columns[place])
    return Row._make(columns)


def count_said(text: str | None) -> int:
    """The number that was written; 0 if that is none."""
    number = number_said(text)
    return number if isinstance(number, int) and 0 <= number <= MOST else 0


def json_said(text: str | None) -> Any:
    """The value that was written as JSON; ``None`` if that cannot be read."""
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        return None


def stand_said(text: str | None) -> tuple[str, list[Any] | None, int | None] | None:
    """Which run stands for a key, how it ended, and until when it stands; ``None`` if nothing can be read there."""
    said = json_said(text)
    if not isinstance(said, list) or len(said) != 3:
        return None
    run_id, ended, until_us = said
    fine = isinstance(run_id, str) and isinstance(ended, list | None) and type(until_us) in (int, type(None))
    return (run_id, ended, until_us) if fine else None


def names_said(text: str | None) -> list[str]:
    """The names that were written; none if they cannot be read."""
    said = json_said(text)
    return [name for name in said if isinstance(name, str)] if isinstance(said, list) else []


def number_said(text: str | None) -> Any:
    """The number that was written; what is none stays as it is, for whoever checks."""
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return text


def fields_of(row: Row, names: Collection[str] = _NAMES) -> list[Any]:
    """Names and values of a run, those that are ``None`` left out."""
    found: list[Any] = []
    for name, value in zip(_NAMES, row, strict=True):
        if value is not None and name in names:
            found += (name, value)
    return found


def gone_of(row: Row, names: Collection[str]) -> list[str]:
    """Those of the names that are ``None``."""
    return [name for name in names if getattr(row, name) is None]


def by_priority(terms: Terms, at_us: int) -> str:
    """By what runs are sorted that are ready, or wait together."""
    return f"{_MIDDLE - terms.priority:016x}{at_us + _MIDDLE:016x}"


def by_turn(row: Row, terms: Terms, arrived_us: int) -> str:
    """By what runs are sorted that wait for their key: those that have run before come first."""
    return f"{int(row.started_at is None)}{by_priority(terms, arrived_us)}"


def standing_fields(row: Row, terms: Terms, arrived_us: int) -> list[Any]:
    """What is kept of a live run beside its columns, by which it is found."""
    found: list[Any] = ["queue", terms.queue, "rs", by_priority(terms, row.due_at), "arrived_at", arrived_us]
    if terms.group is not None:
        found += ("grouped", terms.group)
    if terms.rate is not None:
        found += ("rated", "1")
    return found


def free(terms: Terms) -> bool:
    """Whether neither the start nor the end of a run with these terms changes anything for others."""
    return terms.limit_key is None and terms.once is None and terms.idempotency is None


def plain(run: Run[Any]) -> bool:
    """Whether a new run has nothing to do with others."""
    terms = run.terms
    return run.edges is None and (terms is NO_TERMS or (terms.bounds is None and not terms.backfill and free(terms)))


_ARGS = _NAMES.index("args")


def plain_news(new: Sequence[New]) -> list[tuple[Any, ...]]:
    """The changes that write new runs which have nothing to do with others; what some share is said once."""
    alike: dict[tuple[Any, ...], list[Row]] = {}
    for row, _needs, maker in new:
        shared = (maker, row.args is None, row[1:_ARGS], row[_ARGS + 1 :])
        if (rows := alike.get(shared)) is None:
            alike[shared] = [row]
        else:
            rows.append(row)
    return [_plain_news(rows, shared[0]) for shared, rows in alike.items()]


def _plain_news(rows: Sequence[Row], maker: str) -> tuple[Any, ...]:
    first = rows[0]
    terms = terms_of(first.terms)
    fields = [*fields_of(first, _SHARED), *standing_fields(first, terms, first.due_at), "maker", maker, "plain", "1"]
    where = (first.due_at, terms.queue, by_priority(terms, first.due_at), first.scheduled_at is not None)
    args = False if first.args is None else [row.args for row in rows]
    return ("news", first.task, first.created_at, *where, fields, [row.id for row in rows], args)


def looks_at(rows: Collection[Row]) -> tuple[list[str], list[str], list[str]]:
    """The runs, limit keys and texts that matter where these runs come, wait or end."""
    terms = [terms_of(row.terms) for row in rows if row.terms is not None]
    texts = [f"s:{one.once_key}" for one in terms if one.once_key is not None]
    texts += [f"i:{one.idempotency.key}" for one in terms if one.idempotency is not None]
    return [row.id for row in rows], [one.limit_key for one in terms if one.limit_key is not None], texts

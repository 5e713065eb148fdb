"""Runs as the hashes that they are kept as."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from asyncsched.run import NO_TERMS, Run, Terms
from asyncsched.stores._durable.marred import COUNTS, INSTANTS
from asyncsched.stores._durable.rows import Row, terms_of

READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED, ENDED = "0", "1", "2", "3", "4", "5", "9"
"""Where a run stands."""
_NUMBERS = frozenset((*INSTANTS, *COUNTS))
_NAMES = Row._fields
_MIDDLE = 2**63  # numbers are written as hexadecimal digits that sort as they do

Where = tuple[str, ...]
"""Where a run is to stand, as the scripts take it: first what for."""


class Kept:
    """A run as it is kept, live or ended."""

    __slots__ = ("lost", "maker", "owner", "row", "seq", "state", "stop", "version")

    def __init__(self, row: Row, state: str, maker: str | None = None) -> None:
        self.row = row
        self.state = state
        self.maker = maker
        self.lost = 0
        self.owner: str | None = None
        self.seq: int | None = None
        self.stop: str | None = None
        self.version: str | None = None

    @property
    def live(self) -> bool:
        """Whether it has not ended."""
        return self.state != ENDED

    @property
    def terms(self) -> Terms:
        """On which terms it waits."""
        return terms_of(self.row.terms)


def kept_of(said: Mapping[str, str] | Sequence[str]) -> Kept | None:
    """The run of a hash; ``None`` if there is none."""
    if not said:
        return None
    fields = said if isinstance(said, Mapping) else dict(zip(said[::2], said[1::2], strict=True))
    kept = Kept(row_of_hash(fields), fields.get("state", ENDED), fields.get("maker"))
    kept.owner, kept.stop, kept.version = fields.get("owner"), fields.get("stop"), fields.get("v")
    kept.lost, kept.seq = int(fields.get("lost", 0)), int(fields.get("seq", 0))
    return kept


def row_of_hash(fields: Mapping[str, str]) -> Row:
    """A run as its columns; what is no number where there should be one stays as it is, for whoever checks."""
    return Row._make([_number(fields.get(name)) if name in _NUMBERS else fields.get(name) for name in _NAMES])


def _number(text: str | None) -> Any:
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


def plain_new(row: Row, maker: str) -> tuple[Any, ...]:
    """The change that writes a new run which has nothing to do with others."""
    terms = terms_of(row.terms)
    fields = [*fields_of(row), *standing_fields(row, terms, row.due_at), "maker", maker, "plain", "1"]
    where = ("wait", row.due_at, terms.queue, by_priority(terms, row.due_at))
    return ("new", row.id, row.task, row.created_at, fields, where, row.scheduled_at is not None)

"""Runs as rows: what the tables tell of a run, and how that is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from asyncsched.edges import Edges
from asyncsched.limits import Cooldown, Debounce, Once, Rate, Unique
from asyncsched.run import NO_TERMS, Bounds, Run, RunStatus, Settled, Terms
from asyncsched.values import Values, dump_error, load_error

READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED = range(6)
"""Where a live run stands: what it waits for. A parked one cannot be read, and waits for somebody to look."""

_STATUS = {status.value: status for status in RunStatus}
_ONCE: dict[str, type[Unique] | type[Cooldown] | type[Debounce]] = {
    kind.__name__: kind for kind in (Unique, Cooldown, Debounce)
}
_DEFAULTS = NO_TERMS._asdict()
_dumps = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class Row(NamedTuple):
    """A run as its columns."""

    id: str
    task: str
    created_at: int
    due_at: int
    scheduled_at: int | None
    stands_for: int
    terms: str | None
    args: str | None
    status: str
    reason: str | None
    attempt: int
    token: int
    node: str | None
    first_at: int | None
    started_at: int | None
    finished_at: int | None
    result: str | None
    error: str | None
    notes: str | None
    retry_of: str | None
    flow: str | None
    edges: str | None


COLUMNS = ", ".join(Row._fields)
MARKS = ", ".join("?" * len(Row._fields))


def row_of(run: Run[Any], values: Values) -> Row:
    """The run as it stands.

    Raises:
        ArgumentsError: an argument cannot be stored.
    """
    error, notes, edges, result = run.error, run.notes, run.edges, run.result
    args = run.args
    return Row(
        run.id,
        run.task,
        run.created_us,
        run.due_us,
        run.scheduled_us,
        run.stands_for,
        terms_text(run.terms),
        values.dump_arguments(args, run.kwargs) if args or run.kwargs else None,
        run.status.value,
        run.reason,
        run.attempt,
        run.token,
        run.node,
        run.first_us,
        run.started_us,
        run.finished_us,
        None if result is None else values.dump_result(result),
        None if error is None else dump_error(error),
        None if notes is None else notes_text(notes),
        run.retry_of,
        None if edges is None else edges.flow,
        None if edges is None else edges_text(edges, edges.needs, blocked=edges.blocked),
    )


def settled_row(run: Run[Any], token: int, settled: Settled, values: Values) -> Row:
    """The run with this token as it stands once it has become what is said, but for its arguments; itself it stays."""
    status, at_us, due_us, result, error, reason = settled
    pending = status is RunStatus.PENDING
    notes, edges = run.notes, run.edges
    return Row(
        run.id,
        run.task,
        run.created_us,
        run.due_us if due_us is None else due_us,
        run.scheduled_us,
        run.stands_for,
        terms_text(run.terms),
        None,
        status.value,
        reason,
        run.attempt - 1 if pending and error is None else run.attempt,
        token + 1,
        None if pending else run.node,
        run.first_us,
        run.started_us,
        None if pending else at_us,
        None if result is None else values.dump_result(result),
        None if error is None else dump_error(error),
        None if notes is None else notes_text(notes),
        run.retry_of,
        None if edges is None else edges.flow,
        None if edges is None else edges_text(edges, edges.needs, blocked=edges.blocked),
    )


def fill(run: Run[Any], row: Row, values: Values) -> None:
    """Let the run be what the row says; its arguments, terms and edges aside."""
    run.due_us = row.due_at
    run.status = _STATUS[row.status]
    run.reason = row.reason
    run.attempt, run.token, run.node = row.attempt, row.token, row.node
    run.first_us, run.started_us, run.finished_us = row.first_at, row.started_at, row.finished_at
    run.result = values.load_result(row.result)
    run.error = load_error(row.error, row.id)
    run.notes = None if row.notes is None else json.loads(row.notes)
    if run.edges is not None:
        if run.status.final:
            run.edges.upstreams = ()
        else:  # another node may have decided
            run.edges.blocked = row.edges is not None and '"blocked"' in row.edges


def run_of(row: Row, values: Values, upstreams: Mapping[str, Run[Any]]) -> Run[Any]:
    """A new run as the row says; ``upstreams`` has those that it needs, by id.

    Raises:
        ArgumentsError: the stored arguments do not fit.
    """
    run: Run[Any] = Run(
        row.id, row.task, row.created_at, row.due_at, row.scheduled_at, row.stands_for, terms_of(row.terms)
    )
    run.retry_of = row.retry_of
    run.edges = _edges_of(row, upstreams)
    fill(run, row, values)
    if row.args is not None:
        run.args, run.kwargs = values.load_arguments(row.args, upstreams)
    return run


def needs_of(row: Row) -> list[str]:
    """The ids of the runs that a run needs."""
    if row.edges is None or row.edges == "{}":
        return []
    try:
        return [need for need in json.loads(row.edges).get("needs", ()) if isinstance(need, str)]
    except (ValueError, TypeError, AttributeError, RecursionError):  # whoever reads the whole row tells of it
        return []


def bare_run(row: Row) -> Run[Any]:
    """As much of the run as decisions are made by: its terms, times, status and edges; no values."""
    run: Run[Any] = Run(
        row.id, row.task, row.created_at, row.due_at, row.scheduled_at, row.stands_for, terms_of(row.terms)
    )
    run.status = _STATUS.get(row.status, RunStatus.PENDING)
    run.attempt, run.token = row.attempt, row.token
    run.first_us, run.started_us, run.finished_us = row.first_at, row.started_at, row.finished_at
    if row.flow is not None:
        run.edges = Edges(row.flow, tuple(needs_of(row)))
    return run


def notes_text(notes: Mapping[str, Any]) -> str:
    """What a run noted, as JSON; of what is none its text."""
    return json.dumps(notes, default=str, ensure_ascii=False)


@lru_cache(4_096)
def terms_text(terms: Terms) -> str | None:
    """The terms as JSON, what is as by default left out; ``None`` if everything is."""
    changed: dict[str, Any] = {}
    for name, value in terms._asdict().items():
        if value == _DEFAULTS[name]:
            continue
        match value:
            case Rate(count, period_us):
                changed[name] = [count, period_us]
            case Unique(us) | Cooldown(us) | Debounce(us):
                changed[name] = [type(value).__name__, us]
            case Bounds():
                changed[name] = list(value)
            case _:
                changed[name] = value
    return _dumps(changed) if changed else None


@lru_cache(4_096)
def terms_of(text: str | None) -> Terms:
    """The terms that ``terms_text`` wrote; those by default if they cannot be read."""
    if text is None:
        return NO_TERMS
    try:
        said = json.loads(text)
        if "rate" in said:
            said["rate"] = Rate(*said["rate"])
        if "once" in said:
            said["once"] = _once_of(*said["once"])
        if "bounds" in said:
            said["bounds"] = Bounds(*said["bounds"])
        terms = Terms(**said)
    except (ValueError, TypeError, LookupError, RecursionError):
        return NO_TERMS
    known = all(isinstance(text, str | None) for text in (terms.limit_key, terms.once_key, terms.group))
    return terms if known and isinstance(terms.queue, str) and isinstance(terms.priority, int) else NO_TERMS


def _once_of(kind: str, us: int) -> Once:
    return _ONCE[kind](us)


def edges_text(edges: Edges, needs: tuple[str, ...], *, blocked: bool) -> str:
    """The edges as JSON, with these needs; what is as by default left out."""
    said: dict[str, Any] = {}
    if needs:
        said["needs"] = needs
    if edges.rule != "all_success":
        said["rule"] = edges.rule
    if edges.kind != "flow":
        said["kind"] = edges.kind
    if blocked:
        said["blocked"] = True
    for name in ("since_us", "until_us"):
        if (value := getattr(edges, name)) is not None:
            said[name] = value
    return _dumps(said)


def _edges_of(row: Row, upstreams: Mapping[str, Run[Any]]) -> Edges | None:
    if row.flow is None:
        return None
    said = json.loads(row.edges or "{}")
    said["needs"] = tuple(said.get("needs", ()))
    given = tuple(upstreams[need] for need in said["needs"] if need in upstreams)
    return Edges(row.flow, upstreams=given, **said)

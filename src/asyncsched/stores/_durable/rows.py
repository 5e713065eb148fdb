"""Runs as rows: what the tables tell of a run, and how that is written and read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from asyncsched.again import dump_error, load_error
from asyncsched.edges import Edges, Kind, Rule
from asyncsched.errors import ArgumentsError
from asyncsched.limits import Cooldown, Debounce, Idempotency, Once, Rate, Unique
from asyncsched.merge import merged_reason
from asyncsched.retry import NO_RETRY
from asyncsched.run import NO_TERMS, Bounds, HandedBack, Run, RunStatus, Settled, Terms, settle
from asyncsched.values import VALUE_LIMIT, Unstored, Values

READY, RUNNING, DELAYED, BLOCKED, QUEUED, PARKED = range(6)
"""Where a live run stands: what it waits for. A parked one cannot be read, and waits for somebody to look."""

_STATUS = {status.value: status for status in RunStatus}
_ONCE: dict[str, type[Unique] | type[Cooldown] | type[Debounce]] = {
    kind.__name__: kind for kind in (Unique, Cooldown, Debounce)
}
_RULES, _KINDS = get_args(Rule), get_args(Kind)
_UNKEPT = "notes that could not be kept"
# Beyond these nobody has meant it.
_MOST, _MOST_STARTS = 2**53, 2**31
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
    run.notes = None if row.notes is None else _notes_of(row.notes)
    if run.edges is not None:
        if run.status.final:
            run.edges.upstreams = ()
        else:  # another node may have decided
            run.edges.blocked = row.edges is not None and '"blocked"' in row.edges


def refill(run: Run[Any], row: Row, values: Values) -> None:
    """Let a run that was read or written before be what a later row says; its edges aside.

    Raises:
        ArgumentsError: it was moved, and its arguments do not fit; the run is as it was.
    """
    # Only one that has not started is moved: it takes over the terms, which have the debounce, and the arguments.
    if run.first_us is None and row.terms is not None and isinstance((terms := terms_of(row.terms)).once, Debounce):
        _give_arguments(run, row, values, {})
        run.terms = terms
    fill(run, row, values)


def run_of(row: Row, values: Values, upstreams: Mapping[str, Run[Any]]) -> Run[Any]:
    """A new run as the row says; ``upstreams`` has those that it needs, by id.

    Raises:
        ArgumentsError: the stored arguments do not fit, or its terms or edges cannot be read.
    """
    terms, whole = read_terms(row.terms)
    if not whole:
        raise ArgumentsError("its terms cannot be read")
    run: Run[Any] = Run(row.id, row.task, row.created_at, row.due_at, row.scheduled_at, row.stands_for, terms)
    run.retry_of = row.retry_of
    run.edges = _edges_of(row, upstreams)
    fill(run, row, values)
    _give_arguments(run, row, values, upstreams)
    return run


def _give_arguments(run: Run[Any], row: Row, values: Values, upstreams: Mapping[str, Run[Any]]) -> None:
    try:
        run.args, run.kwargs = values.load_arguments(row.args, upstreams)
    except ArgumentsError as error:
        if not _STATUS[row.status].final:
            raise
        run.args, run.kwargs = (Unstored("stored arguments", str(error)),), {}


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
    """What a run noted, as JSON; of what is none its text. What cannot be kept is a note of that."""
    try:
        text = json.dumps(notes, default=str, ensure_ascii=False)
        if len(text.encode()) <= VALUE_LIMIT:
            return text
        why = f"they take more than {VALUE_LIMIT:,} bytes"
    except Exception as error:  # a note is anything
        why = f"they have no JSON: {type(error).__name__}"
    return json.dumps({_UNKEPT: why})


def _notes_of(text: str) -> dict[str, Any]:
    try:
        notes = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        notes = None
    return notes if isinstance(notes, dict) else {_UNKEPT: "they cannot be read"}


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
            case Bounds() | Idempotency():
                changed[name] = list(value)
            case _:
                changed[name] = value
    return _dumps(changed) if changed else None


@lru_cache(4_096)
def terms_of(text: str | None) -> Terms:
    """The terms that ``terms_text`` wrote, without what is not known here; those by default if they cannot be read."""
    return read_terms(text)[0]


@lru_cache(4_096)
def read_terms(text: str | None) -> tuple[Terms, bool]:
    """As much of the terms that ``terms_text`` wrote as is known here, and whether that is all.

    What a later version of the library has added says nothing to this one: by the rest a run still waits where it is
    to wait, whichever node hands it back; but only who knows all of it may carry it out.
    """
    if text is None:
        return NO_TERMS, True
    try:
        said = json.loads(text)
        known = {name: value for name, value in said.items() if name in _DEFAULTS}
        if "rate" in known:
            known["rate"] = Rate(*known["rate"])
        if "once" in known and (once := known.pop("once"))[0] in _ONCE:
            known["once"] = _once_of(*once)
        if "bounds" in known:
            known["bounds"] = Bounds(*known["bounds"])
        if "idempotency" in known:
            known["idempotency"] = Idempotency(*known["idempotency"])
        terms = Terms(**known)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return NO_TERMS, False
    return (terms, len(known) == len(said)) if _fit(terms) else (NO_TERMS, False)


def terms_again(text: str | None, terms: Terms) -> str | None:
    """These terms as JSON, with what ``text`` says that is not known here."""
    new = terms_text(terms)
    if read_terms(text)[1]:
        return new
    try:
        said = json.loads(text or "{}")
        unknown = {name: value for name, value in said.items() if name not in _DEFAULTS}
    except (ValueError, AttributeError, RecursionError):
        return new
    return _dumps({**json.loads(new or "{}"), **unknown}) if unknown else new


def _fit(terms: Terms) -> bool:
    """Whether each part is of its kind, and no number greater than anybody can have meant."""
    texts = [terms.queue, *(one for one in (terms.limit_key, terms.once_key, terms.group) if one is not None)]
    numbers = [terms.priority, 1 if terms.limit is None else terms.limit]
    numbers += [0 if one is None else one for one in terms.bounds or ()]
    match terms.once:
        case Unique(us) | Cooldown(us) | Debounce(us):
            numbers.append(us)
    if terms.idempotency is not None:
        texts.append(terms.idempotency.key)
        numbers.append(terms.idempotency.keep_us)
    if terms.rate is not None:
        numbers += [terms.rate.count, terms.rate.period_us]
    if not all(type(text) is str for text in texts) or not all(
        type(one) is int and abs(one) < _MOST for one in numbers
    ):
        return False
    return terms.rate is None or (0 < terms.rate.count < _MOST_STARTS and terms.rate.period_us > 0)


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
    try:
        said = json.loads(row.edges or "{}")
        needs = said.pop("needs", [])
        given = tuple(upstreams[need] for need in needs if need in upstreams)
        edges = Edges(row.flow, tuple(needs), upstreams=given, **said)
        instants = (one for one in (edges.since_us, edges.until_us) if one is not None)
        fit = edges.rule in _RULES and edges.kind in _KINDS and isinstance(edges.blocked, bool)
        fit = fit and all(isinstance(need, str) for need in needs)
        fit = fit and all(type(one) is int and abs(one) < _MOST for one in instants)
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ArgumentsError("its edges cannot be read") from None
    if not fit:
        raise ArgumentsError("its edges cannot be read")
    return edges


def ended_as(row: Row, status: RunStatus, reason: str, now_us: int) -> Row:
    """The row of a run that a store ends by itself."""
    return row._replace(status=status.value, reason=reason, token=row.token + 1, finished_at=now_us)


def handed_back(row: Row, now_us: int) -> Row:
    """The row of a run whose node is gone: it waits again, and its attempt does not count."""
    settled = settle(HandedBack(), row.attempt, NO_RETRY, now_us)
    return row._replace(
        status=settled.status.value,
        reason=settled.reason,
        attempt=row.attempt - 1,
        token=row.token + 1,
        node=None,
        due_at=now_us,
        error=None,
    )


def merged_row(row: Row, now_us: int) -> Row:
    """The record of the skip of a fire for which another run stands."""
    once = terms_of(row.terms).once
    assert once is not None
    return ended_as(row, RunStatus.SKIPPED, merged_reason(once).value, now_us)

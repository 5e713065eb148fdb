"""Where tasks stand: what code declares, what operators change, what fires move."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from asyncsched.errors import StoreError
from asyncsched.stores._base import Amendment, FireOrder
from asyncsched.stores._durable.orders import New
from asyncsched.stores._durable.rows import Row, terms_of
from asyncsched.stores._durable.tasks import Declaration, overrides_of
from asyncsched.stores._graphs import Met
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import fields_of, number_said, plain, plain_news
from asyncsched.stores._redis.transaction import TRIES, too_busy
from asyncsched.stores._redis.unit import Unit
from asyncsched.stores._redis.wire import Unit as Changes

Columns = tuple[Any, ...]
"""Where a task stands, as ``standing_of`` takes it."""
_NAMES = (
    "declaration", "trigger", "next_at", "version", "history_limit", "paused_until_at", "skip_at", "made", "overrides",
    "metadata",
)  # fmt: skip
_NUMBERS = {"next_at", "version", "history_limit", "paused_until_at", "skip_at", "made"}
_AT_ONCE = 500


async def standing_among(link: Link, tasks: Collection[str]) -> list[Columns]:
    """Where those of the tasks stand that are kept, in the order in which they are asked for."""
    listed = list(tasks)
    found: list[Columns] = []
    for start in range(0, len(listed), _AT_ONCE):
        piece = listed[start : start + _AT_ONCE]
        said = await link.ask(*(("HMGET", f"t:{task}", *_NAMES) for task in piece))
        found += [_columns(task, values) for task, values in zip(piece, said, strict=True) if values[3] is not None]
    return found


def _columns(task: str, values: Sequence[str | None]) -> Columns:
    return (
        task,
        *(number_said(value) if name in _NUMBERS else value for name, value in zip(_NAMES, values, strict=True)),
    )


def fires_otherwise(known: Columns) -> bool:
    """Whether an operator has put another trigger in place of what code declares."""
    return known[9] is not None and overrides_of(known[0], known[9]).trigger is not None


async def put_all(link: Link, declared: Sequence[Declaration]) -> tuple[list[str], list[str]]:
    """Add what is new and re-arm what is declared differently; the tasks that are new, and those that have changed."""
    added: list[str] = []
    changed: list[str] = []
    todo = list(declared)
    for _ in range(TRIES):
        if not todo:
            return added, changed
        known = {stands[0]: stands for stands in await standing_among(link, [one.task for one in todo])}
        units, asked = [], []
        for one in todo:
            stands = known.get(one.task)
            if stands is None or stands[1] != one.declaration:
                units.append(_put(one, stands))
                asked.append((one, stands))
        todo = []
        for start in range(0, len(units), _AT_ONCE):
            done = await link.carry_out(units[start : start + _AT_ONCE])
            for (one, stands), answer in zip(asked[start : start + _AT_ONCE], done.answers, strict=True):
                if answer is None:
                    todo.append(one)
                elif stands is None:
                    added.append(one.task)
                elif not fires_otherwise(stands):
                    changed.append(one.task)
    raise too_busy(link)


async def put(link: Link, declared: Declaration) -> None:
    """Add the task, or replace it."""
    for _ in range(TRIES):
        known = await standing_among(link, [declared.task])
        done = await link.carry_out([_put(declared, known[0] if known else None)])
        if done.answers[0] is not None:
            return
    raise too_busy(link)


def _put(declared: Declaration, before: Columns | None) -> Changes:
    """How a task is added, or replaced. The watermark of another trigger stands with it."""
    next_us = declared.next_us if before is None or not fires_otherwise(before) else before[3]
    said = {
        "declaration": declared.declaration,
        "trigger": _trigger_text(declared),
        "next_at": next_us,
        "history_limit": declared.history_limit,
        "made": 0,
        "skip_at": None,
    }
    version = None if before is None else str(before[4])
    return Changes([("field", f"t:{declared.task}", "version", version)], [("edit", declared.task, *_split(said))])


def _trigger_text(declared: Declaration) -> str | None:
    if declared.trigger is None:
        return None
    try:
        return json.dumps(declared.trigger.to_json(), sort_keys=True)
    except (TypeError, ValueError) as error:
        cure = "its fields must be JSON values, dates, datetimes, timedeltas or triggers"
        raise StoreError(f"the trigger of task {declared.task!r} cannot be stored: {error}; {cure}") from error


def _split(said: dict[str, Any]) -> tuple[list[Any], list[str]]:
    fields = [part for name, value in said.items() if value is not None for part in (name, value)]
    return fields, [name for name, value in said.items() if value is None]


async def amend(link: Link, task: str, version: int, amendment: Amendment) -> Columns | None:
    """Write what an operator changed, on this version; where the task stands then."""
    paused_until_us, skip_us, overrides, next_us = amendment
    said: dict[str, Any] = {"paused_until_at": paused_until_us, "skip_at": skip_us}
    if overrides is not None:
        put = overrides.to_json()
        said |= {"overrides": json.dumps(put) if put else None, "next_at": next_us}
    await link.carry_out([Changes([("field", f"t:{task}", "version", version)], [("edit", task, *_split(said))])])
    known = await standing_among(link, [task])
    return known[0] if known else None


def checks_of(order: FireOrder) -> list[Sequence[Any]]:
    """What must hold for an order to count."""
    found: list[Sequence[Any]] = [("fire", order.task, order.version, order.was_us)]
    return found if order.met is None else [*found, check_met(order.task, order.met)]


def check_met(task: str, met: Met) -> Sequence[Any]:
    """That so many runs of the task are on their way."""
    return ("met", task, met.number, met.most)


def is_plain(order: FireOrder) -> bool:
    """Whether the runs of an order have nothing to do with others."""
    return all(map(plain, order.runs))


def plain_order(order: FireOrder, runs: Sequence[New], skips: Sequence[Row]) -> Changes:
    """How an order is carried out whose runs have nothing to do with others."""
    changes: list[Sequence[Any]] = [("move", order.task, order.next_us, order.counted)]
    changes += plain_news(runs)
    changes += [("record", row.id, row.task, row.created_at, fields_of(row)) for row in skips]
    return Changes(checks_of(order), changes)


async def stands(link: Link, order: FireOrder) -> bool:
    """Whether the task has the version and the watermark that the order names."""
    (columns,) = await link.ask(("HMGET", f"t:{order.task}", "version", "next_at"))
    was = None if order.was_us is None else str(order.was_us)
    return bool(columns == [str(order.version), was])


async def carry_out(unit: Unit, order: FireOrder, runs: Sequence[New], skips: Sequence[Row]) -> list[Row] | None:
    """Carry out an order; the runs that became skips as others stand for them, ``None`` if it does not count."""
    if not await stands(unit.link, order) or (order.was_us is not None and order.was_us > unit.now_us):
        return None
    if order.met is not None:
        done = await unit.link.carry_out([Changes([check_met(order.task, order.met)], [])])
        if done.answers[0] is None:
            return None
    unit.checks += checks_of(order)
    unit.change("move", order.task, order.next_us, order.counted)
    merged: list[Row] = []
    for new in runs:
        if merged and new.row.flow == merged[-1].id:
            continue  # below one that is not run
        if (skip := await unit.fire(new)) is not None:
            merged.append(skip)
    for row in skips:
        unit.record(row)
    return merged


async def submit(unit: Unit, runs: Sequence[New]) -> list[Row | None]:
    """Write the runs; for each the other one that stands for it, if any."""
    found: list[Row | None] = []
    merged: dict[str, Row] = {}
    backfills = bool(runs) and terms_of(runs[0].row.terms).backfill
    fired = await _fired(unit, runs[0].row.task) if backfills else None
    for new in runs:
        row = new.row
        stands = merged.get(row.flow or row.id) if merged else None
        if stands is None and fired is not None and row.scheduled_at is not None:
            earlier = fired.setdefault((row.task, row.scheduled_at), row.id)
            kept = None if earlier == row.id else await unit.run(earlier)
            stands = None if kept is None else kept.row
        if stands is None:
            stands = await unit.submit(new)
        if stands is not None:
            merged[row.id] = stands
        found.append(stands)
    return found


async def _fired(unit: Unit, task: str) -> dict[tuple[str, int], str]:
    """The runs of the fires of a task, by task and instant; of two who make up for them one comes first."""
    before = await unit.text(f"bf:{task}")
    unit.write_text(f"bf:{task}", str(int(before or 0) + 1))
    live, ended = await unit.link.ask(("ZRANGE", f"l:{task}", 0, -1), ("ZRANGE", f"e:{task}", 0, -1))
    ids = [*live, *ended]
    said = await unit.link.ask(*(("HMGET", f"r:{run_id}", "scheduled_at", "status") for run_id in ids))
    return {
        (task, int(at)): run_id
        for run_id, (at, status) in zip(ids, said, strict=True)
        if at is not None and status != "SKIPPED"
    }

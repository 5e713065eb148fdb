"""A task that bears another id than before takes over what was kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from asyncsched.renaming import renamed_key, renamed_names, renamed_terms
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import Row, terms_again, terms_of
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import kept_among
from asyncsched.stores._redis.records import Kept, json_said, stand_said
from asyncsched.stores._redis.transaction import TRIES, too_busy
from asyncsched.stores._redis.unit import Unit, transact
from asyncsched.stores._redis.wire import Unit as Changes

_AT_ONCE = 50
_TEXTS = {"s": "standing", "i": "idem"}


async def take_over(link: Link, aliases: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rename each alias to its task; those under which a task was found."""
    return [(alias, task) for alias, task in aliases if await rename(link, alias, task)]


async def rename(link: Link, before: str, task: str) -> bool:
    """Keep under its id of today what is kept of the task that had the id ``before``; whether it stood there.

    That is also so if only live runs of it were found. It is done in pieces, as there may be very many runs; whoever
    comes after one that was killed meanwhile does the rest.
    """
    stood, live, ended = await link.ask(
        ("HGET", f"t:{before}", "version"), ("ZCARD", f"l:{before}"), ("ZCARD", f"e:{before}")
    )
    if stood is None and not live and not ended and not await _moving(link, before, task):
        return False
    await link.carry_out([Changes([], [("keep_as", task, before)])])  # what ends meanwhile forgets no more than that
    gates = await _moving(link, before, task)
    for kind in ("l", "e", "a"):
        await _move_runs(link, kind, before, task, gates)
    for zset in ("standing", "idem", "klast"):
        await _move_names(link, zset, before, task, gates)
    await _move_task(link, before, task)
    for name in gates:
        there = renamed_key(name, before, task)
        assert there is not None
        await _move_waiting(link, name, there, before, task)
        await link.carry_out([Changes([], [("open_key", name)])])
        await transact(link, partial(_look_again, name=there), keys=[there])
    return stood is not None or bool(live)


async def _moving(link: Link, before: str, task: str) -> set[str]:
    """The limits that somebody was renaming, and has not come to an end with."""
    (names,) = await link.ask(("SMEMBERS", "moving"))
    return {name for name in names if renamed_key(name, before, task) != name}


async def _move_runs(link: Link, kind: str, before: str, task: str, gates: set[str]) -> None:
    """Let the runs that are found there be the task's, some at a time."""
    tries = 0
    while True:
        (run_ids,) = await link.ask(("ZRANGE", f"{kind}:{before}", 0, _AT_ONCE - 1))
        if not run_ids:
            return
        kept = await kept_among(link, run_ids, staged=True)
        for name in {one.terms.limit_key for one in kept if one.live} - gates:
            await _move_key(link, name, before, task, gates)
        checks: list[Sequence[Any]] = []
        changes: list[Sequence[Any]] = []
        for one in await kept_among(link, run_ids, staged=True):
            checks.append(("run", one.row.id, one.version))
            changes.append(("move_run", one.row.id, before, task, _renamed_fields(one, before, task)))
            changes += await _texts_of(link, one, before, task, checks)
        known = {one.row.id for one in kept}
        changes += [("move_run", run_id, before, task, None) for run_id in run_ids if run_id not in known]
        done = await link.carry_out([Changes(checks, changes)])
        tries = tries + 1 if done.answers[0] is None else 0
        if tries == TRIES:
            raise too_busy(link)


def _renamed_fields(kept: Kept, before: str, task: str) -> list[str]:
    row = kept.row
    if row.terms is None:
        return []
    return ["terms", terms_again(row.terms, renamed_terms(terms_of(row.terms), before, task)) or "{}"]


async def _texts_of(link: Link, kept: Kept, before: str, task: str, checks: list[Sequence[Any]]) -> list[Sequence[Any]]:
    """What stands for submits goes with the run that it says."""
    terms, names = kept.terms, []
    if terms.once_key is not None:
        names.append(("s", terms.once_key))
    if terms.idempotency is not None:
        (keys,) = await link.ask(("SMEMBERS", f"ri:{kept.row.id}"))
        names += [("i", name) for name in sorted(keys | {terms.idempotency.key})]
    return [change for kind, name in names for change in await _text_moves(link, kind, name, before, task, checks)]


async def _text_moves(
    link: Link, kind: str, name: str, before: str, task: str, checks: list[Sequence[Any]]
) -> list[Sequence[Any]]:
    there = renamed_key(name, before, task)
    if there is None or there == name:
        return []
    (text,) = await link.ask(("GET", f"{kind}:{name}"))
    if text is None:
        return []
    checks.append(("text", f"{kind}:{name}", text))
    return _text_changes(kind, text, name, there, (before, task))


async def _move_names(link: Link, zset: str, before: str, task: str, gates: set[str]) -> None:
    """Keys that begin with the id and that no run is known for any more: what stands for submits, and rates."""
    cursor = 0
    while True:
        cursor, names = await link.some_members(zset, cursor, f"*{_literal(before)}*", _AT_ONCE)
        for name in names:
            if renamed_key(name, before, task) == name:
                continue
            if zset == "klast":
                await _move_key(link, name, before, task, gates)
                continue
            checks: list[Sequence[Any]] = []
            kind = "s" if zset == "standing" else "i"
            changes = await _text_moves(link, kind, name, before, task, checks)
            await link.carry_out([Changes(checks, changes or [("call", "ZREM", zset, name)])])
        if cursor == 0:
            return


def _literal(text: str) -> str:
    """A pattern that only this matches."""
    return "".join(f"\\{sign}" if sign in "*?[]\\^-" else sign for sign in text)


# -- limits


async def _move_key(link: Link, name: str | None, before: str, task: str, gates: set[str]) -> None:
    """Let the limit be known by today's name: who holds a place at once, who waits some at a time.

    Until all of it has moved nobody passes there: else a place that is taken under one name were free under the other.
    """
    there = renamed_key(name, before, task)
    if name is None or there is None or there == name:
        return
    gates.add(name)
    for _ in range(TRIES):
        (holders,) = await link.ask(("HKEYS", f"h:{name}"))
        kept = await kept_among(link, holders)
        checks: list[Sequence[Any]] = [("run", one.row.id, one.version) for one in kept]
        changes: list[Sequence[Any]] = [
            ("set", one.row.id, _renamed_fields(one, before, task), [], None) for one in kept
        ]
        checks.append(("size", f"h:{name}", len(holders)))
        done = await link.carry_out([Changes(checks, [*changes, ("rename_key", name, there)])])
        if done.answers[0] is not None:
            await _move_waiting(link, name, there, before, task)
            return
    raise too_busy(link)


async def _move_waiting(link: Link, name: str, there: str, before: str, task: str) -> None:
    tries = 0
    while True:
        (members,) = await link.ask(("ZRANGE", f"q:{name}", 0, _AT_ONCE - 1))
        if not members:
            return
        kept = {one.row.id: one for one in await kept_among(link, [one.partition(":")[2] for one in members])}
        checks = [("run", run_id, one.version) for run_id, one in kept.items()]
        changes: list[Sequence[Any]] = []
        for member in members:
            one = kept.get(member.partition(":")[2])
            if one is None:
                changes.append(("call", "ZREM", f"q:{name}", member))
            else:
                fields = _renamed_fields(one, before, task)
                changes.append(("move_waiting", one.row.id, member, name, there, fields))
        changes.append(("bump", there))
        done = await link.carry_out([Changes(checks, changes)])
        tries = tries + 1 if done.answers[0] is None else 0
        if tries == TRIES:
            raise too_busy(link)


async def _look_again(unit: Unit, name: str) -> None:
    """Let those pass that may, who have come there while nobody could."""
    await unit.key(name)
    unit.touch(name)


# -- the task itself


async def _move_task(link: Link, before: str, task: str) -> None:
    for _ in range(TRIES):
        stood, stands = await link.ask(*(("HGET", f"t:{name}", "version") for name in (before, task)))
        checks = [("field", f"t:{before}", "version", stood), ("field", f"t:{task}", "version", stands)]
        changes = await _mark_changes(link, before, task)
        if stood is not None:
            changes.append(("rename", before, task) if stands is None else ("drop", before))
        done = await link.carry_out([Changes(checks, changes)])
        if done.answers[0] is not None:
            return
    raise too_busy(link)


def _text_changes(kind: str, text: str, name: str, there: str, ids: tuple[str, str]) -> list[Sequence[Any]]:
    stand = stand_said(text)
    if stand is None:  # nothing is known by it
        return [("call", "DEL", f"{kind}:{name}"), ("call", "ZREM", _TEXTS[kind], name)]
    run_id, ended, until_us = stand
    row = None if ended is None else row_said(json.dumps(ended))
    said = json.dumps([run_id, None if row is None else renamed_row(row, *ids), until_us])
    changes: list[Sequence[Any]] = [
        ("call", "DEL", f"{kind}:{name}"),
        ("call", "SET", f"{kind}:{there}", said),
        ("call", "ZREM", _TEXTS[kind], name),
    ]
    if until_us is not None:
        changes.append(("call", "ZADD", _TEXTS[kind], until_us, there))
    if kind == "i" and ended is None:
        changes += [("call", "SREM", f"ri:{run_id}", name), ("call", "SADD", f"ri:{run_id}", there)]
    return changes


async def _mark_changes(link: Link, before: str, task: str) -> list[Sequence[Any]]:
    """Let the last success, and what joins took last, be known by today's id."""
    changes: list[Sequence[Any]] = []
    succeeded, there, joins = await link.ask(("GET", f"ms:{before}"), ("GET", f"ms:{task}"), ("SMEMBERS", "joins"))
    if succeeded is not None:
        row = row_said(succeeded)
        if there is None and row is not None:
            changes.append(("call", "SET", f"ms:{task}", json.dumps(renamed_row(row, before, task))))
        changes.append(("call", "DEL", f"ms:{before}"))
    texts = await link.ask(*(("GET", f"mt:{join}") for join in joins))
    known = set(joins)
    for join, text in zip(joins, texts, strict=True):
        if not isinstance(taken := json_said(text), dict):
            continue
        said = json.dumps(renamed_names(taken, before, task))
        if join == before:
            changes += [("call", "DEL", f"mt:{before}"), ("call", "SREM", "joins", before)]
            if task in known:
                continue
            changes.append(("call", "SADD", "joins", task))
            join = task
        changes.append(("call", "SET", f"mt:{join}", said))
    return changes


def renamed_row(row: Row, before: str, task: str) -> Row:
    """An ended run of the task that had the id ``before``."""
    terms = renamed_terms(terms_of(row.terms), before, task)
    return row._replace(task=task, terms=terms_again(row.terms, terms))

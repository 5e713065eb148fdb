"""A task that bears another id than before takes over what was kept of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from asyncsched.renaming import renamed_key, renamed_names, renamed_terms
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import Row, terms_of, terms_text
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.lookups import kept_among
from asyncsched.stores._redis.records import Kept, json_said, stand_said
from asyncsched.stores._redis.transaction import TRIES, too_busy
from asyncsched.stores._redis.wire import Unit as Changes

_TEXTS = {"s": "standing", "i": "idem"}


async def take_over(link: Link, aliases: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Rename each alias to its task; those under which a task was found."""
    return [(alias, task) for alias, task in aliases if await rename(link, alias, task)]


async def rename(link: Link, before: str, task: str) -> bool:
    """Keep under its id of today what is kept of the task that had the id ``before``; whether it stood there.

    That is also so if only live runs of it were found.
    """
    for _ in range(TRIES):
        stood, stands, live, ended = await link.ask(
            *(("HGET", f"t:{name}", "version") for name in (before, task)),
            *(("ZRANGE", f"{kind}:{before}", 0, -1) for kind in ("l", "e")),
        )
        if stood is None and not live and not ended:
            return False
        kept = await kept_among(link, [*live, *ended])
        checks: list[Sequence[Any]] = [
            ("field", f"t:{before}", "version", stood),
            ("field", f"t:{task}", "version", stands),
        ]
        checks += [("run", one.row.id, one.version) for one in kept]
        changes = [change for one in kept for change in _run_changes(one, before, task)]
        changes += await _task_changes(link, before, task, stood=stood is not None, stands=stands is not None)
        changes += await _key_changes(link, kept, before, task, checks)
        changes += await _mark_changes(link, before, task)
        done = await link.carry_out([Changes(checks, changes)])
        if done.answers[0] is not None:
            return stood is not None or bool(live)
    raise too_busy(link)


async def _task_changes(link: Link, before: str, task: str, *, stood: bool, stands: bool) -> list[Sequence[Any]]:
    changes: list[Sequence[Any]] = []
    for kind in ("l", "e", "a"):
        (members,) = await link.ask(("ZRANGE", f"{kind}:{before}", 0, -1))
        if members:
            changes.append(("merge", f"{kind}:{task}", f"{kind}:{before}"))
    changes.append(("busy", before, task))
    if stood:
        changes.append(("rename", before, task) if not stands else ("drop", before))
    return changes


def _run_changes(kept: Kept, before: str, task: str) -> list[Sequence[Any]]:
    row = kept.row
    fields = ["task", task]
    if row.terms is not None:
        fields += ["terms", terms_text(renamed_terms(terms_of(row.terms), before, task)) or "{}"]
    return [("set", row.id, fields, [], None)]


async def _key_changes(
    link: Link, kept: Sequence[Kept], before: str, task: str, checks: list[Sequence[Any]]
) -> list[Sequence[Any]]:
    """Keys that begin with the id: limits, and what stands for submits."""
    changes: list[Sequence[Any]] = []
    terms = [one.terms for one in kept]
    limits = {one.limit_key for one in terms if one.limit_key is not None}
    (starts, _) = await link.ask(("ZRANGE", "klast", 0, -1), ("ZCARD", "klast"))
    limits.update(starts)
    for name in sorted(limits):
        there = renamed_key(name, before, task)
        if there is not None and there != name:
            changes.append(("rename_key", name, there))
    found = {"s": {one.once_key for one in terms if one.once_key is not None}, "i": set()}
    for kind, zset in _TEXTS.items():
        found[kind].update((await link.ask(("ZRANGE", zset, 0, -1)))[0])
    for kind, names in found.items():
        for name in sorted(names):
            there = renamed_key(name, before, task)
            if there is None or there == name:
                continue
            (text,) = await link.ask(("GET", f"{kind}:{name}"))
            if text is not None:
                checks.append(("text", f"{kind}:{name}", text))
                changes += _text_changes(kind, text, name, there, (before, task))
    return changes


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
    return row._replace(task=task, terms=terms_text(renamed_terms(terms_of(row.terms), before, task)))

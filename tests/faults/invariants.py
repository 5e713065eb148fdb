"""What must hold whatever happened to the processes at a store: the invariants I1 to I8, as one checker.

It is given what is stored, what was acknowledged and what was really executed, as the workers noted it elsewhere, and
tells what is wrong in words. What differs from store to store is how ``Evidence`` is gathered; ``sqlite_evidence`` does
that for a SQLite file.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from asyncsched.triggers import Trigger

_SHOWN = 5


class Record(NamedTuple):
    """A run as it is stored.

    live: it has not ended.
    result: as the text of its JSON.
    """

    id: str
    task: str
    status: str
    attempt: int
    token: int
    scheduled_us: int | None
    stands_for: int
    retry_of: str | None
    result: str | None
    live: bool


class Execution(NamedTuple):
    """One attempt that really began: by which token, in which worker, and from when to when.

    ended_us: ``None`` if it came to no end.
    key: no other attempt with the same key may be under way meanwhile; ``None``: any may.
    """

    run: str
    token: int
    worker: str
    began_us: int
    ended_us: int | None
    key: str | None = None


class Fires(NamedTuple):
    """The fires of a task that must be accounted for: from ``first_us`` on, up to the watermark, ``None`` without end.

    A fire at the watermark is not among them yet.
    """

    task: str
    trigger: Trigger
    first_us: int
    watermark_us: int | None


@dataclass(frozen=True)
class Evidence:
    """What is there to be judged.

    acknowledged: the ids that callers were given.
    deaths: the workers that were killed, and an instant at which each was still alive.
    in_flight: so many runs a worker has at once, at most.
    fenced: the tasks that return the token they were started with.
    recovery_us: so long may it take from the death of a worker to the next start of what it ran.
    """

    acknowledged: Collection[str]
    records: Sequence[Record]
    executions: Sequence[Execution]
    fires: Sequence[Fires] = ()
    deaths: Mapping[str, int] = field(default_factory=dict)
    in_flight: int = 1
    fenced: Collection[str] = ()
    recovery_us: int | None = None


def violations(evidence: Evidence) -> list[str]:
    """What does not hold, in words; nothing if all is well."""
    checks = (
        _i1_lost,
        _i2_doubled,
        _i3_fires,
        _i4_executions,
        _i5_no_fault,
        _i6_stale_ends,
        _i7_recovery,
        _i8_one_at_a_time,
    )
    return [f"{check.__name__[1:3].upper()}: {words}" for check in checks for words in check(evidence)]


def _i1_lost(evidence: Evidence) -> Iterator[str]:
    lost = set(evidence.acknowledged) - {record.id for record in evidence.records}
    if lost:
        yield f"{len(lost)} acknowledged runs are nowhere: {_some(lost)}"


def _i2_doubled(evidence: Evidence) -> Iterator[str]:
    ended = Counter(record.id for record in evidence.records if not record.live)
    twice = [run for run, count in ended.items() if count > 1]
    if twice:
        yield f"{len(twice)} runs ended more than once: {_some(twice)}"
    both = [record.id for record in evidence.records if record.live and record.id in ended]
    if both:
        yield f"{len(both)} runs have ended and are live: {_some(both)}"


def _i3_fires(evidence: Evidence) -> Iterator[str]:
    for task, trigger, first_us, watermark_us in evidence.fires:
        found = [
            record
            for record in evidence.records
            if record.task == task and record.scheduled_us is not None and record.retry_of is None
        ]
        counts = Counter(record.scheduled_us for record in found)
        expected = set(_expansion(trigger, first_us, watermark_us))
        if twice := [at_us for at_us, count in counts.items() if count > 1]:
            yield f"task {task}: {len(twice)} fires were made more than once: {_some(twice)}"
        if foreign := [at_us for at_us in counts if at_us not in expected]:
            yield f"task {task}: {len(foreign)} fires are none of its trigger up to its watermark: {_some(foreign)}"
        # A run may stand for several fires: those that have none of their own are not all missing.
        accounted = {one.scheduled_us: one.stands_for for one in found if one.scheduled_us in expected}
        lacking = len(expected) - sum(accounted.values())
        if lacking > 0:
            without = expected - set(counts)
            yield f"task {task}: {lacking} of {len(expected)} fires are missing, among {_some(without)}"


def _i4_executions(evidence: Evidence) -> Iterator[str]:
    begun = Counter((one.run, one.token) for one in evidence.executions)
    if twice := [f"{run} token {token}" for (run, token), count in begun.items() if count > 1]:
        yield f"{len(twice)} attempts began more than once: {_some(twice)}"
    more, most = len(evidence.executions) - _attempts(evidence), len(evidence.deaths) * evidence.in_flight
    if more > most:
        yield f"{more} executions beyond the attempts that count, and {len(evidence.deaths)} deaths explain {most}"


def _i5_no_fault(evidence: Evidence) -> Iterator[str]:
    if not evidence.deaths and len(evidence.executions) != _attempts(evidence):
        counts = f"{len(evidence.executions)} executions of {_attempts(evidence)} attempts"
        yield f"nothing was killed, and there are {counts}"


def _i6_stale_ends(evidence: Evidence) -> Iterator[str]:
    ended = {record.id: record for record in evidence.records if not record.live}
    last: dict[str, int] = {}
    for one in evidence.executions:
        last[one.run] = max(one.token, last.get(one.run, 0))
    stale = [run for run, token in last.items() if run in ended and token >= ended[run].token]
    if stale:
        yield f"{len(stale)} runs were ended by an execution that others had overtaken: {_some(stale)}"
    fenced = [one for one in ended.values() if one.task in evidence.fenced and one.status == "SUCCESS"]
    if wrong := [one.id for one in fenced if one.result != str(one.token - 1)]:
        yield f"{len(wrong)} runs have the result of another execution than the one that ended them: {_some(wrong)}"
    carried_out = {(one.run, one.token) for one in evidence.executions if one.ended_us is not None}
    if unreal := [one.id for one in fenced if (one.id, one.token - 1) not in carried_out]:
        yield f"{len(unreal)} runs succeeded, and nobody carried them out to the end: {_some(unreal)}"


def _i7_recovery(evidence: Evidence) -> Iterator[str]:
    took = sorted(recoveries_us(evidence))
    if took and evidence.recovery_us is not None:
        p99_us = percentile(took, 99)
        if p99_us > evidence.recovery_us:
            yield f"what a dead worker ran began again after {p99_us / 1e6:.3f} s (p99 of {len(took)})"


def _i8_one_at_a_time(evidence: Evidence) -> Iterator[str]:
    held: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for one in evidence.executions:
        if one.key is not None:
            ends_us = one.ended_us
            if ends_us is None:  # how long a killed one went on is not known; so long it surely lived
                ends_us = max(one.began_us, evidence.deaths.get(one.worker, one.began_us))
            held[one.key].append((one.began_us, ends_us, one.run))
    for key, spans in held.items():
        spans.sort()
        if together := [f"{one[2]} and {other[2]}" for one, other in pairwise(spans) if other[0] < one[1]]:
            yield f"key {key}: {len(together)} times two ran at once: {_some(together)}"


def recoveries_us(evidence: Evidence) -> Iterator[int]:
    """How long after the death of its worker each attempt that was cut off began again."""
    by_run: defaultdict[str, list[Execution]] = defaultdict(list)
    for one in evidence.executions:
        by_run[one.run].append(one)
    for attempts in by_run.values():
        attempts.sort(key=lambda one: one.token)
        for one, other in pairwise(attempts):
            if one.ended_us is None and one.worker in evidence.deaths:
                yield other.began_us - evidence.deaths[one.worker]


def percentile(ordered: Sequence[int], of_100: int) -> int:
    """The least of them, in their order, below which so many of a hundred are."""
    return ordered[min(len(ordered) - 1, len(ordered) * of_100 // 100)]


def _attempts(evidence: Evidence) -> int:
    return sum(record.attempt for record in evidence.records)


def _expansion(trigger: Trigger, first_us: int, watermark_us: int | None) -> Iterator[int]:
    at_us = trigger.next_us(first_us - 1)
    while at_us is not None and (watermark_us is None or at_us < watermark_us):
        yield at_us
        at_us = trigger.next_us(at_us)


def _some(found: Iterable[object]) -> str:
    shown = sorted(map(str, found))
    return ", ".join(shown[:_SHOWN]) + (" ..." if len(shown) > _SHOWN else "")


# -- what workers note, each in files of its own


def acknowledged_in(folder: Path) -> set[str]:
    """The ids in the files ``acknowledged-*``, one in each line."""
    return {line for file in folder.glob("acknowledged-*") for line in _lines(file)}


def executions_in(folder: Path) -> list[Execution]:
    """What the files ``effects-<worker>`` tell.

    Their lines are ``began <run> <token> <microseconds> <key or ->`` and ``ended <run> <token> <microseconds>``.
    """
    found: list[Execution] = []
    for file in sorted(folder.glob("effects-*")):
        worker = file.name.partition("-")[2]
        began: dict[tuple[str, str], int] = {}
        for line in _lines(file):
            kind, run, token, at_us, *key = line.split(" ")
            if kind == "began":
                began[run, token] = len(found)
                found.append(Execution(run, int(token), worker, int(at_us), None, None if key == ["-"] else key[0]))
            else:
                place = began[run, token]
                found[place] = found[place]._replace(ended_us=int(at_us))
    return found


def _lines(file: Path) -> list[str]:
    """Its whole lines: the last one may have been cut off."""
    return file.read_text().split("\n")[:-1]


# -- what a SQLite file holds

_COLUMNS = "id, task, status, attempt, token, scheduled_at, stands_for, retry_of, result"


def sqlite_records(path: Path) -> list[Record]:
    """The live runs and the history of a SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        live = [Record(*row, live=True) for row in db.execute(f"SELECT {_COLUMNS} FROM asyncsched_runs")]
        return live + [Record(*row, live=False) for row in db.execute(f"SELECT {_COLUMNS} FROM asyncsched_history")]


def sqlite_watermarks(path: Path) -> dict[str, int | None]:
    """The watermark of each task of a SQLite file."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT id, next_at FROM asyncsched_tasks"))


def sqlite_damage(path: Path) -> list[str]:
    """What SQLite itself finds wrong with the file, and what is left of runs and nodes when all has ended."""
    counts = {
        "nodes that have not left": "SELECT count(*) FROM asyncsched_nodes",
        "needs of nobody": "SELECT count(*) FROM asyncsched_needs",
    }
    with contextlib.closing(sqlite3.connect(path)) as db:
        found = [words for (words,) in db.execute("PRAGMA integrity_check") if words != "ok"]
        for words, query in counts.items():
            (count,) = db.execute(query).fetchone()
            found += [f"{count} {words}"] if count else []
        for row in db.execute("SELECT id, task, status, attempt FROM asyncsched_runs LIMIT 5"):
            found.append("run {} of {} has not ended: {}, attempt {}".format(*row))
    return found + [f"{file.name} is left" for file in path.parent.glob(f"{path.name}-node-*")]

"""Whether the chronicle of a store holds together: what should have been, what the store says, and what really ran.

After Kingsbury's analysis of Chronos (Jepsen, 2015): from the triggers follows which fires there should have been, in
which time each was to be handled, and each must be matched by exactly one record, and each record by what ran for it.
All functions here are pure; what is wrong is told in words, with the instant at which to look.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from asyncsched.fires import LATE_US
from asyncsched.spread import jittered_us
from asyncsched.triggers import Trigger

from .weather import CLOCKS_US, LOOSE, SECOND_US, Bounds, Trouble, Weather

# So many runs a fire must meet to be skipped.
_MET = {"skip": 1, "queue_one": 2, "queue_all": 1000}
# A run that has lost so many nodes is given up.
_LOST = 3


class Script(NamedTuple):
    """A task: when it was to fire, from the first instant on and up to its watermark, and under which policy.

    trigger: ``None`` for one that runs after the tasks in ``needs``.
    watermark_us: a fire there is not among them; ``None``: there is none left.
    """

    task: str
    trigger: Trigger | None
    first_us: int = 0
    watermark_us: int | None = None
    missed: str = "latest"
    grace_us: int | None = None
    overlap: str = "skip"
    jitter_us: int = 0
    needs: tuple[str, ...] = ()

    @property
    def serial(self) -> bool:
        """Whether its runs take turns."""
        return self.overlap.startswith("queue") or (self.missed == "all" and self.overlap != "allow")

    def starts_us(self, at_us: int) -> int:
        """When the run of the fire at ``at_us`` may start."""
        return jittered_us(self.task, at_us, self.jitter_us)


class Record(NamedTuple):
    """A run, or a fire that was skipped, as it is stored. result: the text of its JSON."""

    id: str
    task: str
    status: str
    reason: str | None
    attempt: int
    token: int
    scheduled_us: int | None
    stands_for: int
    created_us: int
    finished_us: int | None
    flow: str | None
    result: str | None
    live: bool


class Entry(NamedTuple):
    """One attempt that really began, as its worker noted it. ended_us: ``None`` if it came to no end."""

    task: str
    scheduled_us: int | None
    run: str
    token: int
    worker: str
    began_us: int
    ended_us: int | None


class Mismatch(NamedTuple):
    """What does not fit, and when."""

    at_us: int
    task: str
    words: str


@dataclass(frozen=True)
class Story:
    """All that is there to be judged.

    forgotten: the times of which the store has lost what it had answered: what was then cannot be known from it.
    bounds: ``None`` where time is not judged.
    """

    scripts: Sequence[Script]
    records: Sequence[Record]
    entries: Sequence[Entry]
    troubles: Sequence[Trouble] = ()
    bounds: Bounds | None = None
    forgotten: Sequence[tuple[int, int]] = ()

    @cached_property
    def of_task(self) -> Mapping[str, list[Record]]:
        """The records of each task, those of fires by their instants."""
        found: defaultdict[str, list[Record]] = defaultdict(list)
        for record in sorted(self.records, key=lambda one: (one.scheduled_us or 0, one.created_us, one.id)):
            found[record.task].append(record)
        return found

    @cached_property
    def of_run(self) -> Mapping[str, list[Entry]]:
        """The attempts of each run, as they followed one another."""
        found: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in sorted(self.entries, key=lambda one: (one.token, one.began_us)):
            found[entry.run].append(entry)
        return found

    @cached_property
    def weather(self) -> Weather:
        return Weather(self.troubles, self.bounds or LOOSE)

    @cached_property
    def by_id(self) -> Mapping[str, Record]:
        return {record.id: record for record in self.records}


def mismatches(story: Story) -> list[Mismatch]:
    """All that does not fit, by time; nothing if all is well."""
    found = [*_doubled(story), *_entries(story), *_flows(story)]
    for script in story.scripts:
        if script.trigger is not None:
            found += _fires(script, story.of_task[script.task])
            found += _reasons(script, story)
    for record in story.records:
        found += _outcome(story, record)
    if story.bounds is not None:
        found += [late.mismatch for late in lateness(story) if late.mismatch is not None]
    return sorted(one for one in found if not any(start <= one.at_us <= end for start, end in story.forgotten))


# -- each fire has one record


def instants(script: Script) -> list[int]:
    """The fires that there should have been."""
    assert script.trigger is not None
    found, at_us = [], script.trigger.next_us(script.first_us - 1)
    while at_us is not None and (script.watermark_us is None or at_us < script.watermark_us):
        found.append(at_us)
        at_us = script.trigger.next_us(at_us)
    return found


def covered(expected: Sequence[int], record: Record) -> Sequence[int]:
    """The fires that a record stands for: its own, and those before it."""
    assert record.scheduled_us is not None
    place = bisect_left(expected, record.scheduled_us)
    if place == len(expected) or expected[place] != record.scheduled_us:
        return ()
    return expected[max(0, place + 1 - record.stands_for) : place + 1]


def _fires(script: Script, records: Sequence[Record]) -> Iterator[Mismatch]:
    expected = instants(script)
    counts: Counter[int] = Counter()
    for record in records:
        if record.scheduled_us is None:
            continue
        instances = covered(expected, record)
        if not instances:
            yield Mismatch(record.scheduled_us, script.task, f"none of its fires up to its watermark: {record}")
        elif len(instances) < record.stands_for:
            yield Mismatch(record.scheduled_us, script.task, f"stands for more fires than there were: {record}")
        counts.update(instances)
    for at_us in expected:
        if counts[at_us] != 1:
            how = "has no record" if not counts[at_us] else f"has {counts[at_us]} records"
            yield Mismatch(at_us, script.task, f"the fire at {at_us} {how}")


def _reasons(script: Script, story: Story) -> Iterator[Mismatch]:
    """Whether what each record says of its fires was so when it was decided."""
    expected = instants(script)
    for record in story.of_task[script.task]:
        if record.scheduled_us is None or not (instances := covered(expected, record)):
            continue
        for words in _untrue(script, story, record, instances):
            yield Mismatch(record.scheduled_us, script.task, f"{words}: {record}")


def _untrue(script: Script, story: Story, record: Record, fires: Sequence[int]) -> Iterator[str]:
    records = story.of_task[script.task]
    ages = [record.created_us - script.starts_us(at_us) for at_us in fires]
    if ages[-1] < 0:
        yield "was made before its instant had come"
    skipped = record.status == "SKIPPED"
    if skipped and record.reason == "missed":
        if min(ages) <= LATE_US:
            yield "is said to be missed, and was not late"
        if script.missed != "skip" and (script.grace_us is None or min(ages) <= max(script.grace_us, LATE_US)):
            yield f"is said to be missed, and missed={script.missed!r} would have had it run"
        return
    if skipped and record.reason == "overlap":
        if script.overlap == "allow":
            yield "is said to overlap, where runs may"
        elif sum(_under_way(story, one, record.created_us) for one in records) < _MET.get(script.overlap, 1):
            yield "is said to overlap, and too few runs were under way"
    elif skipped:
        yield "was skipped for no reason that there could be"
    if record.stands_for > 1 and (script.missed != "latest" or ages[0] <= LATE_US):
        yield "stands for fires that could have had records of their own"
    if script.missed == "skip" and max(ages) > LATE_US:
        yield "was made of a fire that was missed, which missed='skip' forbids"
    if script.grace_us is not None and max(ages) > max(script.grace_us, LATE_US):
        yield "was made of a fire that was older than the grace"


def _under_way(story: Story, record: Record, at_us: int) -> bool:
    """Whether a run was, as the store knows it: there an end is one when it has been told of it."""
    if record.status == "SKIPPED" or record.created_us > at_us + CLOCKS_US:
        return False
    ended_us = at_us if record.finished_us is None else record.finished_us
    return at_us <= story.weather.deadline_us(ended_us)


# -- each record has what ran for it


def _doubled(story: Story) -> Iterator[Mismatch]:
    for run, count in Counter(record.id for record in story.records).items():
        if count > 1:
            record = story.by_id[run]
            yield Mismatch(record.created_us, record.task, f"run {run} has {count} records")
    for (run, token), count in Counter((one.run, one.token) for one in story.entries).items():
        if count > 1:
            entry = story.of_run[run][0]
            yield Mismatch(entry.began_us, entry.task, f"run {run} began {count} times under token {token}")


def _outcome(story: Story, record: Record) -> Iterator[Mismatch]:
    at_us = record.created_us if record.scheduled_us is None else record.scheduled_us
    entries = story.of_run.get(record.id, [])
    if record.live:
        yield Mismatch(at_us, record.task, f"has not ended: {record}")
    elif record.status == "SKIPPED":
        if entries:
            yield Mismatch(at_us, record.task, f"was skipped, and began under token {entries[0].token}: {record}")
    elif record.status == "SUCCESS":
        ending = [one for one in entries if one.token == record.token - 1]
        if not ending or ending[0].ended_us is None or record.result != str(record.token - 1):
            yield Mismatch(at_us, record.task, f"nobody has carried out to its end what succeeded: {record}, {entries}")
        if any(one.token >= record.token for one in entries):
            yield Mismatch(at_us, record.task, f"went on after it had ended: {record}, {entries}")
    elif record.reason != "lost" or _troubled(story, record) < _LOST:
        yield Mismatch(at_us, record.task, f"ended as nothing here should: {record}")


def _troubled(story: Story, record: Record) -> int:
    """How much happened while a run was on its way."""
    until_us = record.finished_us or record.created_us
    return sum(one.from_us <= until_us and one.until_us >= record.created_us for one in story.troubles)


def _entries(story: Story) -> Iterator[Mismatch]:
    """What ran and is known to no record, or ran again though nothing had happened to it."""
    for run, entries in story.of_run.items():
        first, record = entries[0], story.by_id.get(run)
        if record is None:
            yield Mismatch(first.began_us, first.task, f"ran, and has no record: {first}")
        elif (first.task, first.scheduled_us) != (record.task, record.scheduled_us):
            yield Mismatch(first.began_us, first.task, f"ran for another fire than {record}: {first}")
        for one, other in pairwise(entries):
            if not any(_explains(story, trouble, one, other) for trouble in story.troubles):
                yield Mismatch(other.began_us, other.task, f"ran again, and nothing had happened: {one}, {other}")


def _explains(story: Story, trouble: Trouble, one: Entry, other: Entry) -> bool:
    """Whether an attempt may have been begun anew for this trouble of its worker."""
    if trouble.workers and one.worker not in trouble.workers:
        return False
    slack_us = other.began_us if story.bounds is None else story.bounds.recovery_us
    return trouble.from_us <= other.began_us and trouble.until_us + slack_us >= one.began_us


def _flows(story: Story) -> Iterator[Mismatch]:
    """Whether each fire at the head of a graph is followed by a run of each task below it, after its upstreams."""
    below = {script.task: script for script in story.scripts if script.needs}
    heads = {task for script in below.values() for task in script.needs} - set(below)
    flows: defaultdict[str, list[Record]] = defaultdict(list)
    for record in story.records:
        if record.task in below and record.flow is not None:
            flows[record.flow].append(record)
        elif record.task in heads and record.status != "SKIPPED":
            flows[record.flow or record.id].append(record)
    for flow, records in flows.items():
        at_us, tasks = records[0].created_us, sorted(record.task for record in records)
        if tasks != sorted([*heads, *below]):
            yield Mismatch(at_us, tasks[0], f"flow {flow} consists of {tasks}")
            continue
        by_task = {record.task: record for record in records}
        for script in below.values():
            went = {by_task[task].status for task in script.needs}
            if (by_task[script.task].status == "SKIPPED") == (went == {"SUCCESS"}):
                yield Mismatch(at_us, script.task, f"flow {flow}: what it needs has ended as {went}: {records}")
            began = [one.began_us for one in story.of_run.get(by_task[script.task].id, [])]
            ended = [by_task[task].finished_us or 0 for task in script.needs]
            if began and min(began) < max(ended) - CLOCKS_US:
                yield Mismatch(min(began), script.task, f"flow {flow}: began before what it needs had ended: {records}")


# -- in its time


class Late(NamedTuple):
    """How long after it was owed something came: the record of a fire, or the beginning of a run.

    calm: whether nothing had happened before, or meanwhile. mismatch: what is wrong about it, if it came too late.
    """

    what: str
    by_us: int
    calm: bool
    mismatch: Mismatch | None


def lateness(story: Story) -> Iterator[Late]:
    """How late everything came: what each fire became, and each run of a fire or of a graph."""
    assert story.bounds is not None
    weather = story.weather
    for script in story.scripts:
        for what, owed_us, came_us, record in _owed(story, script):
            by_us = came_us - owed_us
            allowed_us = weather.deadline_us(owed_us) - owed_us
            calm, mismatch = weather.calm(owed_us), None
            if not -CLOCKS_US <= by_us <= allowed_us:
                when = "calm" if calm else "trouble"
                words = f"{what} came {by_us / SECOND_US:.3f} s after it was owed, in {when}"
                allowed = f"where {allowed_us / SECOND_US:.3f} s are allowed"
                mismatch = Mismatch(owed_us, script.task, f"{words}, {allowed}: {record}")
            yield Late(what, by_us, calm, mismatch)


def _owed(story: Story, script: Script) -> Iterator[tuple[str, int, int, Record]]:
    """What came of a task, when it was owed, and when it came."""
    expected = [] if script.trigger is None else instants(script)
    ended_us = 0
    for record in story.of_task[script.task]:
        owed_us = 0
        if record.scheduled_us is not None:
            for at_us in covered(expected, record):
                owed_us = script.starts_us(at_us)
                yield "what became of a fire", owed_us, record.created_us, record
        entries = story.of_run.get(record.id)
        if not entries:
            continue
        if script.needs:
            owed_us = _ready_us(story, script, record)
        if script.serial:
            owed_us = max(owed_us, ended_us)
            ended_us = max(ended_us, record.finished_us or 0)
        if owed_us:
            yield "a run", owed_us, min(one.began_us for one in entries), record


def _ready_us(story: Story, script: Script, record: Record) -> int:
    """When the last of what a run needs had ended."""
    upstreams = (one for task in script.needs for one in story.of_task[task] if one.flow == record.flow)
    return max((one.finished_us or 0 for one in upstreams), default=0)


# -- in words


def around(story: Story, mismatch: Mismatch, within_us: int = 15 * SECOND_US) -> str:
    """A mismatch, and what happened around it."""
    near = [one for one in story.troubles if abs(mismatch.at_us - one.from_us) < within_us]
    near += [one for one in story.troubles if one not in near and one.from_us <= mismatch.at_us <= one.until_us]
    records = [one for one in story.of_task[mismatch.task] if abs(one.created_us - mismatch.at_us) < within_us // 5]
    entries = [entry for one in records for entry in story.of_run.get(one.id, [])]
    lines = [f"{mismatch.at_us} {mismatch.task}: {mismatch.words}", *_listed("trouble", near)]
    return "\n".join([*lines, *_listed("record", records), *_listed("ran", entries)])


def _listed(what: str, found: Iterable[object]) -> list[str]:
    return [f"    {what}: {one}" for one in found]


def summary(story: Story) -> str:
    """What there was, and how late it came."""
    counts = Counter(f"{one.status} {one.reason or ''}".strip() for one in story.records)
    fires = sum(len(instants(script)) for script in story.scripts if script.trigger is not None)
    again = len(story.entries) - len(story.of_run)
    lines = [
        f"{fires} fires, {len(story.records)} records {dict(counts)}",
        f"{len(story.entries)} executions, {again} of them again",
        f"{len(story.troubles)} troubles {dict(Counter(one.kind for one in story.troubles))}",
    ]
    if story.bounds is not None:
        sorts: defaultdict[str, list[int]] = defaultdict(list)
        for late in lateness(story):
            sorts[f"{late.what}, {'calm' if late.calm else 'trouble'}"].append(late.by_us)
        lines += [_spread(sort, sorted(found)) for sort, found in sorted(sorts.items())]
    return "\n".join(lines)


def _spread(sort: str, late_us: Sequence[int]) -> str:
    p50, p99, most = (late_us[min(len(late_us) - 1, len(late_us) * part // 100)] / 1000 for part in (50, 99, 100))
    return f"{sort}: {len(late_us)}, late by p50 {p50:.0f} ms, p99 {p99:.0f} ms, at most {most:.0f} ms"

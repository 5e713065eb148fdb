"""What a run that has not started waits for, in words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncsched.backfill import BACKFILL_KEY
from asyncsched.duration import format_duration
from asyncsched.evidence import Case, listed
from asyncsched.explanation import WaitsFor
from asyncsched.phrases import error_words, number_words
from asyncsched.run import Run
from asyncsched.stored import PARKED


def waits(case: Case, run: Run[Any]) -> tuple[WaitsFor, str, str | None]:
    """What a run that is PENDING waits for: the first thing that holds it back."""
    if run.reason is not None and run.reason.startswith(PARKED):
        return "task", run.reason, None
    if run.blocked:
        return "upstream", _waits_for_upstreams(case, run), None
    if run.due_us > case.now_us:
        return _waits_for_instant(case, run)
    terms, room = run.terms, case.room
    holders = [] if terms.limit_key is None else case.places.get(terms.limit_key, [])
    if holders and terms.limit is not None and run not in holders:
        return "limit", f"waits for {_shared(case, run, holders)}", None
    if terms.rate is not None and (wait := _waits_for_rate(case, run)) is not None:
        return "rate", wait, None
    under_way = [each for each in room.under_way if each.id != run.id]
    if room.queues is not None:
        if terms.queue not in room.queues:
            served = ", ".join(map(repr, room.queues)) or "none"
            cure = f"start a node that serves it, or add it to queues= of this one, which serves {served}"
            return "node", f"waits for a node that serves queue {terms.queue!r}", cure
        limit = room.queues[terms.queue]
        busy = [each for each in under_way if each.queue == terms.queue]
        if limit is not None and len(busy) >= limit:
            most = number_words(limit, "run")
            return "queue", f"waits for a place in queue {terms.queue!r}: {most} at once, {_busy(busy)}", None
    group_limit = None if terms.group is None else room.groups.get(terms.group)
    if group_limit is not None:
        busy = [each for each in under_way if each.terms.group == terms.group]
        if len(busy) >= group_limit:
            most = number_words(group_limit, "run")
            return "group", f"waits for a place in group {terms.group!r}: {most} at once, {_busy(busy)}", None
    if room.max_running is not None and len(under_way) >= room.max_running:
        most = number_words(room.max_running, "run")
        return "scheduler", f"waits for a place in the scheduler: {most} at once, {_busy(under_way)}", None
    return "start", "is ready, and about to start", None


def _waits_for_instant(case: Case, run: Run[Any]) -> tuple[WaitsFor, str, str | None]:
    due = case.when(run.due_us)
    if run.attempt:
        why = "" if run.error is None else f" ({error_words(run.error)})"
        return "retry", f"attempt {run.attempt} failed{why}, the next one is due at {due}", None
    if run.scheduled_us is not None and case.policy.jitter is not None:
        spread = format_duration(case.policy.jitter)
        return "instant", f"starts at {due}: jitter='{spread}' spreads the starts of its fires", None
    return "instant", f"does not start before {due}", None


def _waits_for_upstreams(case: Case, run: Run[Any]) -> str:
    needed = [case.upstreams[need] for need in run.needs if need in case.upstreams]
    waited = [f"{each.task} ({each.status})" for each in needed if not each.status.final]
    until_us = None if run.edges is None else run.edges.until_us
    until = "" if until_us is None else f", until {case.when(until_us)} at most"
    return f"waits for its upstreams: {listed(waited) or 'all have ended'}{until}"


def _waits_for_rate(case: Case, run: Run[Any]) -> str | None:
    """When its rate lets it start, if that is later than now."""
    rate, key = run.terms.rate, run.terms.limit_key
    assert rate is not None
    starts = sorted(each.started_us for each in case.runs if each.terms.limit_key == key and each.started_us)
    next_us = rate.next_us(starts, case.now_us)
    if next_us <= case.now_us:
        return None
    return f"waits for its rate: at most {rate} starts, the next one at {case.when(next_us)}"


def _busy(runs: Sequence[Run[Any]]) -> str:
    tasks = sorted({each.task for each in runs})
    return f"and {listed(tasks)} {'is' if len(tasks) == 1 else 'are'} running"


def _shared(case: Case, run: Run[Any], holders: Sequence[Run[Any]]) -> str:
    """The place that others hold."""
    held_by = listed([f"{case.name(each)} ({each.status})" for each in holders])
    key = run.terms.limit_key or ""
    if key.startswith(BACKFILL_KEY):
        return f"its turn: a backfill makes one run after another, and there is {held_by}"
    apart = key.partition("/")[2]
    of = f"its task with key {apart!r}" if apart else "its task"
    assert run.terms.limit is not None
    return f"a place: at most {number_words(run.terms.limit, 'run')} of {of} at once, and there is {held_by}"

"""What is on record of a task, gathered and put into words: ``scheduler.tasks.explain``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from asyncsched._engine.engine import Engine
from asyncsched._engine.living import ArmedTask, Living
from asyncsched.blackout import look_at
from asyncsched.clock import Clock
from asyncsched.evidence import ANYWHERE, Case, Room, listed, places_of
from asyncsched.explanation import Account, Explanation, Note
from asyncsched.fires import Overdue, exhausted
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.phrases import error_words, moment_words, number_words
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.reasons import account
from asyncsched.run import FINAL, Run, RunStatus, SkipReason
from asyncsched.stores import FOREVER, RunFilter, Store
from asyncsched.task import Task
from asyncsched.triggers import Never

# Of the runs that wait so many are looked at: a queue of 10,000 explains nothing that 1,000 do not.
_LIVE = 1_000
# So many runs that others need are looked up, one by one.
_UPSTREAMS = 200
# So many fires that are not recorded yet are counted; more are "more than". About 10 ms of work.
_STEPS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Where a task is looked at from.

    error: what its trigger raised, if that is why it fires no more.
    standing_by: whether another process fires.
    fires: whether this one ever does.
    stopping: whether the scheduler takes nothing on any more.
    """

    store: Store
    now_us: int
    room: Room = ANYWHERE
    error: BaseException | None = None
    standing_by: bool = False
    fires: bool = True
    stopping: bool = False

    @classmethod
    def of(cls, engine: Engine, task_id: str) -> Sight:
        """How this scheduler sees the task."""
        capacity = engine.capacity
        under_way = [living.run for living in engine.living.runs.values()]
        return cls(
            store=engine.store,
            now_us=engine.clock.now_us(),
            room=Room(
                queues=capacity.queues,
                groups=capacity.groups,
                max_running=capacity.max_running,
                under_way=under_way,
            ),
            error=engine.living.broken.get(task_id),
            standing_by=engine.firing.standing_by,
            fires=engine.fires,
            stopping=engine.stopping,
        )


async def explain(armed: ArmedTask, sight: Sight, last: int) -> Explanation:
    """What became of the fires of the task, as far as is on record: the ``last`` ended runs and skips."""
    task_id = armed.task.id
    ended = await sight.store.runs(RunFilter(task=task_id, status=FINAL, limit=last))
    live = await sight.store.runs(RunFilter(task=task_id, status={RunStatus.PENDING, RunStatus.RUNNING}, limit=_LIVE))
    runs = [*live, *ended]
    links = armed.task.links
    looks = await sight.store.lookback(links.needs) if links.needs else {}
    case = Case(
        policy=armed.policy,
        zone=armed.zone,
        now_us=sight.now_us,
        runs=runs,
        links=links,
        upstreams=await _upstreams(sight.store, runs),
        succeeded={task: None if (run := look.succeeded) is None else run.finished_us for task, look in looks.items()},
        room=sight.room,
        places=places_of(live, sight.now_us),
    )
    next_us = None if sight.error is not None else next(armed.fires(sight.now_us), None)
    unrecorded = _unrecorded(armed, case, sight)
    trigger = armed.overrides.trigger or armed.task.trigger
    return Explanation(
        task=task_id,
        at=case.moment(sight.now_us),
        trigger=None if trigger is None else trigger.describe(),
        next_fire=None if next_us is None else case.moment(next_us),
        notes=tuple(_notes(armed, case, sight, next_us)),
        live=_newest_first([*_accounts(case, live), *(one for one in unrecorded if one.status is RunStatus.PENDING)]),
        recent=_newest_first(
            [
                *_accounts(case, _not_replayed(runs, ended)),
                *(one for one in unrecorded if one.status is not RunStatus.PENDING),
            ]
        ),
    )


async def _upstreams(store: Store, runs: Sequence[Run[Any]]) -> dict[str, Run[Any]]:
    """The runs that decide about some of these: of those that wait for them, or were skipped for them."""
    held = [run for run in runs if run.needs and (run.blocked or run.status is RunStatus.SKIPPED)]
    needs = dict.fromkeys(need for run in held for need in run.needs)
    found = [await store.run(need) for need in islice(needs, _UPSTREAMS)]
    return {run.id: run for run in found if run is not None}


def _accounts(case: Case, runs: Sequence[Run[Any]]) -> Iterator[Account]:
    return (account(case, run) for run in runs)


def _newest_first(accounts: Sequence[Account]) -> tuple[Account, ...]:
    # The store's order stands among those of one instant.
    return tuple(sorted(accounts, key=lambda each: each.at, reverse=True))


def _not_replayed(runs: Sequence[Run[Any]], ended: Sequence[Run[Any]]) -> list[Run[Any]]:
    """Those that have ended, without records of skips in place of which a run was made afterwards."""
    ran = {run.scheduled_us for run in runs if run.scheduled_us and run.status is not RunStatus.SKIPPED}
    return [
        run
        for run in ended
        if not (run.status is RunStatus.SKIPPED and run.stands_for == 1 and run.scheduled_us in ran)
    ]


def _unrecorded(armed: ArmedTask, case: Case, sight: Sight) -> list[Account]:
    """The fires that have come and are on no record yet: those of a pause, and those that are due at this moment."""
    first_us, paused = armed.next_us, armed.paused_until_us is not None
    if first_us is None or first_us > case.now_us or sight.standing_by or sight.error is not None:
        return []
    trigger = Never() if armed.trigger is None or armed.policy.anchor == "completion" else armed.trigger
    overdue = Overdue(trigger, first_us, case.now_us, DEFAULT_POLICY)
    complete = overdue.walk(_STEPS)
    ran = {run.scheduled_us for run in case.runs if run.status is not RunStatus.SKIPPED}
    count = overdue.count - sum(first_us <= at_us <= case.now_us for at_us in ran if at_us is not None)
    if count < 1:
        return []
    says, starts_us = "is due, and about to be handled", armed.starts_us(first_us)
    if starts_us > case.now_us:
        says = f"starts at {case.when(starts_us)}: jitter= spreads the starts of its fires"
    if paused:
        says = "the task is paused: it will be recorded as skipped when the pause ends"
    return [
        Account(
            run=None,
            at=case.moment(overdue.kept[-1]),
            scheduled=True,
            stands_for=count,
            status=RunStatus.SKIPPED if paused else RunStatus.PENDING,
            says=says if complete else f"{says}; there are more of them than were counted",
            reason=SkipReason.PAUSED if paused else None,
            waits_for=None if paused else "instant" if starts_us > case.now_us else "turn",
        )
    ]


def _notes(armed: ArmedTask, case: Case, sight: Sight, next_us: int | None) -> Iterator[Note]:
    """What decides now when the task runs, or that it does not."""
    if sight.stopping:
        yield Note(kind="stopping", says="the scheduler is stopping: it starts nothing any more")
    if not sight.fires:
        yield Note(kind="standing_by", says="this process fires nothing: its roles= say so; another one does")
    elif sight.standing_by:
        cure = "once_per_host=False lets each process fire"
        yield Note(kind="standing_by", says="another process of this host fires; this one stands by", cure=cure)
    if armed.overrides != NO_OVERRIDES:
        yield _override_note(armed.overrides, armed.task)
    if armed.paused_until_us is not None:
        yield _pause_note(armed.paused_until_us, case)
    if armed.skip_us is not None and armed.skip_us > case.now_us:
        yield Note(kind="skip_next", says=f"its fire at {case.when(armed.skip_us)} will be skipped, as was asked")
    if sight.error is not None:
        says = f"it fires no more: its trigger raised {error_words(sight.error)}"
        yield Note(kind="broken", says=says, cure="mend the trigger and tasks.replace it")
    elif armed.next_us is None:
        yield from _no_fire_notes(armed)
    elif armed.task.links.needs:
        yield from _dependency_notes(armed, case)
    blackout = armed.policy.blackout
    if blackout and next_us is not None:
        dark, until_us = look_at(blackout, next_us, armed.zone.key)
        if dark:
            until = case.when(until_us)
            yield Note(kind="blackout", says=f"its next fire lies within a blackout, until {until} at least")


def _override_note(overrides: Overrides, task: Task[..., Any]) -> Note:
    """What an operator has put, and what code says in its place."""
    put = []
    if overrides.trigger is not None and task.trigger is not None:
        put.append(f"the trigger, where code says {task.trigger.describe()!r}")
    if overrides.priority is not None:
        put.append(f"priority={overrides.priority}, where code says {task.policy.priority}")
    if overrides.max_running is not None:
        put.append(f"max_running={overrides.max_running}, where code says {task.policy.max_running}")
    put += [f"{name}, which a later version knows" for name in overrides.more or ()]
    why = "" if overrides.note is None else f": {overrides.note}"
    says = f"an operator has put {'; '.join(put)}{why}"
    return Note(kind="override", says=says, cure="tasks.reset lets what the code says hold again")


def _pause_note(until_us: int, case: Case) -> Note:
    cure = "tasks.resume lets it fire again"
    if until_us == FOREVER:
        return Note(kind="paused", says="it is paused until it is resumed", cure=cure)
    says = f"it is paused until {moment_words(case.moment(until_us))}"
    return Note(kind="paused", says=says, cure=cure)


def _dependency_notes(armed: ArmedTask, case: Case) -> Iterator[Note]:
    """What a task with a trigger of its own has to wait for besides."""
    links = armed.task.links
    since_us = max((run.first_us or run.scheduled_us or 0 for run in case.runs if run.scheduled_us), default=None)
    fresh = links.dependency == "fresh"
    lacking = [
        task
        for task, at_us in case.succeeded.items()
        if at_us is None or (fresh and since_us is not None and at_us <= since_us)
    ]
    if lacking:
        asked = "since its previous fire" if fresh else "yet"
        says = f"it depends on {listed(lacking)}, which has not succeeded {asked}: till then no fire of it runs"
        yield Note(kind="dependency", says=says, cure=f"tasks.explain({lacking[0]!r}) tells why")


def _no_fire_notes(armed: ArmedTask) -> Iterator[Note]:
    """Why a task that nobody broke has no next fire."""
    links, most = armed.task.links, armed.policy.max_runs
    if armed.task.trigger is None and links.needs:
        yield Note(kind="upstream", says=f"it has no trigger: it follows {listed(links.needs)} (rule={links.rule!r})")
    elif armed.task.trigger is None:
        yield Note(kind="submitted", says="it has no trigger: it runs when it is submitted")
    elif exhausted(armed.policy, armed.made):
        yield Note(kind="max_runs", says=f"it fires no more: max_runs={most} were made", cure="a greater max_runs=")
    elif isinstance(armed.trigger, Never):
        yield Note(kind="never", says="its trigger never fires", cure="tasks.run_now runs it at once")
    elif armed.policy.anchor == "completion" and armed.live:
        runs = number_words(armed.live, "run")
        yield Note(kind="completion", says=f"its next fire is counted from the end of what is under way ({runs})")
    else:
        yield Note(
            kind="over",
            says="it fires no more: its trigger has no instants left",
            cure="tasks.replace gives it another trigger, tasks.run_now runs it at once",
        )


async def explain_stored(store: Store, clock: Clock, tz: str, task: Task[..., Any], last: int) -> Explanation | None:
    """The same for a process that serves nothing and only asks the store; ``None`` if that does not know the task."""
    await store.open(f"looking:{os.getpid()}", clock)
    try:
        found = await store.standings([task.id])
        if not found:
            return None
        armed = ArmedTask(task, found[0], Living(tz, store.recent))
        # Whichever nodes there are, nothing is known here of how many runs they take.
        return await explain(armed, Sight(store=store, now_us=clock.now_us()), last)
    finally:
        await store.close()

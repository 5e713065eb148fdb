"""What is on record of a task that no node serves, put into words: ``scheduler.tasks.explain`` of such a one."""

from __future__ import annotations

from typing import Any

from asyncsched.evidence import Case, places_of
from asyncsched.explanation import Account, Explanation, Note
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.reasons import account
from asyncsched.run import FINAL, Run, RunStatus
from asyncsched.stored import StoredTask, retired_words
from asyncsched.stores import RunFilter, Store
from asyncsched.zone import load_zone

_LIVE = 1_000


async def explain_unserved(store: Store, task_id: str, tz: str, now_us: int, last: int) -> Explanation | None:
    """What became of the task, as far as is on record; ``None`` if nothing is.

    Such a task may be served by another node, of other code; then it is looked at from there.
    """
    found = await store.tasks([task_id])
    unfinished = {RunStatus.PENDING, RunStatus.RUNNING}
    live = await store.runs(RunFilter(task=task_id, status=unfinished, limit=_LIVE))
    ended = await store.runs(RunFilter(task=task_id, status=FINAL, limit=last))
    if not (found or live or ended):
        return None
    stored = found[0] if found else StoredTask(task=task_id, retired=True)
    case = Case(
        policy=DEFAULT_POLICY,
        zone=load_zone(getattr(stored.trigger, "tz", None) or tz),
        now_us=now_us,
        runs=[*live, *ended],
        places=places_of(live, now_us),
    )
    return Explanation(
        task=task_id,
        at=case.moment(now_us),
        trigger=None if stored.trigger is None else stored.trigger.describe(),
        next_fire=None if stored.next_fire is None else stored.next_fire.astimezone(case.zone),
        notes=(_note(stored),),
        live=_accounts(case, live),
        recent=_accounts(case, ended),
    )


def _note(stored: StoredTask) -> Note:
    if not stored.retired:
        return Note(kind="retired", says="another node declares it, and this one does not")
    cure = f"start a node that declares it; if it was renamed, give the new one aliases=[{stored.task!r}]"
    says = f"{retired_words(stored.retired_us)}: it does not fire, and its runs wait"
    return Note(kind="retired", says=says, cure=cure)


def _accounts(case: Case, runs: list[Run[Any]]) -> tuple[Account, ...]:
    return tuple(sorted((account(case, run) for run in runs), key=lambda each: each.at, reverse=True))

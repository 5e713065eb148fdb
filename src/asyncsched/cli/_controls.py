"""``asyncsched pause``, ``resume``, ``cancel``, ``retry``, ``prune``: what a store holds is stopped or let go on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from asyncsched.cli._acting import act, look
from asyncsched.cli._arguments import Place
from asyncsched.cli._records import Zones, list_runs, run_json, run_named, task_id_of
from asyncsched.cli._show import Part, Screen, print_json, second_words, short_names
from asyncsched.clock import SystemClock, from_us, to_us
from asyncsched.errors import ConfigError, UnknownTask
from asyncsched.phrases import number_words
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler, keep_us_of, store_of
from asyncsched.stores import FOREVER, Amendment, Standing, Store

_MOST = 100_000  # runs at hand at once: some 100 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which runs: the one of this id, or all of this queue and task, from then on; ``None`` is all."""

    run: str | None = None
    task: str | None = None
    queue: str | None = None
    since: datetime | None = None


def pause(place: Place, name: str, until: datetime | None, *, as_json: bool) -> None:
    """Lets no fire of the task become a run, until then or without end.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    task_id = task_id_of(place, name)

    if place.coded:
        act(place, lambda node: node.tasks.pause(task_id, until=until))
    else:
        until_us = FOREVER if until is None else to_us(until)
        look(place, lambda store: _amend(store, task_id, until_us))
    end = None if until is None else Zones(place).show(task_id, to_us(until))
    if as_json:
        print_json({"task": task_id, "paused": True, "until": None if end is None else end.isoformat()})
        return
    how = "until it is resumed" if end is None else f"until {second_words(end)}"
    _say(Screen(), task_id, ("paused ", "yellow"), how)


def resume(place: Place, name: str, *, as_json: bool) -> None:
    """Lets the task fire again.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
    """
    task_id = task_id_of(place, name)

    if place.coded:
        act(place, lambda node: node.tasks.resume(task_id))
    else:
        look(place, lambda store: _amend(store, task_id, None))
    (stored,) = look(place, lambda store: store.tasks([task_id]))
    at = None if stored.next_us is None else from_us(stored.next_us)
    # What came during the pause is accounted for by whoever serves the task, a moment later.
    coming = None if at is None or at <= SystemClock().now() else Zones(place).show(task_id, to_us(at))
    if as_json:
        print_json({"task": task_id, "paused": False, "next": None if coming is None else coming.isoformat()})
        return
    _say(Screen(), task_id, ("resumed", "green"), "" if coming is None else f", next {second_words(coming)}")


def _say(screen: Screen, task_id: str, what: Part, more: str) -> None:
    screen.say((short_names([task_id])[task_id], "bold"), ": ", what, more)


async def _amend(store: Store, task_id: str, paused_until_us: int | None) -> None:
    """Pause a task, or resume it, whose code is not at hand; whoever serves it follows.

    Raises:
        UnknownTask: nobody ever declared it there; the message offers near ones.
    """
    found = await store.standings([task_id])
    if not found:
        near = get_close_matches(task_id, [known.task for known in await store.tasks()], 3, 0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "give its whole id, as in 'module:function'"
        raise UnknownTask(f"no task {task_id!r} is stored there: {hint}")
    standing: Standing | None = found[0]
    while standing is not None and standing.paused_until_us != paused_until_us:
        standing = await store.amend(task_id, standing.version, Amendment(paused_until_us, standing.skip_us))


def cancel(place: Place, chosen: Chosen, *, as_json: bool) -> None:
    """Stops the runs that wait or run, wherever they do.

    Raises:
        UnknownRun: there is none of this id; the message offers near ones.
        UnknownTask: there is no task of this name; the message offers near ones.
    """
    task = None if chosen.task is None else task_id_of(place, chosen.task)

    async def work(node: Scheduler) -> int:
        if chosen.run is None:
            return await node.runs.cancel(task=task, queue=chosen.queue)
        run = await run_named(store_of(node), chosen.run)
        return int(await node.runs.cancel(run.id))

    count = act(place, work)
    if as_json:
        print_json({"cancelled": count})
    elif count or chosen.run is None:
        Screen().say(("cancelled ", "yellow"), number_words(count, "run"))
    else:
        Screen().say("nothing to cancel: the run has ended")


def retry(place: Place, chosen: Chosen, *, as_json: bool) -> None:
    """Makes new runs with the arguments of one that has ended, or of all that failed; prints them.

    Raises:
        UnknownRun: there is none of this id; the message offers near ones.
        UnknownTask: there is no task of this name, or the task of the run is not in the code.
        MisuseError: the run has not ended.
    """
    task = None if chosen.task is None else task_id_of(place, chosen.task)

    async def work(node: Scheduler) -> list[Run[Any]]:
        if chosen.run is not None:
            run = await run_named(store_of(node), chosen.run)
            return [await node.runs.retry(run.id)]
        return await node.runs.retry(
            task=task, queue=chosen.queue, status=RunStatus.FAILED, since=chosen.since, limit=_MOST
        )

    runs = act(place, work)
    zones = Zones(place)
    if as_json:
        print_json([run_json(run, zones) for run in runs])
    elif runs:
        list_runs(Screen(), runs, zones)
    else:
        Screen().say("nothing to retry: no such run has failed, or each was retried before")


def prune(place: Place, keep: timedelta | None, *, as_json: bool) -> None:
    """Forgets the ended runs that are past their keeping, and the idempotency keys that are; prints how many.

    keep: of all tasks what ended longer ago; ``None``: as their options say.

    Raises:
        ConfigError: nothing says what is to be kept.
    """
    if keep is None and not place.coded:
        raise ConfigError("how long ended runs are kept is said in the code: give TARGET, or --keep 30d")
    others_us = keep_us_of(place.scheduler) if keep is None else keep // timedelta(microseconds=1)
    tasks = place.scheduler.served() if keep is None else []
    keep_us = {task.id: kept for task in tasks if (kept := task.policy.keep_us) is not None}

    async def work(store: Store) -> tuple[int, int]:
        runs = keys = 0
        more = True
        while more:
            pruned = await store.prune(keep_us, others_us)
            runs, keys, more = runs + pruned.runs, keys + pruned.keys, pruned.more
        return runs, keys

    runs, keys = look(place, work)
    if as_json:
        print_json({"runs": runs, "keys": keys})
    else:
        Screen().say("forgot ", number_words(runs, "run"), " and ", number_words(keys, "idempotency key"))

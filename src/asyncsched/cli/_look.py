"""``asyncsched next``: when the tasks of a scheduler fire next."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from asyncsched.cli._dry import dry_run
from asyncsched.cli._show import Screen, fire_json, print_json, short_names
from asyncsched.clock import SystemClock
from asyncsched.phrases import moment_words, wait_words
from asyncsched.scheduler import Scheduler
from asyncsched.testing import run

Fire = tuple[str, datetime]


def show_next(scheduler: Scheduler, zone: str, count: int | None, span: timedelta | None, *, as_json: bool) -> None:
    """Prints the next fires of all tasks; nothing is run."""
    now = SystemClock().now().replace(microsecond=0)
    fires = run(_next_fires(scheduler, zone, now, count, span))
    if as_json:
        print_json([{"task": task} | fire_json(at) for task, at in fires])
    else:
        _show(Screen(), fires, now)


async def _next_fires(
    scheduler: Scheduler, zone: str, now: datetime, count: int | None, span: timedelta | None
) -> Sequence[Fire]:
    async with dry_run(scheduler, now, zone) as dry:
        return await dry.scheduler.tasks.next_fires(count, until=None if span is None else now + span)


def _show(screen: Screen, fires: Sequence[Fire], now: datetime) -> None:
    if not fires:
        screen.say("nothing will fire")
        return
    names = short_names({task for task, _at in fires})
    moments = [moment_words(at) for _task, at in fires]
    width = max(map(len, moments))
    longest = max(len(names[task]) for task, _at in fires)
    for (task, at), words in zip(fires, moments, strict=True):
        screen.say(f"{words:{width}}  {names[task]:{longest}}", (f"  in {wait_words(at - now)}", "dim"))

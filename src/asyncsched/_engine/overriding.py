"""What operators put in place of what code declares: ``scheduler.tasks.override`` and ``reset``."""

from __future__ import annotations

import logging

from asyncsched._engine.engine import Engine
from asyncsched._engine.living import ArmedTask
from asyncsched.errors import ConfigError
from asyncsched.events import TaskOverridden
from asyncsched.fires import exhausted, first_fire
from asyncsched.options import check_anchor
from asyncsched.overrides import NO_OVERRIDES, Overrides
from asyncsched.stores import Amendment
from asyncsched.task import Task
from asyncsched.triggers import Binding, Trigger

log = logging.getLogger("asyncsched.engine")


async def override(
    engine: Engine,
    armed: ArmedTask,
    trigger: Trigger | None,
    priority: int | None,
    max_running: int | None,
    note: str | None,
) -> Overrides:
    """Put what is given in place of what code declares, beside what was put before; all that stands now.

    Raises:
        ConfigError: the task cannot have that.
    """
    now_us, task = engine.clock.now_us(), armed.task
    if trigger is None and priority is None and max_running is None:
        raise ConfigError(
            f"override({task.id!r}): give a trigger, such as cron='0 4 * * *', or priority=, max_running="
        )
    bound = None if trigger is None else _bound(engine, task, trigger, now_us)

    def change(stands: ArmedTask) -> Amendment:
        if bound is None:
            _check_read(stands)
        limited = stands.overrides.with_limits(task.policy, priority, max_running)
        overrides = limited._replace(trigger=bound or limited.trigger, at_us=now_us, note=note)
        next_us = stands.next_us if bound is None else _next_us(stands, bound, now_us)
        # A skip that was asked for is one of the fires that do not come any more.
        return Amendment(stands.paused_until_us, stands.skip_us if bound is None else None, overrides, next_us)

    await engine.arming.amend(armed, change)
    log.info("task %s: an operator put %s%s", task.id, armed.overrides.to_json(), "" if note is None else f": {note}")
    engine.bus.tell(TaskOverridden(at_us=now_us, task=task.id, overrides=armed.overrides))
    return armed.overrides


async def reset(engine: Engine, armed: ArmedTask) -> bool:
    """Let what code declares hold again; whether anything else did. An interval goes on in the grid that it had."""
    if armed.overrides == NO_OVERRIDES:
        return False
    now_us = engine.clock.now_us()

    def change(stands: ArmedTask) -> Amendment:
        _check_read(stands)
        if stands.overrides.trigger is None:
            return Amendment(stands.paused_until_us, stands.skip_us, NO_OVERRIDES, stands.next_us)
        next_us = None if stands.coded is None else _next_us(stands, stands.coded, now_us)
        return Amendment(stands.paused_until_us, None, NO_OVERRIDES, next_us)

    await engine.arming.amend(armed, change)
    log.info("task %s: what code declares holds again", armed.task.id)
    engine.bus.tell(TaskOverridden(at_us=now_us, task=armed.task.id, overrides=armed.overrides))
    return True


def _check_read(stands: ArmedTask) -> None:
    """Leave the watermark to those who know by which trigger it stands."""
    if stands.coded is None and stands.task.trigger is not None:
        cure = "ask a node that has declared it, or give another trigger"
        raise ConfigError(f"the stored trigger of task {stands.task.id!r} cannot be read here: {cure}")


def _bound(engine: Engine, task: Task[..., object], trigger: Trigger, now_us: int) -> Trigger:
    if task.trigger is None:
        cure = "it runs when it is submitted; tasks.replace it with a task that has a trigger"
        raise ConfigError(f"task {task.id!r} has no trigger to be put another one in place of: {cure}")
    check_anchor(task.policy.anchor, trigger)
    return trigger.bind(Binding(zone=task.tz or engine.tz, anchor_us=now_us, key=task.id))


def _next_us(stands: ArmedTask, trigger: Trigger, now_us: int) -> int | None:
    """The first fire of another trigger. What has passed by now was the other one's."""
    if exhausted(stands.policy, stands.made):
        return None
    return first_fire(trigger, now_us, immediate=False)

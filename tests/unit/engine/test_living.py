"""What is alive on this node."""

import asyncio
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from asyncsched._engine.living import ArmedTask, Living, LivingRun, Reminder
from asyncsched.clock import from_us
from asyncsched.fires import Overdue
from asyncsched.run import Run
from asyncsched.stores import Standing
from asyncsched.task import Task
from asyncsched.triggers import Every, Once, Trigger

SECOND = 1_000_000
START = 1_767_225_600 * SECOND
EVERY = Every("10s", from_us(START))


def func() -> None: ...


def armed(
    trigger: Trigger | None = EVERY, next_us: int | None = START, due: list[ArmedTask] | None = None, **options: Any
) -> ArmedTask:
    task = Task(func, trigger=trigger, **options)
    standing = Standing(task.id, "text", trigger, next_us, 3, 100)
    return ArmedTask(task, standing, Living(due=[] if due is None else due))


def living_run() -> LivingRun:
    run: Run[Any] = Run(id="r", task="t", created_us=START, due_us=START)
    run.start("n1", START)
    living = LivingRun(run, armed())
    living.begun = True
    return living


# --- tasks


def test_an_armed_task_stands_where_the_store_says() -> None:
    task = armed()
    assert (task.next_us, task.version, task.trigger, task.live) == (START, 3, EVERY, 0)
    assert task.policy is task.task.policy


def test_a_task_that_rings_is_among_the_due_as_often_as_it_rang() -> None:
    due: list[ArmedTask] = []
    task = armed(due=due)
    task.ring()
    task.ring()
    assert due == [task, task]


def test_a_task_that_stands_elsewhere_counts_its_overdue_fires_anew() -> None:
    task = armed()
    task.overdue = Overdue(EVERY, START, START + 100 * SECOND, task.policy)
    other = Every("7s", from_us(START))
    task.stand(replace(Standing("t", "", other, START + 7 * SECOND, 4, 100), version=9))
    assert (task.next_us, task.version, task.trigger, task.overdue) == (START + 7 * SECOND, 9, other, None)


@pytest.mark.parametrize(
    ("task", "fires"),
    [
        (armed(), [0, 10, 20, 30]),
        (armed(next_us=START + 25 * SECOND), [25, 30, 40, 50]),
        (armed(Once(from_us(START))), [0]),
        (armed(next_us=None), []),
        (armed(None, None), []),
        (armed(None), [0]),
        (armed(anchor="completion"), [0]),
    ],
)
def test_the_coming_fires_begin_at_the_watermark(task: ArmedTask, fires: list[int]) -> None:
    assert list(islice(task.fires(), 4)) == [START + at * SECOND for at in fires]


# --- runs


async def cancelled(living: LivingRun) -> None:
    assert living.handle is not None
    with pytest.raises(asyncio.CancelledError):
        await living.handle


async def test_a_run_that_is_stopped_is_cancelled_and_the_first_cause_counts() -> None:
    living = living_run()
    living.handle = asyncio.ensure_future(asyncio.sleep(3600))
    living.stop("shutdown", "the scheduler stopped")
    living.stop("cancelled", "somebody else")
    living.ring()
    assert (living.ending, living.reason) == ("shutdown", "the scheduler stopped")
    await cancelled(living)


async def test_a_run_that_rings_is_out_of_time() -> None:
    living = living_run()
    living.handle = asyncio.ensure_future(asyncio.sleep(3600))
    living.ring()
    assert (living.ending, living.reason) == ("timeout", "it ran out of time")
    await cancelled(living)


async def test_a_run_that_is_stopped_before_its_first_step_is_left_to_end_there() -> None:
    living = living_run()
    living.begun = False
    living.handle = asyncio.ensure_future(asyncio.sleep(0))
    living.stop("cancelled", "too early")
    assert (living.ending, living.reason) == ("cancelled", "too early")
    await living.handle


def test_a_run_whose_attempt_has_ended_is_not_stopped_any_more() -> None:
    living = living_run()
    living.stop("cancelled", "too late")
    assert (living.ending, living.reason) == (None, "")


def test_a_living_run_keeps_the_token_that_it_was_claimed_with() -> None:
    living = living_run()
    living.run.token += 1
    assert living.token == living.run.token - 1


# --- reminders


def test_a_reminder_calls_its_function_each_time_it_rings() -> None:
    calls = []
    reminder = Reminder(lambda: calls.append(1))
    reminder.ring()
    reminder.ring()
    assert calls == [1, 1]


def test_nothing_is_shared_between_two_nodes() -> None:
    first, second = Living(), Living()
    first.due.append(armed())
    first.tasks["t"] = armed()
    assert (second.due, second.tasks, second.runs) == ([], {}, {})

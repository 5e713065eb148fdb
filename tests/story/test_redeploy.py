"""A program is stopped, changed and started again on the same file: what stays, what moves, and what waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.errors import ConfigError, DuplicateTask
from asyncsched.events import TaskRenamed, TaskUnknown


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/jobs.db"


async def test_an_operator_moves_a_task_into_the_night_and_no_redeploy_moves_it_back(url: str) -> None:
    def program() -> Registry:
        registry = Registry()

        @registry.every("1h", id="report")
        async def report() -> None: ...

        return registry

    async with Scheduler(url, registry=program(), tz="UTC") as monday:
        hourly = await monday.tasks.next_fires()
        await monday.tasks.override("report", cron="0 4 * * *", note="the disks are busy by day")

    async with Scheduler(url, registry=(today := program()), tz="UTC") as tuesday:
        assert today["report"].next_fire is not None
        assert (today["report"].next_fire.hour, today["report"].next_fire.minute) == (4, 0)
        print(await tuesday.tasks.explain("report"))
        (stored,) = await tuesday.tasks.stored()
        assert stored.to_json()["overrides"]["note"] == "the disks are busy by day"

        await tuesday.tasks.reset("report")
        assert await tuesday.tasks.next_fires() == hourly  # in the grid that the code's interval has had all along


async def test_a_function_gets_another_name_and_its_waiting_runs_come_along(url: str) -> None:
    before = Registry()

    @before.task(id="send")
    async def send(to: str, code: int) -> str:
        return f"{to}: {code}"

    async with Scheduler(url, registry=before, queues=[]):
        run_id = (await send.submit("a@b.c", 42)).id

    after = Registry()

    @after.task(id="mail.code", aliases=["send"])
    async def mail_code(to: str, code: int) -> str:
        return f"to {to}: {code}"

    scheduler = Scheduler(url, registry=after)
    renamed: list[Any] = []
    scheduler.events.on([TaskRenamed], renamed.append)
    async with scheduler:
        assert [(event.alias, event.task) for event in renamed] == [("send", "mail.code")]
        assert await scheduler.runs.wait(run_id, within="5s") == "to a@b.c: 42"
        assert (await scheduler.runs.get(run_id)).task == "mail.code"


async def test_parameters_change_their_order_and_stored_runs_are_called_as_they_were_meant(url: str) -> None:
    before, after = Registry(), Registry()

    @before.task(id="share")
    async def share(whole: int, parts: int) -> float:
        return whole / parts

    async with Scheduler(url, registry=before, queues=[]):
        run_id = (await share.submit(10, 4)).id

    @after.task(id="share")
    async def share_out(parts: int, whole: int) -> float:
        return whole / parts

    async with Scheduler(url, registry=after) as scheduler:
        assert await scheduler.runs.wait(run_id, within="5s") == 2.5


async def test_an_upgrade_makes_new_arguments_of_old_ones(url: str) -> None:
    before, after = Registry(), Registry()

    @before.task(id="bill")
    async def bill(customer: str, cents: int) -> str:
        return f"{customer} {cents}"

    async with Scheduler(url, registry=before, queues=[]):
        run_id = (await bill.submit("acme", cents=1_250)).id

    def in_euros(given: dict[str, Any]) -> dict[str, Any]:
        return {"customer": given["customer"], "euros": given["cents"] / 100, "currency": "EUR"}

    @after.task(id="bill", upgrade=in_euros)
    async def bill_euros(customer: str, euros: float, *, currency: str) -> str:
        return f"{customer} owes {euros:.2f} {currency}"

    async with Scheduler(url, registry=after) as scheduler:
        assert await scheduler.runs.wait(run_id, within="5s") == "acme owes 12.50 EUR"
        new = await bill_euros.submit("acme", 3, currency="EUR")
        assert await new == "acme owes 3.00 EUR"


async def test_runs_of_a_function_that_is_gone_wait_and_say_what_would_help(url: str) -> None:
    before = Registry()

    @before.task(id="convert")
    async def convert(name: str) -> str:
        return name.upper()

    async with Scheduler(url, registry=before, queues=[]):
        run_id = (await convert.submit("a.step")).id

    scheduler = Scheduler(url, registry=Registry())
    unknown: list[Any] = []
    scheduler.events.on([TaskUnknown], unknown.append)
    async with scheduler:
        assert [(event.task, event.waiting) for event in unknown] == [("convert", 1)]
        waiting = await scheduler.runs.get(run_id)
        assert (waiting.status, waiting.attempt) == ("PENDING", 0)
        told = str(await scheduler.tasks.explain("convert"))
        assert "no node declares it since" in told
        assert "aliases=['convert']" in told

    async with Scheduler(url, registry=before) as back:
        assert await back.runs.wait(run_id, within="5s") == "A.STEP"


async def test_two_programs_at_one_file_leave_one_another_alone(url: str) -> None:
    web, worker = Registry(), Registry()

    @web.every("1h", id="web.clean")
    async def clean() -> None: ...

    @worker.task(id="worker.convert")
    async def convert() -> str:
        return "done"

    async with Scheduler(url, registry=web) as one, Scheduler(url, registry=worker):
        assert await (await convert.submit()) == "done"
        await asyncio.sleep(0.1)
        assert [(task.task, task.retired) for task in await one.tasks.stored()] == [
            ("web.clean", False), ("worker.convert", False),
        ]  # fmt: skip


def test_an_alias_is_an_id_that_no_task_has() -> None:
    registry = Registry()

    @registry.task(id="new", aliases=["old"])
    async def new() -> None: ...

    with pytest.raises(DuplicateTask, match="'old' is the id of a task, and an alias of 'new'"):
        registry.task(new.__wrapped__, id="old")
    with pytest.raises(DuplicateTask, match="'new' and 'newer' both have the alias 'old'"):
        registry.task(new.__wrapped__, id="newer", aliases=["old"])
    with pytest.raises(DuplicateTask, match="the alias 'new', which is the id of a task"):
        registry.task(new.__wrapped__, id="newer", aliases=["new"])
    with pytest.raises(DuplicateTask, match="its own id"):
        registry.task(new.__wrapped__, id="same", aliases=["same"])


async def test_what_a_task_cannot_have_is_refused(url: str) -> None:
    registry = Registry()

    @registry.every("1h", id="hourly", overlap="queue_one")
    async def hourly() -> None: ...

    @registry.task(id="waits")
    async def waits() -> None: ...

    async with Scheduler(url, registry=registry) as scheduler:
        override = scheduler.tasks.override
        with pytest.raises(ConfigError, match="give a trigger"):
            await override("hourly")
        with pytest.raises(ConfigError, match="one trigger"):
            await override("hourly", every="1m", cron="* * * * *")
        with pytest.raises(ConfigError, match="max_running=2: the task runs one at a time"):
            await override("hourly", max_running=2)
        with pytest.raises(ConfigError, match="priority='high'"):
            await override("hourly", priority="high")  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="has no trigger"):
            await override("waits", every="1m")
        assert hourly.overrides == waits.overrides
        assert hourly.next_fire is not None
        assert hourly.next_fire > datetime.now(UTC)

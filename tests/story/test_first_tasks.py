"""The first tasks: declare, enter, and see them fire. Start reading here.

Every test in this folder that asks for ``virtual`` lives on virtual time: a day passes in a millisecond, and
each thing happens at exactly its own instant.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched import Registry, Scheduler, Task, current_run
from asyncsched.errors import DuplicateTask, MisuseError


async def test_three_decorators_and_three_tasks(virtual: Any) -> None:
    app = Registry()

    @app.every("30m")
    async def poll() -> None: ...

    @app.at("09:00", "17:30", days="mon-fri")
    def report() -> str:  # a plain function: it runs in a worker thread
        return "all is well"

    @app.cron("0 4 * * sun")
    async def clean() -> None: ...

    async with virtual(app, at="2026-03-27 08:45", tz="Europe/Berlin") as sched:  # a Friday
        await sched.advance("3 days")
        assert sched.fires("report") == [
            "2026-03-27T09:00+01:00",
            "2026-03-27T17:30+01:00",
            "2026-03-30T09:00+02:00",
        ]
        # The clocks went forward in the night to Sunday: elapsed time is elapsed time, and 04:00 is 04:00.
        assert len(sched.fires("poll")) == 3 * 24 * 2
        assert sched.fires("clean") == ["2026-03-29T04:00+02:00"]
        assert [run.result for run in sched.runs("report")] == ["all is well"] * 3


async def test_words_do_as_well(virtual: Any) -> None:
    app = Registry()

    @app.when("every weekday at 9am in Asia/Seoul")
    async def open_shop() -> None: ...

    @app.when("the last day of every month at 23:00")
    async def close_books() -> None: ...

    async with virtual(app, at="2026-01-29 23:00", tz="UTC") as sched:  # a Thursday
        await sched.advance("97h")
        assert sched.fires("open_shop") == [
            "2026-01-30T09:00+09:00",
            "2026-02-02T09:00+09:00",
            "2026-02-03T09:00+09:00",
        ]
        assert sched.fires("close_books") == ["2026-01-31T23:00+00:00"]


def test_a_decorated_function_is_still_a_function() -> None:
    app = Registry()

    @app.every("5s", args=(1, 2))
    def add(left: int, right: int) -> int:
        """Adds."""
        return left + right

    assert add(20, 22) == 42
    assert (add.__name__, add.__doc__) == ("add", "Adds.")
    assert add.id == f"{__name__}:{add.__qualname__}"
    assert repr(add) == f"<Task {add.id!r}, every 5 seconds>"


async def test_a_class_may_hold_a_task_which_stays_a_method(virtual: Any) -> None:
    class Mailer:
        def __init__(self) -> None:
            self.sent: list[str] = []

        def send(self, to: str) -> None:
            self.sent.append(to)

    mailer = Mailer()
    app = Registry()
    app.register(Task(mailer.send, every="1h", args=("alan@example.org",), id="mail"))
    async with virtual(app) as sched:
        await sched.advance("2h")
    assert mailer.sent == ["alan@example.org"] * 2


async def test_nothing_happens_before_the_scheduler_is_entered(virtual: Any) -> None:
    app = Registry()

    @app.every("1s", immediate=True)
    async def beat() -> None: ...

    assert beat.next_fire is None
    with pytest.raises(MisuseError, match=r"enter its scheduler first: `async with scheduler:`"):
        await beat.submit()
    with pytest.raises(MisuseError, match="not running"):
        await Scheduler(registry=app).tasks.list()
    async with virtual(app) as sched:
        assert sched.runs() == []  # entered, but no time has passed
        await sched.advance("0s")
        assert len(sched.runs("beat")) == 1


async def test_the_next_fires_are_told_in_the_tasks_own_zone(virtual: Any) -> None:
    app = Registry()

    @app.at("14:30", tz="Asia/Seoul")
    async def tea() -> None: ...

    @app.every("1h", id="chores")
    async def chores() -> None: ...

    async with virtual(app, at="2026-06-01 00:00", tz="Europe/London") as sched:
        assert tea.next_fire == datetime(2026, 6, 1, 14, 30, tzinfo=ZoneInfo("Asia/Seoul"))
        soonest = await sched.scheduler.tasks.next_fires(3)
        assert [(task.rpartition(".")[2], f"{instant:%H:%M %Z}") for task, instant in soonest] == [
            ("chores", "01:00 BST"),
            ("chores", "02:00 BST"),
            ("chores", "03:00 BST"),
        ]


async def test_the_running_code_can_ask_where_it_is(virtual: Any) -> None:
    app = Registry()

    @app.at("12:00")
    def inside() -> tuple[str, int, datetime | None]:
        run = current_run()
        run.set("parts", 3)
        return run.task, run.attempt, run.scheduled_for

    async with virtual(app, at="2026-06-01 11:00", tz="UTC") as sched:
        run = await sched.until(task="inside")
        assert run.result == (inside.id, 1, run.scheduled_for)
        assert run.notes == {"parts": 3}
    with pytest.raises(MisuseError, match="nothing is running here"):
        current_run()


async def test_tasks_come_and_go_while_the_scheduler_runs(virtual: Any) -> None:
    async def work() -> None: ...

    async with virtual(Registry(), at="2026-06-01", tz="UTC") as sched:
        tasks = sched.scheduler.tasks
        await tasks.add(Task(work, every="1h", id="work"))
        await sched.advance("30m")
        await tasks.add(Task(work, every="1m", id="more"))
        with pytest.raises(DuplicateTask, match=r"'more' is there already.*tasks\.replace"):
            await tasks.add(Task(work, every="2m", id="more"))
        await sched.advance("2m")
        assert len(sched.runs("more")) == 2
        assert await tasks.remove("more") is True
        assert await tasks.remove("more") is False
        await sched.advance("1h")
        assert [run.task for run in sched.runs()] == ["more", "more", "work"]
        with pytest.raises(MisuseError, match=r"tasks\.add"):
            sched.scheduler.register(Task(work, id="late"))

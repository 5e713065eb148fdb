"""The rows of features about things that raise: they are recorded, and nothing else suffers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, Task
from asyncsched.events import CallbackFailed, Event, RunEnded, RunStarted, TaskBroken
from asyncsched.triggers import Trigger
from faults.stores import FlakyStore

T0 = datetime(2025, 1, 1, tzinfo=UTC)


class OwnEnd(BaseException):
    """Not even an Exception."""


class Touchy:
    """A value that raises whatever one does with it."""

    def _no(self, *_args: Any) -> Any:
        raise OwnEnd("do not touch")

    __repr__ = __str__ = __eq__ = __hash__ = __bool__ = __len__ = __reduce_ex__ = __await__ = _no  # type: ignore[assignment]


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise OSError("not even its text")

    __repr__ = __str__


@dataclass(frozen=True)
class Broken(Trigger):
    error: type[BaseException]

    def next_after(self, moment: datetime) -> datetime | None:
        if moment > T0 + timedelta(seconds=3):
            raise self.error("in the trigger")
        return moment + timedelta(seconds=1)


class Scene:
    """A scheduler with a healthy task that is due each second, and room for a poison beside it."""

    def __init__(self) -> None:
        self.store = FlakyStore(3, 0)
        self.registry = Registry()
        self.events: list[Event] = []
        self.registry.register(Task(nothing, every="1s", id="healthy"))

    def runs(self, task: str) -> list[Any]:
        return [event.run for event in self.events if isinstance(event, RunEnded) and event.task == task]

    def all(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def nothing() -> None: ...


Poison = Callable[[Scene, Scheduler], None]
Proof = Callable[[Scene], None]


def raising(error: BaseException, where: str = "loop") -> tuple[Poison, Proof]:
    async def on_loop() -> None:
        raise error

    def in_thread() -> None:
        raise error

    def poison(scene: Scene, scheduler: Scheduler) -> None:
        scene.registry.register(Task(on_loop if where == "loop" else in_thread, every="2s", id="poison"))

    def proof(scene: Scene) -> None:
        assert [run.error for run in scene.runs("poison")] == [error] * 10
        assert "raise error" in scene.runs("poison")[0].traceback

    return poison, proof


def broken_trigger(error: type[BaseException]) -> tuple[Poison, Proof]:
    def poison(scene: Scene, scheduler: Scheduler) -> None:
        scene.registry.register(Task(nothing, trigger=Broken(error), id="poison"))

    def proof(scene: Scene) -> None:
        (event,) = scene.all(TaskBroken)
        assert (event.task, type(event.error)) == ("poison", error)

    return poison, proof


def raising_callback(error: BaseException) -> tuple[Poison, Proof]:
    def poison(scene: Scene, scheduler: Scheduler) -> None:
        def callback(event: Event) -> None:
            raise error

        scheduler.events.on({RunStarted, RunEnded, CallbackFailed}, callback)

    def proof(scene: Scene) -> None:
        assert [event.error for event in scene.all(CallbackFailed)] == [error] * 40

    return poison, proof


def unknown_executor() -> tuple[Poison, Proof]:
    def poison(scene: Scene, scheduler: Scheduler) -> None:
        task = scene.registry.register(Task(nothing, every="2s", id="poison"))
        task.executor = "gpu"  # type: ignore[assignment]

    def proof(scene: Scene) -> None:
        assert len(scene.runs("poison")) == 10
        assert {"gpu" in str(run.error) for run in scene.runs("poison")} == {True}

    return poison, proof


def untouchable_result() -> tuple[Poison, Proof]:
    value = Touchy()

    async def poisoned() -> Any:
        return value

    def poison(scene: Scene, scheduler: Scheduler) -> None:
        scene.registry.register(Task(poisoned, every="2s", id="poison"))

    def proof(scene: Scene) -> None:  # the memory store keeps objects, and asks nothing of them
        assert len(scene.runs("poison")) == 10
        assert all(run.result is value for run in scene.runs("poison"))

    return poison, proof


def blipping_store() -> tuple[Poison, Proof]:
    def poison(scene: Scene, scheduler: Scheduler) -> None:
        scene.store.rate = 0.2

    def proof(scene: Scene) -> None:
        assert scene.store.failed.total() >= 5

    return poison, proof


SCENES = {
    "task": raising(ValueError("no")),
    "thread": raising(ValueError("no"), "thread"),
    "task that raises no Exception": raising(OwnEnd("no")),
    "thread that raises no Exception": raising(OwnEnd("no"), "thread"),
    "task that wants to exit": raising(SystemExit(3)),
    "error without a text": raising(Unspeakable()),
    "trigger": broken_trigger(ZeroDivisionError),
    "trigger that raises no Exception": broken_trigger(OwnEnd),
    "callback": raising_callback(ValueError("no")),
    "callback that raises no Exception": raising_callback(OwnEnd("no")),
    "executor": unknown_executor(),
    "result": untouchable_result(),
    "store": blipping_store(),
}


@pytest.mark.feature("NB12")
@pytest.mark.feature("PA10")
@pytest.mark.parametrize(("poison", "proof"), SCENES.values(), ids=SCENES)
async def test_nb12_pa10_poison_is_recorded_and_a_healthy_task_misses_none_of_20_fires(
    virtual: Any, poison: Poison, proof: Proof
) -> None:
    scene = Scene()
    async with virtual(Registry(), at=T0, tz="UTC") as stage:
        scheduler = Scheduler(scene.store, registry=scene.registry, clock=stage.clock, tz="UTC")
        poison(scene, scheduler)
        scheduler.events.on({Event}, scene.events.append)
        async with scheduler:
            await stage.advance("20s 500ms")
            scene.store.rate = 0
            await stage.advance("400ms")
    healthy = scene.runs("healthy")
    assert [run.scheduled_for for run in healthy] == [T0 + timedelta(seconds=second) for second in range(1, 21)]
    assert {run.status for run in healthy} == {"SUCCESS"}
    # Where the store answers, on the microsecond; where it blips, before the next fire.
    late = timedelta(0) if scene.store.failed.total() == 0 else timedelta(seconds=1)
    assert max(run.started_at - run.scheduled_for for run in healthy) <= late
    proof(scene)


@pytest.mark.feature("LS15")
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_ls15_whatever_is_raised_ends_the_run_and_frees_its_slot(virtual: Any, where: str) -> None:
    errors: list[BaseException] = [OwnEnd("no")]

    async def on_loop() -> str:
        return in_thread()

    def in_thread() -> str:
        if errors:
            raise errors.pop()
        return "done"

    registry = Registry()
    registry.register(Task(on_loop if where == "loop" else in_thread, every="1s", id="work", max_running=1))
    async with virtual(registry, at=T0, tz="UTC") as sched:
        await sched.advance("2s")
        first, second = sched.runs("work")
        assert (first.status, type(first.error)) == ("FAILED", OwnEnd)
        assert (second.status, second.result) == ("SUCCESS", "done")
        assert sched.scheduler._engine.living.runs == {}


@pytest.mark.feature("TC14")
async def test_tc14_a_raising_callback_is_recorded_and_nothing_else_suffers(
    virtual: Any, caplog: pytest.LogCaptureFixture
) -> None:
    error, heard = RuntimeError("in the callback"), list[Event]()

    def bad(event: Event) -> None:
        raise error

    registry = Registry()
    task = registry.register(Task(nothing))
    async with virtual(registry, at=T0, tz="UTC") as sched:
        sched.scheduler.events.on({RunEnded}, bad)
        sched.scheduler.events.on({RunEnded}, heard.append)
        run = await task.submit()
        await run
        assert [event.run for event in heard] == [run]
        assert run.status == "SUCCESS"
        assert [event.error for event in sched.events if isinstance(event, CallbackFailed)] == [error]
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert record.exc_info[1] is error


@pytest.mark.feature("TC27")
@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_tc27_a_failure_keeps_its_traceback(virtual: Any, where: str, caplog: pytest.LogCaptureFixture) -> None:
    async def on_loop() -> float:
        return in_thread()

    def in_thread() -> float:
        return 1 / 0  # the line that raises

    registry = Registry()
    task = registry.register(Task(on_loop if where == "loop" else in_thread, id="divide"))
    async with virtual(registry, at=T0, tz="UTC") as sched:
        run = await task.submit()
        with pytest.raises(ZeroDivisionError):
            await run
        (kept,) = await sched.scheduler.runs.list(task="divide")
        (event,) = [event for event in sched.events if isinstance(event, RunEnded)]
        assert "# the line that raises" in kept.traceback
        assert "# the line that raises" in event.run.traceback
        (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
        assert "# the line that raises" in logging.Formatter().format(record)

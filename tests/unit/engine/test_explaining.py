"""What a task's explanation takes from where it is looked at."""

from __future__ import annotations

from asyncsched import Registry, Scheduler, Task
from asyncsched._engine.explaining import Sight, explain
from asyncsched._engine.living import ArmedTask, Living
from asyncsched.clock import from_us, to_us
from asyncsched.stores import FOREVER, Amendment, Declared, MemoryStore
from asyncsched.testing import run, virtual
from asyncsched.triggers import Every


async def nothing() -> None: ...


def test_who_stands_by_or_stops_says_so_and_does_not_speak_of_fires_that_are_not_his() -> None:
    registry = Registry()
    registry.register(Task(nothing, id="t", every="10s"))

    async def main() -> None:
        async with virtual(Scheduler(registry=registry, tz="UTC")) as stage:
            await stage.advance("15s")
            store, now_us = MemoryStore(), to_us(stage.now())
            start_us = now_us - 100_000_000
            trigger = Every("10s", from_us(start_us))
            standing = await store.put_task(Declared("t", "x", trigger, start_us, 100))
            armed = ArmedTask(registry["t"], standing, Living("UTC", store.recent))
            found = await explain(armed, Sight(store=store, now_us=now_us, standing_by=True, stopping=True), 5)
            assert [note.kind for note in found.notes] == ["stopping", "standing_by"]
            assert (found.live, found.recent) == ((), ())
            found = await explain(armed, Sight(store=store, now_us=now_us), 5)
            (due,) = found.live
            assert (due.run, due.status, due.waits_for, due.stands_for) == (None, "PENDING", "turn", 11)
            assert due.says == "is due, and about to be handled"
            paused = await store.amend("t", standing.version, Amendment(FOREVER, None))
            assert paused is not None
            armed.stand(paused)
            found = await explain(armed, Sight(store=store, now_us=now_us), 5)
            assert [(note.kind, note.says) for note in found.notes] == [("paused", "it is paused until it is resumed")]
            assert (found.live, [one.stands_for for one in found.recent]) == ((), [11])

    run(main)

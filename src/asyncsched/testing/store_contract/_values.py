"""What is kept of runs and tasks, whatever stands in it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from asyncsched.edges import Edges
from asyncsched.limits import Cooldown, Debounce, Once, Rate, Unique
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Bounds, HandedBack, Raised, Run, RunStatus, Settled, Succeeded, Terms
from asyncsched.stores import FOREVER, Amendment, FireOrder, RunFilter, Store
from asyncsched.testing.store_contract._bench import SECOND, START_US, Bench
from asyncsched.testing.store_contract._making import EVERY, a_run, ack_of, claim, declared, end, ids, names, new_id
from asyncsched.triggers import Cron, Trigger

# What people call things, and what they paste.
TEXTS = [
    "it's", 'a "b" `c`', "'; DROP TABLE runs; --", "%_*?[a-z]\\", "{}:$1 :name ?1", "a/../b", " ", "null", "0",
    "é漢字🙂\u202e", "\t\r\n", "x" * 2_000,
]  # fmt: skip
VALUES: list[Any] = [
    0, -1, 2**53 + 1, 1.5, 1e300, True, "", "é'\"\n🙂", [], {}, [[1, [2]], {"a": {"b": [None]}}],
    {"": 0, "key": "value"},
]  # fmt: skip
_FIELDS = (
    "id", "task", "created_us", "due_us", "scheduled_us", "stands_for", "status", "reason", "attempt", "token", "node",
    "first_us", "started_us", "finished_us", "retry_of", "notes", "terms", "args", "result",
)  # fmt: skip


def told(run: Run[Any]) -> dict[str, Any]:
    """All that a run tells, but for its error and its edges."""
    said = {name: getattr(run, name) for name in _FIELDS}
    return {**said, "kwargs": dict(run.kwargs)}


async def found(store: Store, run_id: str) -> Run[Any]:
    run = await store.run(run_id)
    assert run is not None
    return run


class ValuePromises:
    """What is read is what was written, by this node and by the next."""

    @pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
    async def test_any_text_may_be_a_name(self, bench: Bench, text: str) -> None:
        store = await bench.enter(text)
        await store.reconcile([declared(text, text), declared("other")])
        other, mine = a_run("other"), a_run(text, name=f"id {text}", queue=text, limit_key=text, group=text)
        await store.submit([other, mine])
        cycled = await store.cycle([], 9, {text: 9}, {text: 9})
        assert [(run.id, run.task, run.queue, run.node) for run in cycled.claimed] == [(f"id {text}", text, text, text)]
        assert await ids(store, task=text) == [mine.id]
        assert names(await store.cancel([other.id, text], text)) == [other.id]
        await end(store, *cycled.claimed, outcome=Succeeded(text))
        await store.close()
        store = await bench.enter("n2")
        assert ((await found(store, other.id)).reason, (await found(store, mine.id)).result) == (text, text)
        assert await ids(store, reason={text}) == [other.id]
        assert [one.task for one in await store.standings([text])] == [text]
        assert await store.drop_task(text) == []
        assert [one.task for one in await store.standings([text, "other"])] == ["other"]
        await store.close()

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    async def test_any_json_may_be_an_argument_and_a_result(self, bench: Bench, value: Any) -> None:
        store = await bench.enter("n1")
        run = a_run(name="r")
        run.args, run.kwargs = (value, None), {"by name": value}
        await store.submit([run])
        del run
        store = await bench.enter("n2")
        (run,) = await claim(store)
        assert (run.args, dict(run.kwargs)) == ((value, None), {"by name": value})
        await end(store, run, outcome=Succeeded(value))
        del run
        store = await bench.enter("n3")
        kept = await found(store, "r")
        assert kept.result == value
        assert type(kept.result) is type(value)
        await store.close()

    @pytest.mark.parametrize("once", [None, Unique(5), Cooldown(60 * SECOND), Debounce(SECOND)])
    async def test_all_that_a_waiting_run_tells_is_kept(self, bench: Bench, once: Once | None) -> None:
        store = await bench.enter("n1")
        terms = Terms(
            priority=-7, queue="mail", limit_key="k", limit=3, rate=Rate(5, SECOND), once=once,
            once_key=None if once is None else "o", bounds=Bounds(60 * SECOND, 90 * SECOND), group="g",
        )  # fmt: skip
        run = Run[Any]("r", "t", START_US - 9, START_US + SECOND, START_US - 5, 3, terms, (1,), {"two": 2})
        run.retry_of = "an earlier one"
        before = told(run)
        await store.submit([run])
        assert told(await found(store, "r")) == before
        del run
        store = await bench.enter("n2")
        assert told(await found(store, "r")) == before
        await store.close()

    async def test_all_that_an_ended_run_tells_is_kept(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.submit([a_run(name="r")])
        await bench.advance(SECOND)
        (run,) = await claim(store)
        await store.cycle([await ack_of(store, run, Raised(OSError("once")), Retry(wait="2s"))], 0)
        await bench.advance(2 * SECOND)
        (run,) = await claim(store)
        run.set("seen", [1, "two"])
        await bench.advance(SECOND)
        await end(store, run, outcome=Raised(ValueError("it's over")))
        before = told(run)
        assert (run.first_us, run.started_us, run.finished_us) == tuple(START_US + s * SECOND for s in (1, 3, 4))
        await store.close()
        del run
        store = await bench.enter("n2")
        run = await found(store, "r")
        assert told(run) == before
        assert (run.status, run.attempt, run.notes) == (RunStatus.FAILED, 2, {"seen": [1, "two"]})
        assert "it's over" in str(run.error)
        await store.close()

    async def test_the_edges_of_a_run_are_kept(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        up, low = a_run("up", name="up"), a_run("low", name="low")
        up.edges = Edges("up")
        low.edges = Edges("up", ("up",), "none_failed", (up,), "gate", True, START_US - 5, START_US + 5)
        await store.submit([up, low])
        del up, low
        store = await bench.enter("n2")
        edges = (await found(store, "low")).edges
        assert edges is not None
        assert (edges.flow, edges.needs, edges.rule, edges.kind) == ("up", ("up",), "none_failed", "gate")
        assert (edges.blocked, edges.since_us, edges.until_us) == (True, START_US - 5, START_US + 5)
        assert names(edges.upstreams) == ["up"]
        await store.close()

    async def test_all_that_a_skip_tells_is_kept(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        standing = await store.put_task(declared())
        skip = Run[Any](new_id(), "t", START_US, START_US, START_US - 5, 17)
        skip.apply(Settled(RunStatus.SKIPPED, START_US, reason="paused"))
        before = told(skip)
        assert await store.fire([FireOrder("t", standing.version, START_US, None, [], [skip])]) == {"t"}
        await store.close()
        del skip
        store = await bench.enter("n2")
        (kept,) = await store.runs(RunFilter())
        assert told(kept) == before
        await store.close()

    @pytest.mark.parametrize("trigger", [EVERY, Cron("0 4 * * mon-fri", tz="Europe/Berlin"), None])
    async def test_all_that_a_task_tells_is_kept(self, bench: Bench, trigger: Trigger | None) -> None:
        store = await bench.enter("n1")
        one = replace(declared(trigger=trigger, next_us=START_US + 1, history_limit=7), declaration=(trigger, "UTC"))
        before = await store.put_task(one)
        standing = await store.amend("t", before.version, Amendment(FOREVER, START_US + 1))
        assert standing is not None
        assert (standing.trigger, standing.declaration) == (trigger, (trigger, "UTC"))
        await store.close()
        store = await bench.enter("n2")
        assert await store.standings(["t"]) == [standing]
        found = await store.reconcile([one])
        assert (found.standings, found.added, found.changed) == ([standing], [], [])
        await store.close()

    async def test_a_run_that_is_given_back_waits_as_if_it_had_not_begun(self, store: Store) -> None:
        await store.submit([a_run(name="back"), a_run(name="other")])
        (run,) = await claim(store, 1)
        ack = await ack_of(store, run, HandedBack(), NO_RETRY)
        cycled = await store.cycle([ack], 0)
        assert cycled.accepted == [ack]
        assert (run.status, run.attempt, run.node, run.token) == (RunStatus.PENDING, 0, None, 2)
        assert {one.id: one.attempt for one in await claim(store)} == {"back": 1, "other": 1}

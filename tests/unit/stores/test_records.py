"""Records of runs and tasks, and of what verbs are asked: what is written is what is read."""

from __future__ import annotations

import json
from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.edges import Edges
from asyncsched.errors import ArgumentsError, TriggerError
from asyncsched.overrides import Overrides
from asyncsched.retry import NO_RETRY
from asyncsched.run import Raised, Run, RunStatus, Settled, Succeeded, Terms, settle
from asyncsched.signature import Signature
from asyncsched.stores import Ack, Amendment, Decision, Declared, FireOrder, MemoryStore, Met, records
from asyncsched.triggers import Cron, Every

BIND = Every("1h", datetime(2026, 1, 1, tzinfo=UTC))
DECLARED = Declared(
    "t", (BIND, "Europe/Berlin"), BIND, 5, 7, None, ("before", "it's"), {"owner": "ops", "level": 3}
)  # fmt: skip


def a_run(name: str = "r", **options: Any) -> Run[Any]:
    return Run(name, "t", 1, 2, **options)


async def again(asked: Any, store: MemoryStore | None = None) -> Any:
    """What comes back of it, through the text of its JSON."""
    return await records.Restored(store or MemoryStore()).restore(json.loads(json.dumps(records.plain(asked))))


def fields_of(run: Run[Any]) -> dict[str, Any]:
    return {
        name: getattr(run, name) for name in Run.__slots__ if name not in ("__weakref__", "waiters", "edges", "error")
    }


def test_a_record_is_flat_and_plain() -> None:
    run = a_run(terms=Terms(priority=3), args=([1, {"a": None}],), kwargs={"b": "two"})
    run.edges = Edges("flow", ("up",), blocked=True)
    for record in (records.record_of_run(run), records.record_of_task(DECLARED)):
        assert {type(value) for value in record.values()} <= {str, int, type(None)}
        assert json.loads(json.dumps(record)) == record


def test_a_run_comes_back_as_it_was() -> None:
    run = a_run(scheduled_us=3, stands_for=4, terms=Terms(priority=3, group="g"), args=(1,), kwargs={"b": [2]})
    run.start("n1", 10)
    run.set("noted", True)
    up = a_run("up")
    run.edges = Edges("up", ("up",), "all_done", (up,))
    record = records.record_of_run(run)
    assert records.needs_of_record(record) == ["up"]
    back = records.run_of_record(record, {"up": up})
    assert fields_of(back) == fields_of(run)
    assert back.edges is not None
    assert (back.edges.flow, back.edges.rule, back.edges.upstreams) == ("up", "all_done", (up,))


def test_a_record_of_which_columns_are_left_out_stands_for_a_run_without_them() -> None:
    record = {name: value for name, value in records.record_of_run(a_run()).items() if value is not None}
    assert fields_of(records.run_of_record(record, {})) == fields_of(a_run())


def test_values_are_as_the_function_says() -> None:
    def bill(day: date, amount: Decimal) -> date: ...

    signature = Signature(bill)
    run = a_run(args=(date(2026, 1, 2),), kwargs={"amount": Decimal("1.50")})
    with pytest.raises(ArgumentsError, match="argument 0="):
        records.record_of_run(run)
    record = records.record_of_run(run, signature)
    back = records.run_of_record(record, {}, signature)
    assert (back.args, dict(back.kwargs)) == (run.args, run.kwargs)
    settled = settle(Succeeded(date(2026, 1, 3)), 1, NO_RETRY, 5)
    assert records.settled_of_record(records.record_of_settled(settled, signature), "r", signature) == settled


def test_an_end_comes_back_with_what_its_error_said() -> None:
    settled = settle(Raised(ValueError("it's over")), 1, NO_RETRY, 5)
    back = records.settled_of_record(records.record_of_settled(settled), "r")
    assert back == settled._replace(error=back.error)
    assert "ValueError: it's over" in str(back.error)


def test_a_task_comes_back_equal() -> None:
    assert records.task_of_record(records.record_of_task(DECLARED)) == DECLARED
    plain = Declared("t", None, None, None, 100)
    assert records.task_of_record(records.record_of_task(plain)) == plain


def test_no_part_of_a_declaration_is_forgotten() -> None:
    assert {field.name for field in fields(Declared)} - {"signature"} == set(records.record_of_task(DECLARED))


def test_a_trigger_that_is_no_longer_there_is_told() -> None:
    record = records.record_of_task(DECLARED) | {"trigger": json.dumps({"kind": "gone"})}
    with pytest.raises(TriggerError):
        records.task_of_record(record)


@pytest.mark.parametrize(
    "asked",
    [
        None,
        5,
        "it's",
        (),
        (1, (2, "three")),
        {"a": {"b": None}, "run": 1, "map": 2},
        DECLARED,
        Amendment(5, None),
        Amendment(None, 6, Overrides(Cron("0 4 * * *", tz="UTC"), 3, None, 7, "why"), 8),
        FireOrder("t", 1, 2, 3, (), (), 4, Met(1, 2)),
    ],
)
async def test_what_is_asked_comes_back_equal(asked: Any) -> None:
    assert await again(asked) == asked


async def test_runs_that_are_new_come_back_as_others_that_are_equal_and_know_each_other() -> None:
    up, low = a_run("up"), a_run("low")
    low.edges = Edges("up", ("up",), upstreams=(up,), blocked=True)
    first, second = await again([up, low])
    assert first is not up
    assert (fields_of(first), fields_of(second)) == (fields_of(up), fields_of(low))
    assert second.edges.upstreams == (first,)


async def test_runs_that_the_store_has_come_back_as_those() -> None:
    store = MemoryStore()
    await store.open("n1", SystemClock())
    run, blocked = a_run(), a_run("blocked")
    blocked.edges = Edges("up", ("r",), upstreams=(run,), blocked=True)
    await store.submit([run, blocked])
    there = a_run()  # the same, at the node that asks
    there.set("noted", (1, 2))
    ack, decision = await again(
        [Ack(there, 3, Settled(RunStatus.SUCCESS, 9, result=[1])), Decision(blocked, 0, None, (there,), Met(0, 1))],
        store,
    )
    assert ack == Ack(run, 3, Settled(RunStatus.SUCCESS, 9, result=[1]))
    assert run.notes == {"noted": [1, 2]}
    assert decision[:3] == (blocked, 0, None)
    assert [source.id for source in decision.sources] == ["r"]


async def test_what_is_said_of_a_run_that_is_forgotten_counts_for_nothing() -> None:
    store = MemoryStore()
    await store.open("n1", SystemClock())
    ack = await again(Ack(a_run("gone"), 0, Settled(RunStatus.SUCCESS, 9)), store)
    assert (await store.cycle([ack], 0)).accepted == []

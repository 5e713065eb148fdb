"""The PostgreSQL store sends few columns where many runs are alike or succeed, and writes the same as with all."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from asyncsched.clock import SystemClock
from asyncsched.retry import Retry
from asyncsched.run import Outcome, Raised, Run, RunStatus, Succeeded
from asyncsched.stores._postgres import plain, stroke
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores.postgres import PostgresStore
from asyncsched.testing.store_contract._making import a_run, ack_of, claim, declared, end
from contract.postgres_bench import server


@pytest.fixture
async def schema() -> AsyncIterator[str]:
    name = f"narrow_{time.monotonic_ns()}"
    yield name
    server().sql(f"DROP SCHEMA IF EXISTS {name} CASCADE")


@pytest.fixture
async def store(schema: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(server().url(), schema=schema)
    await store.open("n", SystemClock())
    await store.reconcile([declared(next_us=1)])
    yield store
    await store.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent."""
    found: list[str] = []
    for verb in ("rows", "execute"):
        monkeypatch.setattr(Database, verb, _noting(getattr(Database, verb), found))
    return found


def _noting(verb: Callable[..., Any], found: list[str]) -> Callable[..., Any]:
    def noting(database: Database, statement: str, *values: Any) -> Any:
        found.append(statement)
        return verb(database, statement, *values)

    return noting


def texts(statement: str) -> set[str]:
    """The statement that writes, alone and with a hint."""
    return {statement, plain._TELLING[statement]}


def written(schema: str, columns: str, table: str = "runs") -> list[str]:
    return server().sql(f"SELECT {columns} FROM {schema}.{table} ORDER BY seq").splitlines()


async def test_runs_are_written_the_same_whether_or_not_they_are_alike(
    store: PostgresStore, schema: str, sent: list[str]
) -> None:
    later = await store.now_us() + 60_000_000
    few, many = {"queue": "fast", "priority": 3, "group": "g"}, {"queue": "slow", "priority": -1, "group": None}
    columns = "task, due_at, state, queue, priority, coalesce(grouped, '-'), plain, status, stands_for"
    alike = [a_run(due_us=due_us, **few) for due_us in (1, later)]
    await store.submit(alike)
    assert texts(plain._INSERT_ALIKE) & {*sent}
    assert not texts(plain._INSERT) & {*sent}
    before = written(schema, columns)
    assert before == ["t|1|0|fast|3|g|t|PENDING|1", f"t|{later}|2|fast|3|g|t|PENDING|1"]
    await store.submit([a_run(due_us=1, **few), a_run(due_us=later, **few), a_run(due_us=1, **many)])
    assert texts(plain._INSERT) & {*sent}
    assert written(schema, columns) == [*before, *before, "t|1|0|slow|-1|-|t|PENDING|1"]
    await store.submit([a_run(due_us=1, **few) for _ in range(2)])
    assert texts(plain._INSERT_TOGETHER) & {*sent}
    assert written(schema, columns)[5:] == before[:1] * 2


async def test_texts_that_cannot_be_told_apart_are_sent_each_by_itself(
    store: PostgresStore, schema: str, sent: list[str]
) -> None:
    odd = [a_run(due_us=1, name=name) for name in ("one\x1fid", "two")]
    await store.submit(odd)
    assert texts(plain._INSERT) & {*sent}
    acks = [await ack_of(store, run, Succeeded(None)) for run in await claim(store, 2)]
    assert (await store.cycle(acks, 0)).accepted == acks
    assert written(schema, "id", "history") == ["one\x1fid", "two"]


@pytest.mark.parametrize(
    ("column", "whole"),
    [([], ""), (["a", None, "b"], "a\x1f\x1e\x1fb"), ([""], None), (["a\x1fb"], None), (["\x1e", "a"], None)],
)
def test_texts_are_joined_if_they_can_be_told_apart_again(column: list[str | None], whole: str | None) -> None:
    assert plain.joined(column) == whole


async def test_a_scheduled_run_may_come_beside_one_that_is_not(
    store: PostgresStore, schema: str, sent: list[str]
) -> None:
    first, second = a_run(due_us=1), a_run(due_us=1)
    second.scheduled_us = 1
    await store.submit([first, second])
    assert texts(plain._INSERT) & {*sent}
    assert written(schema, "id, scheduled_at") == [f"{first.id}|", f"{second.id}|1"]


@pytest.mark.parametrize("beside", [None, Raised(OSError("gone"))])
async def test_successes_are_recorded_the_same_alone_and_beside_others(
    store: PostgresStore, schema: str, sent: list[str], beside: Outcome | None
) -> None:
    await store.submit([a_run(due_us=1) for _ in range(3)])
    first, second, third = await claim(store, 3)
    outcomes: list[tuple[Run[Any], Outcome]] = [(first, Succeeded(7)), (second, Succeeded(None))]
    outcomes += [] if beside is None else [(third, beside)]
    acks = [await ack_of(store, run, outcome) for run, outcome in outcomes]
    sent.clear()
    assert (await store.cycle(acks, 0)).accepted == acks
    told = stroke._SUCCESSES if beside is None else stroke._ACKS
    assert sent[0] in {stroke._STATEMENTS[told, True, wakes] for wakes in (True, False)}
    columns = "id, status, coalesce(result, '-'), coalesce(error, '-') = '-', attempt, token, finished_at"
    ended = [f"{run.id}|SUCCESS|{said}|t|1|2|{run.finished_us}" for run, said in ((first, "7"), (second, "-"))]
    assert written(schema, columns, "history")[:2] == ended
    assert len(written(schema, "id")) == (1 if beside is None else 0)


async def test_a_success_with_notes_keeps_them(store: PostgresStore, schema: str) -> None:
    await store.submit([a_run(due_us=1)])
    (run,) = await claim(store)
    run.notes = {"seen": 3}
    await end(store, run)
    assert written(schema, "notes", "history") == ['{"seen": 3}']


async def test_an_attempt_that_is_tried_again_waits_beside_a_success(store: PostgresStore, schema: str) -> None:
    await store.submit([a_run(due_us=1), a_run(due_us=1)])
    first, second = await claim(store)
    again = await ack_of(store, first, Raised(OSError()), Retry(attempts=2, wait="1h"))
    acks = [again, await ack_of(store, second, Succeeded(1))]
    assert (await store.cycle(acks, 0)).accepted == acks
    assert first.status is RunStatus.PENDING
    assert written(schema, "id, state, status") == [f"{first.id}|2|PENDING"]
    assert written(schema, "id, status", "history") == [f"{second.id}|SUCCESS"]


async def test_an_end_that_the_history_has_already_holds_up_nothing(store: PostgresStore, schema: str) -> None:
    runs = [a_run(due_us=1) for _ in range(3)]
    await store.submit(runs)
    server().sql(
        f"INSERT INTO {schema}.history (id, task, created_at, due_at, stands_for, status, attempt, token, queue) "
        f"VALUES ('{runs[1].id}', 't', 0, 0, 1, 'FAILED', 1, 9, 'default')"
    )
    await end(store, *await claim(store))
    assert written(schema, "id") == []
    ended = {(runs[0].id, "SUCCESS"), (runs[1].id, "FAILED"), (runs[2].id, "SUCCESS")}
    assert {tuple(line.split("|")) for line in written(schema, "id, status", "history")} == ended

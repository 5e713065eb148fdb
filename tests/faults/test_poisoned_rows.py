"""Whatever stands in the rows of a file: what cannot be read is put aside, told and listed, and the rest goes on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncsched import Registry, Scheduler, result_of
from asyncsched.errors import ArgumentsError
from asyncsched.run import RunStatus

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
DEEP = "[" * 100 + "]" * 100
SPOILT: list[Any] = [
    *(None, "", "nonsense", "null", "[]", "{}", "5", DEEP, "[" * 20_000, b"\xff\xfe", "x" * 10_000_000),
    *(-1, 0, 1, 2**31, 2**53, 2**62, 2**63 - 1, -(2**63), 1.5, 9e999, -9e999),
    *("RUNNING", "SUCCESS", "WHAT", '{"limit_key": []}', '{"rate": [0, 0]}', '{"rate": ["a", 1]}', '{"limit": "x"}'),
    *('{"needs": [[]]}', '{"needs": 5}', '{"rule": "never"}', '{"blocked": 5}', '{"once": ["Unique", "x"]}'),
    *('{"bounds": [1, []]}', '{"bounds": [1, 1]}', '[["x", [], {}]]', '{"type": 1}', '{"kind": "gone"}'),
    *('{"kind": "every", "us": "x"}', '{"upstreams": 5, "type": 1, "message": 1, "traceback": 1}', "!", "![]", "!5"),
]  # fmt: skip
TABLES = ("runs", "history", "tasks", "needs", "standing", "keys", "marks", "idempotency", "nodes", "counts")


def rows(path: Path, query: str, *values: Any) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        return db.execute(query, values).fetchall()


def registry() -> tuple[Registry, list[int]]:
    registry, done = Registry(), list[int]()

    @registry.task(id="healthy", history_limit=1_000)
    async def healthy(number: int) -> int:
        done.append(number)
        return number

    @registry.task(id="poor", key="number", max_running=1, rate="1000/1s", history_limit=1_000)
    async def poor(number: int, rows: list[int] | None = None, before: int = 0) -> int:
        return number

    @registry.every("1h", id="hourly")
    async def hourly() -> None: ...

    @registry.after(hourly, id="below")
    async def below(_: None = result_of(hourly)) -> None: ...

    return registry, done


async def filled(path: Path) -> None:
    """A file with something in each table: ended runs, waiting ones, keys, and a flow under way."""
    tasks, _done = registry()
    async with Scheduler(f"sqlite:///{path}?synchronous=normal", registry=tasks) as scheduler:
        await scheduler.tasks.run_now("hourly")
        await tasks["poor"].using(unique="u", unique_for="1h").submit(0)
        await tasks["poor"].submit(1)
        await scheduler.idle()
    async with Scheduler(f"sqlite:///{path}?synchronous=normal", registry=tasks, queues=[]) as scheduler:
        await scheduler.tasks.run_now("hourly")
        first = await tasks["poor"].using(unique="v").submit(2)
        await tasks["poor"].submit(3, rows=[1])
        await tasks["poor"].using(delay="1h").submit(4)
        await tasks["poor"].submit(5, before=result_of(first))


async def healthy_go_on(path: Path) -> None:
    """Opening it, running for a while and looking at all of it works; the healthy runs succeed."""
    tasks, done = registry()
    async with Scheduler(f"sqlite:///{path}?synchronous=normal", registry=tasks) as scheduler:
        runs = [await tasks["healthy"].submit(number) for number in range(5)]
        async with asyncio.timeout(20):
            assert [await run for run in runs] == list(range(5))
        for run in await scheduler.runs.list(limit=1_000):
            assert repr(run)
            assert run.traceback is None or isinstance(run.traceback, str)
        await scheduler.tasks.next_fires()
        for task in ("healthy", "poor", "hourly", "below"):
            await scheduler.tasks.explain(task)
        # How many are kept may have been spoilt too.
        assert {run.status for run in await scheduler.runs.list(task="healthy")} <= {RunStatus.SUCCESS}
    assert sorted(done) == list(range(5))


def spoil(path: Path, table: str, place: int, column: int, value: Any) -> None:
    """Put the value where the numbers lead, if the table takes it."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.text_factory = lambda text: text.decode("utf-8", "replace")
        names = [name for _cid, name, *_rest in db.execute(f"PRAGMA table_info(asyncsched_{table})")]
        (key,) = [name for name in ("seq", "id", "key", "name", "task", "run") if name in names][:1]
        keys = db.execute(f"SELECT {key} FROM asyncsched_{table} ORDER BY {key}").fetchall()
        if not keys:
            return
        name = names[column % len(names)]
        cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        with contextlib.suppress(sqlite3.IntegrityError):
            db.execute(
                f"UPDATE asyncsched_{table} SET {name} = {cast} WHERE {key} = ?", (value, keys[place % len(keys)][0])
            )


spoilt_values = st.one_of(
    st.sampled_from(SPOILT),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
)
spots = st.tuples(st.sampled_from(TABLES), st.integers(0, 30), st.integers(0, 40), spoilt_values)


@settings(
    max_examples=1_000 if LONG else 25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(wrong=st.lists(spots, min_size=1, max_size=8))
def test_whatever_is_written_into_whatever_rows_the_healthy_runs_succeed(
    tmp_path_factory: pytest.TempPathFactory, wrong: list[tuple[str, int, int, Any]]
) -> None:
    path = tmp_path_factory.mktemp("spoilt") / "jobs.db"

    async def main() -> None:
        await filled(path)
        for one in wrong:
            spoil(path, *one)
        await healthy_go_on(path)

    asyncio.run(main())


@settings(
    max_examples=200 if LONG else 6,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(wrong=st.lists(spots, min_size=1, max_size=8))
def test_the_same_while_a_scheduler_is_at_work(
    tmp_path_factory: pytest.TempPathFactory, wrong: list[tuple[str, int, int, Any]]
) -> None:
    path = tmp_path_factory.mktemp("spoilt") / "jobs.db"

    async def main() -> None:
        await filled(path)
        tasks, _done = registry()
        async with Scheduler(f"sqlite:///{path}?synchronous=normal", registry=tasks):
            for one in wrong:
                if one[0] not in ("nodes", "counts"):
                    spoil(path, *one)
                run = await tasks["healthy"].submit(1)
                async with asyncio.timeout(20):
                    assert await run == 1
        await healthy_go_on(path)

    asyncio.run(main())


# --- one after the other: what is told of each


async def a_run(path: Path, **columns: Any) -> str:
    """A waiting run of ``poor`` with these columns."""
    tasks, _done = registry()
    async with Scheduler(f"sqlite:///{path}", registry=tasks, queues=[]):
        run_id = (await tasks["poor"].submit(1, rows=[1])).id
    for name, value in columns.items():
        cast = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        rows(path, f"UPDATE asyncsched_runs SET {name} = {cast} WHERE id = ?", value, run_id)
    return run_id


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("args", "nonsense", "stored arguments cannot be read"),
        ("args", f"[[1,{DEEP}]]", "nested more than 32 deep"),
        ("args", '[["' + "x" * 10_000_000 + '"]]', "they take 10,000,"),
        ("args", '[[1,["no number"]]]', "stored arguments cannot be read"),
        ("args", b"\xff\xfe", "stored arguments cannot be read"),
        ("terms", '{"rate": [0, "x"]}', "its terms cannot be read"),
        ("terms", "nonsense", "its terms cannot be read"),
        ("created_at", "yesterday", "its created_at cannot be that"),
        ("due_at", 2**62, "its due_at cannot be that"),
        ("token", 2**63 - 1, "its token cannot be that"),
        ("attempt", -1, "its attempt cannot be that"),
        ("state", 9, "its state cannot be that"),
        ("status", "WHAT", "its status cannot be that"),
        ("priority", "high", "its priority cannot be that"),
        ("queue", 5.5, None),  # a text to SQLite, and a queue that nobody serves to us
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_run_that_cannot_be_read_is_parked_with_the_reason_and_listed(
    tmp_path: Path, column: str, value: Any, why: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "jobs.db"
    bad = await a_run(path, **{column: value})
    tasks, _done = registry()
    async with Scheduler(f"sqlite:///{path}", registry=tasks) as scheduler:
        good = [await tasks["poor"].submit(number) for number in range(5)]
        assert [await run for run in good] == list(range(5))
        listed = {run.id: run for run in await scheduler.runs.list(task="poor")}
        assert {run.id for run in good} < listed.keys()
        found = await scheduler.runs.get(bad)
        if why is None:
            return
        assert (found.status, listed[bad].status) == ("PENDING", "PENDING")
        assert found.reason is not None
        assert found.reason.startswith("parked, it cannot be read: ")
        assert why in found.reason
        assert "no number" not in caplog.text
        assert await scheduler.runs.cancel(bad)
    assert rows(path, "SELECT status FROM asyncsched_history WHERE id = ?", bad) == [("CANCELLED",)]


async def test_a_bad_row_of_history_is_listed_among_the_others_and_cannot_be_repeated(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    tasks, _done = registry()
    async with Scheduler(f"sqlite:///{path}", registry=tasks) as scheduler:
        runs = [await tasks["poor"].submit(number) for number in range(6)]
        for run in runs:
            await run
    for run, (column, value) in zip(
        runs[1:],
        [("args", DEEP), ("status", "WHAT"), ("started_at", "x"), ("result", "["), ("error", '{"type": [], "x": 1}')],
        strict=True,
    ):
        rows(path, f"UPDATE asyncsched_history SET {column} = ? WHERE id = ?", value, run.id)
    ids = {run.id for run in runs}
    again = runs[1].id
    del run, runs
    async with Scheduler(f"sqlite:///{path}", registry=tasks) as scheduler:
        found = {run.id: run for run in await scheduler.runs.list(task="poor")}
        assert found.keys() == ids
        with pytest.raises(ArgumentsError, match=r"cannot be repeated: .* nested more than 32 deep"):
            await scheduler.runs.retry(again)


@pytest.mark.parametrize("column", ["id", "task", "queue", "grouped"])
async def test_a_name_that_is_no_text_holds_up_nobody(tmp_path: Path, column: str) -> None:
    path = tmp_path / "jobs.db"
    await a_run(path, **{column: b"\xff\xfe"})
    await healthy_go_on(path)
    ((state, reason),) = rows(path, "SELECT state, reason FROM asyncsched_runs WHERE task != 'hourly'")
    assert (state, reason) == (5, f"parked, it cannot be read: its {column} cannot be that")
    await healthy_go_on(path)  # it is a text by now

"""What a file adds to the contract: other processes, trouble with the disk, and what is written at once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.clock import SystemClock
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError, RunFailed, StoreError
from asyncsched.ids import RunIds
from asyncsched.limits import Rate
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import NO_TERMS, Raised, Run, RunStatus, Succeeded, Terms, settle
from asyncsched.stores import Ack, Declared, FireOrder, RunFilter
from asyncsched.stores._sqlite import connection, schema
from asyncsched.stores.sqlite import SQLiteStore, store_at
from asyncsched.triggers import Every

CLOCK = SystemClock()
_ids = RunIds(Random(7))


def a_run(task: str = "t", *, args: tuple[Any, ...] = (), terms: Terms = NO_TERMS) -> Run[Any]:
    now_us = CLOCK.now_us()
    return Run(_ids.make(now_us), task, now_us, now_us, args=args, terms=terms)


async def end(store: SQLiteStore, *runs: Run[Any], result: Any = None) -> None:
    now_us = CLOCK.now_us()
    await store.cycle([Ack(run, run.token, settle(Succeeded(result), 1, NO_RETRY, now_us)) for run in runs], 0)


@contextlib.asynccontextmanager
async def opened(path: Path, node: str = "n1") -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open(node, CLOCK)
    try:
        yield store
    finally:
        await store.close()


async def vanish(store: SQLiteStore) -> None:
    """Let go of the file as the end of a process does."""
    assert store._lock is not None
    store._lock.vanish()
    store._lock = None
    await store._stop()


def rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute(query).fetchall()


def change(path: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


# --- the file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_the_file_is_for_its_owner_alone_and_nothing_else_is_left(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([a_run()])
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert list(path.parent.iterdir()) == [path]


async def test_it_can_be_opened_and_closed_again_and_again(path: Path) -> None:
    store = SQLiteStore(path)
    for number in range(5):
        await store.open("n", CLOCK)
        await store.submit([a_run()])
        assert len(await store.runs(RunFilter())) == number + 1
        await store.close()
        await store.close()
    with pytest.raises(MisuseError, match="is not open"):
        await store.runs(RunFilter())


def test_two_processes_make_one_schema(path: Path) -> None:
    path.touch()
    first, second = (connection.connect(str(path), synchronous="full") for _ in range(2))
    with contextlib.closing(first), contextlib.closing(second):
        schema.migrate(first, 1)
        schema.migrate(second, 2)
        applied = second.execute("SELECT number, applied_at FROM asyncsched_migrations").fetchall()
    assert applied == [(number + 1, 1) for number in range(len(schema.STEPS))]


async def test_the_tables_may_stand_beside_those_of_the_program(path: Path) -> None:
    change(path, "CREATE TABLE tasks (id)", "CREATE TABLE runs (id)", "PRAGMA user_version = 7")
    async with opened(path) as store:
        await store.submit([a_run()])
    assert rows(path, "PRAGMA user_version") == [(7,)]


@pytest.mark.parametrize(
    ("url", "path", "synchronous"),
    [
        ("sqlite:///jobs.db", "jobs.db", "full"),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db", "full"),
        ("sqlite:///a%20b.db?synchronous=normal", "a b.db", "normal"),
    ],
)
def test_a_url_names_the_file(url: str, path: str, synchronous: str) -> None:
    store = store_at(url)
    assert (str(store), store._synchronous) == (f"sqlite {path}", synchronous)


@pytest.mark.parametrize(
    "url",
    ["sqlite:", "sqlite://", "sqlite:///", "sqlite://jobs.db", "sqlite:jobs.db", "sqlite:///:memory:",
     "sqlite:///a.db?sync=off", "sqlite:///a.db?synchronous=off", "sqlite:///a.db#x"],
)  # fmt: skip
def test_a_url_that_names_no_file_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"sqlite:///jobs.db|give the path of a file|one of 'full', 'normal'"):
        store_at(url)


# --- trouble


async def refused(path: Path) -> str:
    store = SQLiteStore(path)
    with pytest.raises(StoreError) as caught:
        await store.open("n", CLOCK)
    await store.close()
    return str(caught.value)


async def test_a_missing_directory_is_told(tmp_path: Path) -> None:
    assert f"the directory {tmp_path / 'no'} does not exist" in await refused(tmp_path / "no" / "jobs.db")


async def test_a_directory_in_its_place_is_told(tmp_path: Path) -> None:
    assert "that is a directory" in await refused(tmp_path)


async def test_a_file_that_is_no_database_is_told_and_left_alone(path: Path) -> None:
    path.write_bytes(b"these are my notes, not a database" * 100)
    assert "not an SQLite database" in await refused(path)
    assert path.read_bytes().startswith(b"these are my notes")


async def test_a_damaged_file_is_told(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([a_run() for _ in range(300)])
    whole = path.read_bytes()
    path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    assert "damaged" in await refused(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write what it likes")
async def test_a_file_that_cannot_be_written_is_told(path: Path) -> None:
    path.touch(0o400)
    assert "right to write" in await refused(path)


async def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    async with opened(path):
        pass
    columns = "(number, name, checksum, applied_at)"
    change(path, f"INSERT INTO asyncsched_migrations {columns} VALUES (99, '0099 what is to come', 'x', 0)")
    assert "newer than this version of asyncsched" in await refused(path)
    assert "0099 what is to come" in await refused(path)


async def test_a_schema_that_was_changed_by_hand_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    change(path, "UPDATE asyncsched_migrations SET checksum = 'x'")
    assert "is not that of asyncsched" in await refused(path)


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ("rootfs / ext4 rw 0 0\nserver:/x /srv nfs4 rw 0 0\n", "nfs4"),
        ("rootfs / ext4 rw 0 0\nserver:/x /srv/jobs\\040db 9p rw 0 0\n", None),
        ("server:/ / nfs rw 0 0\n/dev/x /srv ext4 rw 0 0\n", None),
        ("nonsense\n", None),
        ("", None),
    ],
)
def test_a_network_file_system_is_known_by_its_mount(mounts: str, kind: str | None) -> None:
    assert connection.network_kind(mounts, Path("/srv/jobs")) == kind


async def test_a_full_disk_fails_the_verb_writes_nothing_of_it_and_is_over_when_there_is_room(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([first := a_run(args=("x" * 5_000,))])
        await fill(store)
        runs = [a_run(args=("x" * 50_000,)) for _ in range(20)]
        with pytest.raises(StoreError, match="the disk is full"):
            await store.submit(runs)
        assert [run.id for run in await store.runs(RunFilter())] == [first.id]
        await fill(store, 1_000_000)
        await store.submit(runs)
        assert len((await store.cycle([], 100)).claimed) == 21


async def fill(store: SQLiteStore, pages: int = 1) -> None:
    """Let the file have so many pages, or as many as it has."""
    assert store._writer is not None
    await store._writer.ask(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())


async def test_what_fails_fails_alone(path: Path) -> None:
    async with opened(path) as store:
        writer = store._writer
        assert writer is not None
        runs = [a_run() for _ in range(20)]
        asked: list[Any] = [store.submit([run]) for run in runs]
        asked.insert(10, writer.ask(lambda db: db.execute("nonsense")))
        asked.insert(5, writer.ask(lambda _db: 1 / 0))
        answers = await asyncio.gather(*asked, return_exceptions=True)
        failed = [type(answer) for answer in answers if isinstance(answer, BaseException)]
        assert failed == [ZeroDivisionError, StoreError]
        assert {run.id for run in await store.runs(RunFilter())} == {run.id for run in runs}


async def test_an_argument_that_cannot_be_stored_is_refused_before_anything_is_written(path: Path) -> None:
    async with opened(path) as store:
        with pytest.raises(ArgumentsError, match="argument 1="):
            await store.submit([a_run(), a_run(args=(1, object()))])
        assert await store.runs(RunFilter()) == []


# --- many at once


async def test_what_is_acknowledged_is_committed(path: Path) -> None:
    async with opened(path) as store:
        await asyncio.gather(*(store.submit([a_run()]) for _ in range(50)))
        assert rows(path, "SELECT count(*) FROM asyncsched_runs") == [(50,)]


async def test_many_who_ask_at_once_share_a_transaction(path: Path) -> None:
    async with opened(path) as store:
        commits: list[str] = []
        assert store._writer is not None
        await store._writer.ask(lambda db: db.set_trace_callback(commits.append))
        all_asked = threading.Event()
        held = store._writer.post(lambda _db: all_asked.wait(), lambda _answer: None)
        asked = [asyncio.ensure_future(store.submit([a_run()])) for _ in range(200)]
        await asyncio.sleep(0)
        all_asked.set()
        await asyncio.gather(held, *asked)
        assert commits.count("COMMIT") <= 3


async def test_the_log_is_moved_into_the_file_before_it_grows_without_end(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(4):
            await store.submit([a_run(args=("x" * 60_000,)) for _ in range(50)])
        assert path.stat().st_size > 4_000_000
        assert Path(f"{path}-wal").stat().st_size < 8_000_000


async def test_a_caller_who_is_cancelled_leaves_runs_that_are_known(path: Path) -> None:
    async with opened(path) as store:
        run = a_run()
        caller = asyncio.ensure_future(store.submit([run]))
        await asyncio.sleep(0)
        caller.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await caller
        (claimed,) = (await store.cycle([], 10)).claimed
        assert claimed is run


# --- one object for one run


async def test_whoever_holds_a_run_sees_what_becomes_of_it(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([run := a_run(args=([1, 2],))])
        assert await store.run(run.id) is run
        assert (await store.cycle([], 10)).claimed == [run]
        assert run.status is RunStatus.RUNNING
        await end(store, run, result=5)
        assert await store.runs(RunFilter()) == [run]
        assert store.recent("t") == [run]


async def test_what_nobody_holds_is_read_again(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([a_run(args=(1, [2.5], {"a": None}))])
        store._known.counted.clear()
        (found,) = await store.runs(RunFilter())
        assert (found.args, found.status) == ((1, [2.5], {"a": None}), RunStatus.PENDING)


async def test_what_has_ended_is_known_without_asking_after_a_restart(path: Path) -> None:
    declared = Declared("t", "", None, None, 3)
    async with opened(path) as store:
        await store.reconcile([declared])
        runs = [a_run() for _ in range(5)]
        for run in runs:
            await store.submit([run])
            await end(store, *(await store.cycle([], 10)).claimed, result="done")
    async with opened(path) as store:
        await store.reconcile([declared])
        recent = store.recent("t")
        assert (len(recent), recent[0].id, recent[0].result) == (3, runs[-1].id, "done")


# --- several processes


async def test_of_two_nodes_one_fires(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        now_us = CLOCK.now_us()
        await one.reconcile([Declared("t", "", Every("1h"), now_us, 100)])
        for step in range(20):
            (standing,) = await one.standings(["t"])
            assert standing.next_us is not None
            orders = [
                FireOrder("t", standing.version, standing.next_us, now_us - 20 + step, [a_run()], ()) for _ in range(2)
            ]
            won = await asyncio.gather(one.fire(orders[:1]), two.fire(orders[1:]))
            assert sorted(map(len, won)) == [0, 1]
        assert len(await two.runs(RunFilter())) == 20


async def test_no_run_is_claimed_by_two(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        await one.submit([a_run() for _ in range(200)])
        found = await asyncio.gather(*(store.cycle([], 30) for _ in range(5) for store in (one, two)))
        claimed = [run.id for cycled in found for run in cycled.claimed]
        assert (len(claimed), len(set(claimed))) == (200, 200)


async def test_a_run_that_another_node_ends_can_be_awaited_and_its_end_is_told(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        hinted = asyncio.Event()
        one.hint = hinted.set
        await one.submit([run := a_run()])
        (there,) = (await two.cycle([], 10)).claimed
        assert there is not run
        await end(two, there, result=[1])
        async with asyncio.timeout(10):
            assert await run == [1]
            await hinted.wait()
        assert list((await one.cycle([], 10)).lapsed) == [run]
        assert (await one.cycle([], 10)).lapsed == ()


async def test_that_another_node_has_submitted_is_told(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        hinted = asyncio.Event()
        one.hint = hinted.set
        await two.submit([a_run()])
        async with asyncio.timeout(10):
            await hinted.wait()


async def test_the_runs_of_a_process_that_vanished_are_handed_back_to_those_who_live(path: Path) -> None:
    async with opened(path) as one:
        hinted = asyncio.Event()
        one.hint = hinted.set
        other = SQLiteStore(path)
        await other.open("n2", CLOCK)
        await other.submit([a_run()])
        (lost,) = (await other.cycle([], 10)).claimed
        await vanish(other)
        async with asyncio.timeout(10):
            while not (claimed := (await one.cycle([], 10)).claimed):
                hinted.clear()
                await hinted.wait()
        (run,) = claimed
        assert (run.id, run.attempt, run.node) == (lost.id, 1, "n1")
        assert run.token > lost.token
        assert rows(path, "SELECT name FROM asyncsched_nodes") == [("n1",)]


async def test_the_runs_of_a_process_that_lives_are_left_to_it(path: Path) -> None:
    async with opened(path) as one:
        await one.submit([a_run()])
        (run,) = (await one.cycle([], 10)).claimed
        async with opened(path, "n2") as two:
            assert (await two.cycle([], 10)).claimed == []
            await end(one, run)
        assert run.status is RunStatus.SUCCESS


# --- what was written by others


async def test_a_run_that_cannot_be_read_is_parked_and_the_others_go_on(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([bad := a_run(args=(1,)), good := a_run()])
        bad_id = bad.id
    del bad
    change(path, f"UPDATE asyncsched_runs SET args = 'nonsense' WHERE id = '{bad_id}'")
    async with opened(path) as store:
        assert [run.id for run in (await store.cycle([], 10)).claimed] == [good.id]
        cycled = await store.cycle([], 10)
        assert (cycled.claimed, cycled.next_due_us) == ([], None)
        ((state, reason, attempt),) = rows(
            path, f"SELECT state, reason, attempt FROM asyncsched_runs WHERE id = '{bad_id}'"
        )
        assert (state, attempt) == (5, 0)
        assert "cannot be read" in reason
    change(path, "UPDATE asyncsched_runs SET args = '[[1]]'")
    async with opened(path) as store:
        assert {run.id for run in (await store.cycle([], 10)).claimed} == {bad_id, good.id}


async def test_a_trigger_that_cannot_be_read_fires_nothing_and_the_others_stand(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path) as store:
        await store.reconcile([Declared(task, "", Every("1h"), 5, 100) for task in ("bad", "good")])
    change(path, """UPDATE asyncsched_tasks SET trigger = '{"kind": "gone"}' WHERE id = 'bad'""")
    async with opened(path) as store:
        with caplog.at_level(logging.WARNING):
            found = {one.task: one for one in await store.standings(["bad", "good"])}
    assert found["bad"].trigger is None
    assert found["good"].trigger == Every("1h")
    assert "bad" in caplog.text


async def test_terms_that_cannot_be_read_are_those_by_default(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([a_run(terms=Terms(limit_key="k", rate=Rate(1, 1_000_000))) for _ in range(3)])
    change(path, "UPDATE asyncsched_runs SET terms = '{\"rate\": 5}'")
    async with opened(path) as store:
        assert len(await store.runs(RunFilter())) == 3
        await store.cycle([], 10)


async def test_runs_of_tasks_that_a_node_does_not_serve_are_left_to_others(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        one.serves, two.serves = {"a"}.__contains__, {"b"}.__contains__
        await one.submit([a_run(task) for task in "bacaba"])
        cycled = await one.cycle([], 2)
        assert [run.task for run in cycled.claimed] == ["a", "a"]
        assert cycled.next_due_us is not None
        cycled = await one.cycle([], 10, {"default": 10})
        assert ([run.task for run in cycled.claimed], cycled.next_due_us) == (["a"], None)
        cycled = await two.cycle([], 10)
        assert ([run.task for run in cycled.claimed], cycled.next_due_us) == (["b", "b"], None)
        assert [run.task for run in await two.runs(RunFilter(status={RunStatus.PENDING}))] == ["c"]


async def test_a_run_that_ended_elsewhere_and_is_not_kept_is_over_and_says_so(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        await one.reconcile([Declared("t", "", None, None, 0)])
        await one.submit([run := a_run()])
        await end(two, *(await two.cycle([], 10)).claimed, result=1)
        async with asyncio.timeout(10):
            with pytest.raises(RunFailed, match="ended at another node, and what became of it is no longer kept"):
                await run
        assert list((await one.cycle([], 10)).lapsed) == [run]


async def test_what_is_asked_of_a_long_history_is_found_by_its_index(path: Path) -> None:
    async with opened(path) as store:
        assert store._reader is not None
        queries: list[str] = []
        await store._reader.ask(lambda db: db.set_trace_callback(queries.append))
        await store.runs(RunFilter(status={RunStatus.PENDING, RunStatus.RUNNING}))
        assert not any("asyncsched_history" in query for query in queries)
        await store.runs(RunFilter(limit=10))
        (query,) = (query for query in queries if "asyncsched_history" in query)
    plan = " ".join(detail for *_ids, detail in rows(path, f"EXPLAIN QUERY PLAN {query}"))
    assert "asyncsched_history_age" in plan


async def test_a_run_that_loses_every_process_it_gets_is_given_up(path: Path) -> None:
    async with opened(path) as store:
        await store.submit([poison := a_run(terms=Terms(priority=1)), a_run()])
        poison_id = poison.id
    for lost in range(3):
        store = SQLiteStore(path)
        await store.open(f"n{lost}", CLOCK)
        claimed = (await store.cycle([], 1)).claimed
        assert [run.id for run in claimed] == [poison_id]
        await vanish(store)
    async with opened(path) as store:
        assert [run.id for run in (await store.cycle([], 10)).claimed] != [poison_id]
        found = await store.run(poison_id)
        assert found is not None
        assert (found.status, found.reason) == (RunStatus.FAILED, "lost")
        with pytest.raises(RunFailed, match="3 processes died while they ran it"):
            await found


async def test_who_comes_again_knows_what_others_did_meanwhile(path: Path) -> None:
    declared = Declared("t", "", None, None, 100)
    store = SQLiteStore(path)
    await store.open("n1", CLOCK)
    await store.reconcile([declared])
    await store.submit([run := a_run()])
    await store.close()
    async with opened(path, "n2") as other:
        await end(other, *(await other.cycle([], 10)).claimed, result=1)
    await store.open("n1", CLOCK)
    await store.reconcile([declared])
    assert (run.status, run.result, store.recent("t")) == (RunStatus.SUCCESS, 1, [run])
    assert (await store.cycle([], 10)).lapsed == ()
    await store.close()


def a_fire(store_now_us: int) -> Run[Any]:
    run = a_run()
    run.scheduled_us = store_now_us
    return run


async def fire(store: SQLiteStore) -> Run[Any]:
    """A run of a fire of ``t``, which has an interval of an hour."""
    now_us = CLOCK.now_us()
    standing = await store.put_task(Declared("t", "", Every("1h"), now_us, 100))
    run = a_fire(now_us)
    assert await store.fire([FireOrder("t", standing.version, now_us, now_us + 1, [run], ())])
    return run


async def test_a_run_of_a_fire_that_another_node_has_made_is_told_once_and_its_end_too(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        hinted = asyncio.Event()
        one.hint = hinted.set
        made = await fire(two)
        found: list[Run[Any]] = []
        async with asyncio.timeout(10):
            while not found:
                await hinted.wait()
                hinted.clear()
                found += (await one.cycle([], 0)).found
        assert [run.id for run in found] == [made.id]
        await end(two, *(await two.cycle([], 10)).claimed)
        ended: list[Run[Any]] = []
        async with asyncio.timeout(10):
            while not ended:
                await hinted.wait()
                hinted.clear()
                cycled = await one.cycle([], 0)
                assert cycled.found == ()
                ended += cycled.lapsed
        assert ended == found


async def test_a_run_that_another_node_has_made_and_is_claimed_here_is_told_once(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        looked = asyncio.Event()
        one.hint = looked.set
        made = await fire(two)
        cycled = await one.cycle([], 10)
        assert [run.id for run in cycled.claimed] == [made.id]
        told = list(cycled.found)
        async with asyncio.timeout(10):
            await looked.wait()
        told += (await one.cycle([], 0)).found
        assert told == cycled.claimed


async def test_a_run_that_is_tried_again_elsewhere_is_told_where_it_began(path: Path) -> None:
    async with opened(path) as one, opened(path, "n2") as two:
        await one.submit([run := a_run()])
        (claimed,) = (await one.cycle([], 10)).claimed
        again = settle(Raised(ValueError()), 1, Retry(attempts=2), CLOCK.now_us())
        assert (await one.cycle([Ack(run, run.token, again)], 0)).accepted
        await end(two, *(await two.cycle([], 10)).claimed, result=7)
        async with asyncio.timeout(10):
            assert await claimed == 7
        assert list((await one.cycle([], 10)).lapsed) == [run]


async def test_the_runs_of_a_scheduler_do_not_overlap_with_those_of_another(path: Path) -> None:
    inside = most = 0

    def registry() -> Registry:
        registry = Registry()

        @registry.every("300ms", id="work", history_limit=1_000)
        async def work() -> None:
            nonlocal inside, most
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0.4)
            inside -= 1

        return registry

    schedulers = [Scheduler(f"sqlite:///{path}", registry=registry(), node=name) for name in ("n1", "n2")]
    async with schedulers[0], schedulers[1]:
        await asyncio.sleep(2.2)
        runs = await schedulers[1].runs.list(limit=1_000)
    fires = sorted(run.scheduled_us for run in runs if run.scheduled_us is not None)
    assert len(fires) >= 6
    assert fires == list(range(fires[0], fires[-1] + 1, 300_000))
    assert most == 1


@pytest.mark.parametrize("column", ["args", "edges", "error", "flow", "notes", "reason", "result", "status", "terms"])
@pytest.mark.parametrize(
    "poison",
    [
        "nonsense",
        "",
        "[]",
        "5",
        "null",
        '{"limit_key": []}',
        '{"rate": 5}',
        '{"needs": [[]]}',
        '{"needs": 5}',
        "[" * 9_000,
    ],
    ids=lambda text: text[:12],
)
async def test_whatever_stands_in_one_row_the_others_go_on(path: Path, column: str, poison: str) -> None:
    async with opened(path) as store:
        await store.submit([bad := a_run(args=(1,)), good := a_run()])
        bad_id = bad.id
    del bad
    change(path, f"UPDATE asyncsched_runs SET {column} = '{poison}' WHERE id = '{bad_id}'")
    async with opened(path) as store:
        assert good.id in [run.id for run in await store.runs(RunFilter())]
        claimed = (await store.cycle([], 10)).claimed
        assert good.id in [run.id for run in claimed]
        await end(store, *claimed)
        assert (await store.cycle([], 10)).claimed == []
        assert good.id in [run.id for run in await store.runs(RunFilter(status={RunStatus.SUCCESS}))]


@pytest.mark.parametrize("steps", [*range(6), 100])
async def test_an_opening_that_is_cancelled_leaves_nothing_behind(path: Path, steps: int) -> None:
    store = SQLiteStore(path)
    opening = asyncio.ensure_future(store.open("n", CLOCK))
    for _ in range(steps):
        await asyncio.sleep(0)
    while steps == 100 and store._lock is None:  # it has just entered
        await asyncio.sleep(0)
    opening.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await opening
    await store.close()
    async with opened(path) as again:
        await again.submit([a_run()])
    assert rows(path, "SELECT count(*) FROM asyncsched_nodes") == [(0,)]
    assert list(path.parent.glob("*-node-*")) == []


async def test_what_waited_for_another_process_happens_after_what_that_wrote(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            run = a_run()
            submitting = asyncio.ensure_future(store.submit([run]))
            claiming = asyncio.ensure_future(store.cycle([], 1))
            await asyncio.sleep(0.05)
            over_us = CLOCK.now_us()
            other.execute("COMMIT")
        await submitting
        (claimed,) = (await claiming).claimed
        assert claimed.started_us is not None
        assert claimed.started_us >= over_us

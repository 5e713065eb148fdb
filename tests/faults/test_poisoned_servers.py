"""Whatever stands in the rows and hashes of a server: what cannot be read is put aside and listed, the rest goes on.

The same as in ``test_poisoned_rows.py``, at PostgreSQL and Redis.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from addresses import new_url, postgres_server, valkey_server
from asyncsched import Scheduler
from asyncsched.errors import ArgumentsError

from .test_poisoned_rows import DEEP, SPOILT, registry

LONG = os.environ.get("ASYNCSCHED_FAULTS") == "long"
PATIENCE_S = 60


class Rows:
    """The runs of a PostgreSQL store, each a row."""

    def __init__(self, tmp_path: Any) -> None:
        self.url = new_url("postgres", tmp_path)
        self._schema = parse_qs(urlsplit(self.url).query)["schema"][0]

    def spoil(self, run_id: str, column: str, value: Any, *, ended: bool = False) -> bool:
        """Put this there; whether the table takes it."""
        table = f"{self._schema}.{'history' if ended else 'runs'}"
        said = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
        try:
            postgres_server().sql(f"UPDATE {table} SET {column} = {said} WHERE id = '{run_id}'")
        except RuntimeError:
            return False
        return True


class Hashes:
    """The runs of a Redis store, each a hash."""

    def __init__(self, tmp_path: Any) -> None:
        self.url = new_url("redis", tmp_path)
        self.prefix = "{" + parse_qs(urlsplit(self.url).query)["namespace"][0] + "}:"

    def spoil(self, run_id: str, column: str, value: Any, *, ended: bool = False) -> bool:
        with redis.Redis.from_url(valkey_server().url()) as client:
            client.hset(f"{self.prefix}r:{run_id}", column, value)
        return True


@pytest.fixture(params=[Rows, Hashes], ids=["postgres", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    return request.param(tmp_path)


@pytest.fixture
def hashes(tmp_path: Any) -> Hashes:
    return Hashes(tmp_path)


async def a_run(url: str) -> str:
    """A waiting run of ``poor``."""
    tasks, _done = registry()
    async with Scheduler(url, registry=tasks, queues=[]):
        return (await tasks["poor"].submit(1, rows=[1])).id


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("args", "nonsense", "stored arguments cannot be read"),
        ("args", f"[[1,{DEEP}]]", "nested more than 32 deep"),
        ("args", '[[1,["no number"]]]', "stored arguments cannot be read"),
        ("terms", '{"rate": [0, "x"]}', "its terms cannot be read"),
        ("terms", "nonsense", "its terms cannot be read"),
        ("due_at", -(2**62), "due_at"),
        ("token", 2**62, "token"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_run_that_cannot_be_read_is_parked_with_the_reason_and_listed(
    place: Rows | Hashes, column: str, value: Any, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad = await a_run(place.url)
    if not place.spoil(bad, column, value):
        return  # a table that does not take it needs no care
    await parked_while_others_run(place.url, bad, why)
    assert "no number" not in caplog.text


async def parked_while_others_run(url: str, bad: str, why: str) -> None:
    """The run is put aside with this reason, the others of its task succeed, and it may be cancelled."""
    tasks, _done = registry()
    async with Scheduler(url, registry=tasks) as scheduler, asyncio.timeout(PATIENCE_S):
        good = [await tasks["poor"].submit(number) for number in range(2, 5)]
        assert [await run for run in good] == list(range(2, 5))
        while (found := await scheduler.runs.get(bad)).reason is None:
            await asyncio.sleep(0.05)
        listed = {run.id: run for run in await scheduler.runs.list(task="poor")}
        assert {run.id for run in good} < listed.keys()
        assert (found.status, listed[bad].status) == ("PENDING", "PENDING")
        assert found.reason.startswith("parked, it cannot be read: ")
        assert why in found.reason
        assert await scheduler.runs.cancel(bad)
        assert (await scheduler.runs.get(bad)).status == "CANCELLED"


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("args", b"\xff\xfe", "stored arguments cannot be read"),
        ("args", '[["' + "x" * 10_000_000 + '"]]', "they take 10,000,"),
        ("attempt", -1, "its attempt cannot be that"),
        ("status", "WHAT", "its status cannot be that"),
        ("created_at", "yesterday", "its created_at cannot be that"),
        ("due_at", "soon", "its due_at cannot be that"),
        ("token", "x", "its token cannot be that"),
        ("state", "what", "its state cannot be that"),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_a_hash_may_hold_what_no_table_would_take(hashes: Hashes, column: str, value: Any, why: str) -> None:
    bad = await a_run(hashes.url)
    hashes.spoil(bad, column, value)
    await parked_while_others_run(hashes.url, bad, why)


async def test_a_bad_row_of_history_is_listed_among_the_others_and_cannot_be_repeated(place: Rows | Hashes) -> None:
    tasks, _done = registry()
    async with Scheduler(place.url, registry=tasks):
        runs = [await tasks["poor"].submit(number) for number in range(5)]
        for run in runs:
            await run
    for run, (column, value) in zip(
        runs[1:], [("args", DEEP), ("status", "WHAT"), ("result", "["), ("error", '{"type": [], "x": 1}')], strict=True
    ):
        place.spoil(run.id, column, value, ended=True)
    ids = {run.id for run in runs}
    again = runs[1].id
    del run, runs
    async with Scheduler(place.url, registry=tasks) as scheduler:
        assert {run.id for run in await scheduler.runs.list(task="poor")} == ids
        with pytest.raises(ArgumentsError, match=r"cannot be repeated: .* nested more than 32 deep"):
            await scheduler.runs.retry(again)


# -- anything in any run in Redis


OURS = {b"zk", b"zm", b"seq", b"v", b"state", b"owner", b"id"}
"""By these the scripts find a run: who changes them has lost it."""


async def filled(url: str) -> None:
    """A namespace with something of each kind: ended runs, waiting ones, keys, and a flow under way."""
    tasks, _done = registry()
    async with Scheduler(url, registry=tasks) as scheduler:
        await scheduler.tasks.run_now("hourly")
        await tasks["poor"].using(unique="u", unique_for="1h").submit(0)
        await tasks["poor"].submit(1)
        await scheduler.idle()
    async with Scheduler(url, registry=tasks, queues=[]) as scheduler:
        await scheduler.tasks.run_now("hourly")
        await tasks["poor"].using(unique="v").submit(2)
        await tasks["poor"].submit(3, rows=[1])
        await tasks["poor"].using(delay="1h").submit(4)


async def healthy_go_on(url: str) -> None:
    """Opening it, running for a while and looking at all of it works; the healthy runs succeed."""
    tasks, done = registry()
    async with asyncio.timeout(PATIENCE_S), Scheduler(url, registry=tasks) as scheduler:
        runs = [await tasks["healthy"].submit(number) for number in range(5)]
        assert [await run for run in runs] == list(range(5))
        for run in await scheduler.runs.list(limit=1_000):
            assert repr(run)
        for task in ("healthy", "poor", "hourly", "below"):
            await scheduler.tasks.explain(task)
    assert sorted(done) == list(range(5))


def spoil_any(prefix: str, place: int, field: int, value: Any) -> None:
    """Put the value into a field of a run, or of what is known of a key, where the numbers lead."""
    with redis.Redis.from_url(valkey_server().url()) as client:
        keys = sorted(key for kind in "rk" for key in client.scan_iter(f"{prefix}{kind}:*"))
        key = keys[place % len(keys)]
        names = sorted(name for name in client.hkeys(key) if name not in OURS)
        if names:
            client.hset(key, names[field % len(names)], value)


spots = st.tuples(
    st.integers(0, 60),
    st.integers(0, 40),
    st.one_of(
        st.sampled_from([one for one in SPOILT if one is not None]),
        st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
        st.binary(max_size=20),
        st.integers(-(2**63), 2**63 - 1),
    ),
)


@settings(
    max_examples=500 if LONG else 8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(wrong=st.lists(spots, min_size=1, max_size=8))
def test_whatever_is_written_into_whatever_hashes_the_healthy_runs_succeed(
    tmp_path_factory: pytest.TempPathFactory, wrong: list[tuple[int, int, Any]]
) -> None:
    hashes = Hashes(tmp_path_factory.getbasetemp())

    async def main() -> None:
        await filled(hashes.url)
        for one in wrong:
            spoil_any(hashes.prefix, *one)
        await healthy_go_on(hashes.url)

    asyncio.run(main())


# -- anything in any row in PostgreSQL


TABLES = (
    *("runs", "history", "tasks", "needs", "standing", "keys", "marks", "idempotency", "nodes", "rosters", "serving"),
    "counts",
)
written = st.one_of(
    st.sampled_from([one for one in SPOILT if not isinstance(one, bytes)]),
    st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20),
    st.integers(-(2**63), 2**63 - 1),
)
spoilt_rows = st.tuples(st.sampled_from(TABLES), st.integers(0, 30), st.integers(0, 40), written)


def spoil_row(schema: str, table: str, place: int, column: int, value: Any) -> None:
    """Put the value where the numbers lead, if the table takes it."""
    server = postgres_server()
    asked = f"FROM information_schema.columns WHERE table_schema = '{schema}' AND table_name = '{table}' ORDER BY 1"
    names = server.sql(f"SELECT column_name {asked}").split()
    rows = server.sql(f"SELECT ctid FROM {schema}.{table}").split()
    if not names or not rows:
        return
    said = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
    with suppress(RuntimeError, OSError):  # it takes no such value, or that is too long for a command
        name, row = names[column % len(names)], rows[place % len(rows)]
        server.sql(f"UPDATE {schema}.{table} SET {name} = {said} WHERE ctid = '{row}'")


@settings(
    max_examples=300 if LONG else 4,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    print_blob=True,
)
@given(wrong=st.lists(spoilt_rows, min_size=1, max_size=8))
def test_whatever_is_written_into_whatever_rows_the_healthy_runs_succeed(
    tmp_path_factory: pytest.TempPathFactory, wrong: list[tuple[str, int, int, Any]]
) -> None:
    url = Rows(tmp_path_factory.getbasetemp()).url

    async def main() -> None:
        await filled(url)
        for one in wrong:
            spoil_row(parse_qs(urlsplit(url).query)["schema"][0], *one)
        await healthy_go_on(url)

    asyncio.run(main())

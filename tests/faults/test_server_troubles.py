"""Servers that cannot be used, as they were set up or named: each is told at the start, with what to do."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
import redis

import servers
from addresses import valkey_server
from asyncsched import Registry, Scheduler
from asyncsched.errors import ConfigError, StoreError
from asyncsched.stores._postgres.connection import LEAST_VERSION
from asyncsched.stores._postgres.connection import unfit as postgres_unfit
from asyncsched.stores._redis.address import Address
from asyncsched.stores._redis.link import store_error
from asyncsched.stores._redis.troubles import unfit as redis_unfit
from contract.postgres_bench import server as postgres_server


async def refused(url: str) -> str:
    """What is said to whoever starts a scheduler there; never a password."""
    with pytest.raises(StoreError) as caught:
        await Scheduler(url, registry=Registry()).start()
    said = str(caught.value)
    assert "secret" not in said
    return said


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://user:secret@nowhere.invalid/app", "check the name of the host in the URL"),
        ("postgresql://user:secret@127.0.0.1:1/app", "look whether the server runs there and can be reached"),
        ("postgresql://user:secret@/app?host=/nowhere", "look whether the server runs there and can be reached"),
        ("postgresql://user:secret@127.0.0.1/app?sslmode=perhaps", "`sslmode` parameter must be one of: disable"),
        ("redis://user:secret@nowhere.invalid/0", "check the name of the host in the URL"),
        ("redis://user:secret@127.0.0.1:1/0", "see whether the server runs there and may be reached"),
        ("unix:///nowhere/socket", "see whether the server runs there and may be reached"),
    ],
)
async def test_a_place_where_no_server_is(url: str, says: str) -> None:
    assert says in await refused(url)


@pytest.mark.parametrize("url", ["postgres//host/app", "mysql://host/app", "http://host", "redis://host/many"])
def test_a_url_that_names_no_store(url: str) -> None:
    with pytest.raises(ConfigError, match="give"):
        Scheduler(url)


# -- PostgreSQL


@pytest.fixture(scope="module")
def postgres() -> servers.Postgres:
    """The server of this test process, with users who may do little."""
    server = postgres_server()
    if not server.sql("SELECT 1 FROM pg_roles WHERE rolname = 'trouble_locked'"):
        hba = server.folder / "data" / "pg_hba.conf"
        hba.write_text(f"local all trouble_locked scram-sha-256\nlocal all trouble_banned reject\n{hba.read_text()}")
        server.sql(
            "CREATE ROLE trouble_locked LOGIN PASSWORD 'right'; CREATE ROLE trouble_banned LOGIN; "
            "CREATE ROLE trouble_guest LOGIN; CREATE ROLE trouble_reader LOGIN; "
            "ALTER ROLE trouble_reader SET default_transaction_read_only = on; "
            "GRANT ALL ON DATABASE postgres TO trouble_reader; SELECT pg_reload_conf()"
        )
    return server


def as_user(server: servers.Postgres, user: str, schema: str = "troubles") -> str:
    return f"{server.url().replace('postgres@', f'{user}@')}&schema={schema}"


@pytest.mark.parametrize(
    ("user", "says"),
    [
        ("trouble_locked:secret", "check the user and the password in the URL"),
        ("trouble_locked", "check the user and the password in the URL"),
        ("trouble_banned", "what pg_hba.conf lets in"),
        ("trouble_nobody", "check the user and the password in the URL"),
        ("trouble_guest", "this user lacks a right there: grant it, or let 'asyncsched migrate' be run by one who may"),
        ("trouble_reader", "name the primary in the URL, or let him write"),
    ],
)
async def test_a_user_whom_postgresql_does_not_let_do_what_is_needed(
    postgres: servers.Postgres, user: str, says: str
) -> None:
    assert says in await refused(as_user(postgres, user))


async def test_tables_that_the_user_may_not_use_or_that_were_dropped(postgres: servers.Postgres) -> None:
    schema = f"troubles_{time.monotonic_ns()}"
    async with Scheduler(f"{postgres.url()}&schema={schema}", registry=Registry()):
        pass
    assert "this user lacks a right there" in await refused(as_user(postgres, "trouble_guest", schema))
    postgres.sql(f"GRANT USAGE ON SCHEMA {schema} TO trouble_guest")
    assert "permission denied for table" in await refused(as_user(postgres, "trouble_guest", schema))
    postgres.sql(f"DROP TABLE {schema}.runs CASCADE")
    assert "a table is missing: somebody has dropped it" in await refused(f"{postgres.url()}&schema={schema}")


async def test_a_database_that_is_not_there_and_an_option_that_nobody_knows(postgres: servers.Postgres) -> None:
    assert "make it first (createdb)" in await refused(postgres.url("trouble_none"))
    assert "an option behind the ? of the URL is none of the store" in await refused(f"{postgres.url()}&color=red")


def test_a_postgresql_that_is_too_old_or_lacks_letters_is_refused() -> None:
    assert postgres_unfit(LEAST_VERSION, "UTF8") is postgres_unfit(99, "UTF8") is None
    assert "the store needs 13 or later: upgrade it" in str(postgres_unfit(12, "UTF8"))
    assert "ENCODING 'UTF8'" in str(postgres_unfit(18, "LATIN1"))


# -- Redis


RIGHTS = "let him have '~{asyncsched}:* &{asyncsched}:* +@all -@dangerous +info'"


@pytest.fixture(scope="module")
def valkey() -> servers.Valkey:
    return valkey_server()


@pytest.fixture
def client(valkey: servers.Valkey) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey.url()) as client:
        yield client


def at(valkey: servers.Valkey, user: str = "", **options: object) -> str:
    more = "".join(f"&{name}={value}" for name, value in options.items())
    return f"unix://{user}{'@' * bool(user)}{valkey.folder}/socket?volatile=allow{more}"


@pytest.mark.parametrize(
    ("rules", "says"),
    [
        (">right ~* &* +@all", "check user and password in the URL"),
        (">secret ~other:* &* +@all", RIGHTS),
        (">secret ~* resetchannels +@all", RIGHTS),
        (">secret ~* &* +@all -@scripting", RIGHTS),
        (">secret ~* &* +@all -@pubsub", RIGHTS),
        (">secret ~* &* +@all -info", RIGHTS),
    ],
)
async def test_a_user_whom_the_server_does_not_let_do_what_is_needed(
    valkey: servers.Valkey, client: redis.Redis, rules: str, says: str
) -> None:
    client.execute_command(f"ACL SETUSER trouble reset on {rules}")
    assert says in await refused(at(valkey, "trouble:secret"))


async def test_a_user_who_has_the_rights_that_are_asked_for_may_use_it(
    valkey: servers.Valkey, client: redis.Redis
) -> None:
    rights = "~{asyncsched}:* &{asyncsched}:* +@all -@dangerous +info"
    client.execute_command(f"ACL SETUSER trouble reset on >secret {rights}")
    registry = Registry()

    @registry.task(id="add")
    async def add(number: int) -> int:
        return number + 1

    async with Scheduler(at(valkey, "trouble:secret"), registry=registry):
        assert await (await add.submit(1)) == 2


async def test_a_database_that_the_server_does_not_have(valkey: servers.Valkey) -> None:
    assert "the server has no database of that number" in await refused(at(valkey, db=99))


async def test_a_server_that_is_locked_a_replica_full_or_part_of_a_cluster() -> None:
    with servers.valkey("--save", "", "--appendonly", "no", "--cluster-enabled", "yes") as server:
        assert "the cluster is not whole" in await refused(at(server))
        assert "a cluster has 0" in await refused(at(server, db=2))
    with servers.valkey() as server, redis.Redis.from_url(server.url()) as client:
        client.execute_command("REPLICAOF 127.0.0.1 1")
        assert "it is a replica, which only reads: name the primary" in await refused(at(server))
        client.execute_command("REPLICAOF NO ONE")
        client.config_set("maxmemory", "1mb")
        assert "its memory is full: raise maxmemory" in await refused(at(server))
        client.config_set("maxmemory", "0")
        client.config_set("requirepass", "right")
        assert "check user and password in the URL" in await refused(at(server))
    moved = store_error(Address("redis://host/0"), redis.ResponseError("MOVED 1 127.0.0.1:7001"))
    assert "this is one node of a cluster" in str(moved)


def test_a_server_that_is_too_old_or_forgets_is_refused() -> None:
    kept = {"redis_version": "7.2.4", "aof_enabled": "1", "maxmemory_policy": "noeviction"}
    assert redis_unfit(kept, volatile=False) is None
    assert "6.2 or later is needed" in str(redis_unfit({**kept, "redis_version": "6.0.16"}, volatile=True))
    assert "set 'appendonly yes'" in str(redis_unfit({**kept, "aof_enabled": "0"}, volatile=False))
    evicts = {**kept, "maxmemory_policy": "allkeys-lru"}
    assert "set 'maxmemory-policy noeviction'" in str(redis_unfit(evicts, volatile=False))
    assert redis_unfit(evicts, volatile=True) is None


# -- drivers that are not installed


@pytest.mark.parametrize(
    ("url", "module", "command"),
    [
        ("postgresql://host/app", "asyncpg", "pip install 'asyncsched[postgres]'"),
        ("redis://host/0", "redis", "pip install 'asyncsched[redis]'"),
    ],
)
async def test_a_driver_that_is_missing_is_told_with_the_command_that_installs_it(
    url: str, module: str, command: str
) -> None:
    program = f"import sys; sys.modules[{module!r}] = None\nfrom asyncsched import Scheduler\nScheduler({url!r})"
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().rpartition("\n")[2].endswith(command)

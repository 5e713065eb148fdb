"""Where nodes meet, looked at from outside: a SQLite file, a schema of PostgreSQL, a namespace of Redis.

Nothing here asks the library: what it has written is read as it stands there.
"""

from __future__ import annotations

import abc
import contextlib
import json
import sqlite3
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import redis

from addresses import SHARED, new_url, postgres_server, valkey_server

from .invariants import Record, sqlite_damage

__all__ = ["SHARED", "Ground", "ground_of"]

LEASE_S, SWEEP_S = 3.0, 6.0
"""The shortest lease that a node may have, and the longest time from one look at the leases of others to the next."""
_NAMES = ("id", "task", "status", "attempt", "token", "scheduled_at", "stands_for", "retry_of", "result")
_TEXTS = frozenset(("id", "task", "status", "reason", "retry_of", "result", "flow", "args", "node", "terms"))


class Ground(abc.ABC):
    """One place for nodes.

    url: as nodes name it. recovery_s: so long after the death of a node what it ran may be begun anew.
    """

    kind: str
    url: str
    recovery_s = LEASE_S + SWEEP_S + 1

    @abc.abstractmethod
    def rows(self, *names: str) -> list[dict[str, Any]]:
        """These columns of all runs, and whether each is ``live``."""

    @abc.abstractmethod
    def watermarks(self) -> dict[str, int | None]:
        """The watermark of each task."""

    @abc.abstractmethod
    def left(self) -> list[str]:
        """What is there and should not be, when all runs have ended and all nodes have left.

        At a server the nodes that were killed may still be there: their leases may not be over.
        """

    @abc.abstractmethod
    def forget_nodes(self) -> None:
        """Take away all that tells of nodes, as somebody might by hand."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Take away everything."""

    def records(self) -> list[Record]:
        """All runs."""
        return [Record(*(row[name] for name in _NAMES), row["live"]) for row in self.rows(*_NAMES)]

    def flows(self) -> dict[str, list[str]]:
        """The tasks of the ended runs of each flow."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for row in self.rows("task", "flow"):
            if row["flow"] is not None and not row["live"]:
                found[row["flow"]].append(row["task"])
        return {flow: sorted(tasks) for flow, tasks in found.items()}

    def over(self) -> bool:
        """Whether all fires have been made, and all runs have ended."""
        return set(self.watermarks().values()) == {None} and not any(row["live"] for row in self.rows("id"))


class File(Ground):
    """A SQLite file."""

    kind = "sqlite"
    # That a process of this machine is gone is known at once; what it ran then waits behind what was due before it.
    recovery_s = 10.0

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"
        self.url = f"sqlite:///{self.path}?lease={LEASE_S:.0f}s"

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.path, timeout=10)) as db, db:
            return db.execute(query).fetchall()

    def rows(self, *names: str) -> list[dict[str, Any]]:
        wanted = ", ".join(names)
        query = (
            f"SELECT {wanted}, 1 FROM asyncsched_runs UNION ALL SELECT {wanted}, 0 FROM asyncsched_history"  # one look
        )
        return [{**dict(zip(names, row, strict=False)), "live": bool(row[-1])} for row in self._ask(query)]

    def watermarks(self) -> dict[str, int | None]:
        return dict(self._ask("SELECT id, next_at FROM asyncsched_tasks"))  # type: ignore[arg-type]

    def left(self) -> list[str]:
        return sqlite_damage(self.path)

    def forget_nodes(self) -> None:
        self._ask("DELETE FROM asyncsched_nodes")
        for file in self.path.parent.glob(f"{self.path.name}-node-*"):
            file.unlink()

    def clear(self) -> None:
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()


class Schema(Ground):
    """A schema of PostgreSQL."""

    kind = "postgres"

    def __init__(self, folder: Path) -> None:
        self.url = new_url("postgres", folder, lease=f"{LEASE_S:.0f}s")
        self.name = parse_qs(urlsplit(self.url).query)["schema"][0]

    def _ask(self, query: str) -> list[dict[str, Any]]:
        text = f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t"
        found: list[dict[str, Any]] = json.loads(postgres_server().sql(text))
        return found

    def rows(self, *names: str) -> list[dict[str, Any]]:
        wanted = ", ".join(names)
        return self._ask(
            f"SELECT {wanted}, true AS live FROM {self.name}.runs "
            f"UNION ALL SELECT {wanted}, false FROM {self.name}.history"
        )

    def watermarks(self) -> dict[str, int | None]:
        return {row["id"]: row["next_at"] for row in self._ask(f"SELECT id, next_at FROM {self.name}.tasks")}

    def left(self) -> list[str]:
        found = []
        (row,) = self._ask(f"SELECT count(*) AS count FROM {self.name}.needs")
        found += [f"{row['count']} needs of nobody"] if row["count"] else []
        return found + _unfinished(self)

    def forget_nodes(self) -> None:
        postgres_server().sql(f"DELETE FROM {self.name}.nodes")

    def clear(self) -> None:
        postgres_server().sql(f"DROP SCHEMA IF EXISTS {self.name} CASCADE")


class Namespace(Ground):
    """A namespace of Redis."""

    kind = "redis"

    def __init__(self, folder: Path) -> None:
        self.url = new_url("redis", folder, lease=f"{LEASE_S:.0f}s")
        self.prefix = f"{{{parse_qs(urlsplit(self.url).query)['namespace'][0]}}}:"

    def _client(self) -> contextlib.closing[Any]:
        return contextlib.closing(redis.Redis.from_url(valkey_server().url(), decode_responses=True))

    def rows(self, *names: str) -> list[dict[str, Any]]:
        with self._client() as client:
            ids = client.zrange(f"{self.prefix}a", 0, -1)
            pipeline = client.pipeline(transaction=True)  # one look
            for run_id in ids:
                pipeline.hmget(f"{self.prefix}r:{run_id}", *names, "state")
            found = pipeline.execute()
        said = [dict(zip((*names, "state"), values, strict=True)) for values in found if values[-1] is not None]
        return [{**_numbers(row, names), "live": row["state"] != "9"} for row in said]

    def watermarks(self) -> dict[str, int | None]:
        with self._client() as client:
            keys = list(client.scan_iter(f"{self.prefix}t:*", count=1000))
            said = {key.removeprefix(f"{self.prefix}t:"): client.hget(key, "next_at") for key in keys}
        return {task: None if at is None else int(at) for task, at in said.items()}

    def left(self) -> list[str]:
        with self._client() as client:
            found = ["nodes have runs"] if client.exists(f"{self.prefix}owners") else []
            for kind, what in (("o", "runs at a node"), ("n", "needs"), ("f", "followers"), ("y", "ready runs")):
                keys = list(client.scan_iter(f"{self.prefix}{kind}:*", count=1000))
                found += [f"{len(keys)} keys of {what}"] if keys else []
            ended = set(client.zrange(f"{self.prefix}ended", 0, -1))
        kept = {row["id"] for row in self.rows("id") if not row["live"]}
        if ended != kept:
            found.append(f"{len(ended ^ kept)} runs are ended in one place and not in the other")
        return found + _unfinished(self)

    def forget_nodes(self) -> None:
        with self._client() as client:
            client.delete(f"{self.prefix}nodes", f"{self.prefix}names")

    def clear(self) -> None:
        with self._client() as client:
            if keys := list(client.scan_iter(f"{self.prefix}*", count=1000)):
                client.delete(*keys)


def _numbers(row: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row[name] if name in _TEXTS or row[name] is None else int(row[name]) for name in names}


def _unfinished(ground: Ground) -> list[str]:
    live = [row for row in ground.rows("id", "task", "status", "attempt", "token", "created_at") if row["live"]]
    return [f"a run has not ended: {row}" for row in live[:5]]


_GROUNDS: dict[str, Any] = {"sqlite": File, "postgres": Schema, "redis": Namespace}


def ground_of(kind: str, folder: Path) -> Ground:
    """A new place of this kind, one of ``SHARED``, with nothing there."""
    ground: Ground = _GROUNDS[kind](folder)
    return ground

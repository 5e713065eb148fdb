"""Other libraries on SQLite, set up as their documentation says is fastest, with the PRAGMAs that all have."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks.measures import Found
from benchmarks.sizes import Sizes


def work(number: int) -> int:
    """What is called; by its name, as these libraries store it."""
    return number


def _each_us(number: int, one: Callable[[], object]) -> float:
    begun = time.perf_counter()
    for _ in range(number):
        one()
    return (time.perf_counter() - begun) / number * 1e6


def huey(sizes: Sizes, files: Iterator[str]) -> Found:
    """huey: ``SqliteHuey``; what its worker does, one task after the other, with its result stored."""
    from huey import Huey
    from huey.storage import SqliteStorage

    class Normal(SqliteStorage):
        """As its own option has it, huey is either at FULL or does not wait for the disk at all."""

        def _create_connection(self) -> Any:
            db = super()._create_connection()
            db.execute("PRAGMA synchronous = NORMAL")
            return db

    made: Any = Huey("bench", storage_class=Normal, filename=next(files), journal_mode="wal")
    task = made.task()(work)
    submit_us = _each_us(sizes.durable, lambda: task(1))
    execute_us = _each_us(sizes.durable, lambda: made.execute(made.dequeue()))
    assert made.pending_count() == 0
    made.storage.close()
    return {"submit_alone_us": submit_us, "execute_us": execute_us}


def apscheduler3(sizes: Sizes, files: Iterator[str]) -> Found:
    """APScheduler 3: a job store on SQLAlchemy. How long it takes to add and to load; it records no results."""
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from apscheduler.schedulers.background import BackgroundScheduler
    from sqlalchemy import create_engine, event

    def scheduler(path: str) -> tuple[Any, Any]:
        engine = create_engine(f"sqlite:///{path}")

        @event.listens_for(engine, "connect")
        def prepare(db: Any, _record: object) -> None:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")

        stores = {"default": SQLAlchemyJobStore(engine=engine)}
        return BackgroundScheduler(timezone=UTC, jobstores=stores), engine

    path, later = next(files), datetime.now(UTC) + timedelta(days=1)
    first, engine = scheduler(path)
    first.start(paused=True)
    submit_us = _each_us(sizes.loaded, lambda: first.add_job(work, "interval", hours=1, start_date=later, args=[1]))
    first.shutdown()
    engine.dispose()
    second, engine = scheduler(path)
    begun = time.perf_counter()
    second.start(paused=True)
    assert len(second.get_jobs()) == sizes.loaded
    load_ms = (time.perf_counter() - begun) * 1e3
    second.shutdown()
    engine.dispose()
    return {"submit_alone_us": submit_us, "load_ms": load_ms}


PEERS: dict[str, Callable[[Sizes, Iterator[str]], Found]] = {"huey": huey, "apscheduler3": apscheduler3}

"""Runs that are written in a transaction of the user's: nobody is to wait for its end who need not.

Only a run's own row is written, and for ``unique=``, a cooldown or an idempotency key the row that says for which key
it stands; whoever submits by the same key waits until the transaction is over. Limits are not looked at: such a run is
written as one that is delayed, and the next node that looks lets it wait for its limit, once it is committed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from asyncsched.errors import MisuseError
from asyncsched.run import Run, Terms
from asyncsched.stores._durable.orders import New
from asyncsched.stores._durable.rows import COLUMNS, DELAYED, READY, Row, terms_of
from asyncsched.stores._postgres.connection import Database
from asyncsched.stores._postgres.foreign import savepoint
from asyncsched.stores._postgres.keys import put_key, run_of_key
from asyncsched.stores._postgres.transaction import Transaction, of_given, of_once
from asyncsched.stores._postgres.unit import Unit

_ENLIST = (
    "SELECT EXISTS (SELECT 1 FROM asyncsched.nodes WHERE id = $1), pg_current_xact_id()::text::bigint, "
    "asyncsched.now_us()"
)
_ONE = "asyncsched_run"


class Enlisted(NamedTuple):
    """A transaction of the user's.

    known: whether this node is one of those in its database, as it sees them. number: by which the server knows it.
    """

    known: bool
    number: int
    now_us: int


async def enlist(db: Database, node_id: str) -> Enlisted:
    """Which transaction it is, and whether it is one at the store of this node."""
    found = await db.row(_ENLIST, node_id)
    assert found is not None
    return Enlisted(*found)


def check_terms(runs: Sequence[Run[Any]]) -> None:
    """Whether such runs can be written so.

    Raises:
        MisuseError: they cannot.
    """
    for run in runs:
        if run.terms.idempotency is not None and run.terms.once is not None:
            cure = "leave out one of the two, or connection="
            raise MisuseError(
                f"task {run.task!r}: a run may stand for a key or for an idempotency key within a transaction, and for "
                f"both only without: {cure}"
            )


async def submit(db: Database, now_us: int, runs: Sequence[New]) -> list[Row | None]:
    """Write the runs; for each the other one that stands for it, if any."""
    transaction = Transaction(db)
    transaction.now_us = now_us
    unit = _UnitWithin(transaction)
    found: list[Row | None] = [None] * len(runs)
    keyed: list[tuple[str, int]] = []
    for place, new in enumerate(runs):
        if (lock := _lock_of(terms_of(new.row.terms))) is None:
            await unit.write(new)
        else:
            keyed.append((lock, place))
    await unit.close()
    for lock, place in sorted(keyed):  # in one order, so that fewer wait for each other
        found[place] = await _submit_keyed(db, lock, runs[place])
    return found


def _lock_of(terms: Terms) -> str | None:
    if terms.idempotency is not None:
        return of_given(terms.idempotency.key)
    return None if terms.once_key is None else of_once(terms.once_key)


async def _submit_keyed(db: Database, lock: str, new: New) -> Row | None:
    async with savepoint(db.connection, _ONE):
        transaction = Transaction(db)
        await transaction.begin([lock])
        unit = _UnitWithin(transaction)
        earlier = await unit.submit(new)
        await unit.close()
        if earlier is not None:  # nothing was written: so nobody is to wait for this transaction
            await db.connection.execute(f"ROLLBACK TO SAVEPOINT {_ONE}")
    return earlier


class _UnitWithin(Unit):
    """What a submit writes of a run, by whose key it is locked."""

    _look = f"SELECT {COLUMNS} FROM asyncsched.runs WHERE id = $1"  # whoever runs it is not to wait

    async def submit(self, new: New) -> Row | None:
        terms = terms_of(new.row.terms)
        if terms.idempotency is None:
            return await self._submit(new, terms)
        earlier = await run_of_key(self.db, terms.idempotency.key)
        if earlier is None:
            await self.write(new)
            await put_key(self.db, terms.idempotency, new.row)
        return earlier

    def _waits(self, due_us: int, limit_key: str | None) -> int:
        return READY if due_us <= self.now_us and limit_key is None else DELAYED

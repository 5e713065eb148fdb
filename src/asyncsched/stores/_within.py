"""What a store does whose transactions are also those of its users."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar

from asyncsched.errors import MisuseError
from asyncsched.run import Run, Settled


class RunTransaction(ABC):
    """A transaction in the database of the store, in which one attempt of a run works.

    connection: the driver's own, within the transaction.
    """

    connection: Any

    @abstractmethod
    async def end(self, run: Run[Any], token: int, settled: Settled) -> bool:
        """Write that the attempt with this token has ended so, and commit both: whether that counts.

        If it does, ``cycle`` accepts the acknowledgement of the attempt, and only as it was written here. If another
        node has the run by now, nothing is kept of the transaction. Who is cancelled meanwhile waits for the answer.

        Raises:
            StoreError: the database refuses, and nothing is kept; or nobody knows: then ``cycle`` finds out.
        """


class TransactionVerbs(ABC):  # noqa: B024 - a store that has no transactions says so
    """The verbs about transactions that are not the store's own.

    transacts: whether runs can work in transactions of the store's database.
    """

    transacts: ClassVar[bool] = False

    async def submit_within(
        self,
        connection: object,
        runs: Sequence[Run[Any]],  # noqa: ARG002 - a store without transactions has no use for them
    ) -> list[Run[Any]]:
        """As ``submit``, by the caller's connection to the database of the store, in the transaction it is in.

        Nothing is committed, and no other verb sees anything of it until the caller has done so; then the runs are
        found without being told of. If the caller rolls back, there never were any. A connection that begins its
        transactions by itself begins one.

        Raises:
            MisuseError: it is no connection to this store's database, or commits each statement by itself.
            StoreError: the database refuses; the transaction stands as it was before the call.
        """
        raise MisuseError(
            f"{self} takes part in no transaction: leave connection={type(connection).__name__} out, or use a store in "
            "the database of that connection, such as sqlite:///app.db or postgresql://..."
        )

    def transaction(self) -> AbstractAsyncContextManager[RunTransaction]:
        """A transaction for an attempt of a run; left before it has been ended, it is rolled back.

        Raises:
            MisuseError: the store does not transact.
        """
        raise MisuseError(f"{self} has no transactions for runs: use a store that has, such as postgresql://...")

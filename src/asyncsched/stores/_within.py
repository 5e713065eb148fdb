"""What a store does that can write into a transaction of its user."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any

from asyncsched.errors import MisuseError
from asyncsched.run import Run


class TransactionVerbs(ABC):  # noqa: B024 - a store that has no transactions says so
    """The verb about transactions that are not the store's own."""

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
            "the database of that connection, such as sqlite:///app.db"
        )

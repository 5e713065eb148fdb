"""The transaction that a run works in: what it writes there is kept with the run's SUCCESS, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Annotated, Any

from asyncsched.errors import MisuseError
from asyncsched.resource import Depends, Factory
from asyncsched.signature import signature_of
from asyncsched.surroundings import Surroundings, factory_of

_current: ContextVar[Any] = ContextVar("asyncsched_current_transaction")

enter_transaction = _current.set
"""Let the run that is under way in this context work by this connection from here on. For the engine."""


def own_transaction() -> Any:
    """The connection of the transaction that the calling run works in.

    Raises:
        MisuseError: it works in none.
    """
    try:
        return _current.get()
    except LookupError:
        raise MisuseError("a Transaction is given to what a scheduler runs: nothing is running here") from None


Transaction = Annotated[Any, Depends(own_transaction)]
"""The type of a parameter that is given a connection to the store's database, within a transaction of the run's own.

It is asyncpg's, of a ``PostgresStore``. The transaction is committed with the run's SUCCESS, as one; if the attempt
ends in any other way, it is rolled back.
"""


def takes_transaction(needed: Mapping[str, Depends], around: Sequence[Surroundings]) -> str | None:
    """The first of these parameters that needs the run's transaction, itself or by what its resource needs.

    ``None``: none of them does. What they need is known to be there, and not in a circle.
    """
    for parameter, depends in needed.items():
        factory: Factory | None = factory_of(depends.resource, around)
        if factory is own_transaction or (
            factory is not None and takes_transaction(signature_of(factory).resources, around) is not None
        ):
            return parameter
    return None

"""Who works in the transaction of a run: by its own parameter, or by what a resource needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import pytest

from asyncsched import Depends, Transaction
from asyncsched.errors import MisuseError
from asyncsched.signature import signature_of
from asyncsched.surroundings import Surroundings
from asyncsched.transaction import enter_transaction, own_transaction, takes_transaction


def open_file() -> str:
    return "file"


def open_ledger(tx: Transaction) -> str:
    return f"ledger by {tx}"


def open_books(file: Annotated[str, Depends(open_file)], ledger: Annotated[str, Depends(open_ledger)]) -> str:
    return f"{file} {ledger}"


def plain(file: Annotated[str, Depends(open_file)]) -> None: ...
def own(user: int, tx: Transaction) -> None: ...
def at_second_hand(books: Annotated[str, Depends(open_books)]) -> None: ...
def maybe(tx: Transaction | None = None) -> None: ...


@pytest.mark.parametrize(("func", "parameter"), [(plain, None), (own, "tx"), (at_second_hand, "books"), (maybe, "tx")])
def test_a_function_works_in_a_transaction_if_it_or_what_it_needs_asks_for_one(
    func: Callable[..., Any], parameter: str | None
) -> None:
    assert takes_transaction(signature_of(func).resources, (Surroundings(),)) == parameter


def test_with_a_stand_in_for_what_needs_it_there_is_no_transaction() -> None:
    around = Surroundings()
    with around.replaced(open_ledger, open_file):
        assert takes_transaction(signature_of(at_second_hand).resources, (around,)) is None
    assert takes_transaction(signature_of(at_second_hand).resources, (around,)) == "books"


async def test_outside_of_a_run_there_is_none() -> None:
    with pytest.raises(MisuseError, match="nothing is running here"):
        own_transaction()
    enter_transaction("connection")
    assert own_transaction() == "connection"

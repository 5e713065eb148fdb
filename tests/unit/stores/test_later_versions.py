"""What a later version of the library has written: as much as is known here counts, and nothing of it is lost."""

from __future__ import annotations

import json

import pytest

from asyncsched.errors import ArgumentsError
from asyncsched.limits import Idempotency
from asyncsched.run import NO_TERMS, Run
from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import read_terms, row_of, run_of, terms_again, terms_of
from asyncsched.stores._durable.unread import Unread
from asyncsched.values import Values

LATER = '{"priority":3,"queue":"slow","limit_key":"a/b","colour":"red"}'
KNOWN = NO_TERMS._replace(priority=3, queue="slow", limit_key="a/b")


def test_terms_that_say_more_are_read_as_far_as_they_are_known_and_not_as_whole() -> None:
    assert read_terms(LATER) == (KNOWN, False)
    assert terms_of(LATER) == KNOWN
    assert read_terms('{"queue":"slow","once":["Later",5],"once_key":"k"}') == (
        NO_TERMS._replace(queue="slow", once_key="k"),
        False,
    )
    assert read_terms('{"queue":"slow"}') == (NO_TERMS._replace(queue="slow"), True)
    assert read_terms("nonsense") == (NO_TERMS, False)


def test_what_is_not_known_of_terms_stays_when_they_are_written_again() -> None:
    given = KNOWN._replace(idempotency=Idempotency("key", 5))
    said = json.loads(terms_again(LATER, given) or "")
    assert said == {**json.loads(LATER), "idempotency": ["key", 5]}
    assert terms_again('{"queue":"slow"}', NO_TERMS) is None
    assert terms_again("nonsense", NO_TERMS) is None


def test_a_run_of_which_more_is_said_is_not_carried_out_here() -> None:
    row = row_of(Run("r", "task", 1, 2, None, 1, NO_TERMS), Values(None))._replace(terms=LATER)
    with pytest.raises(ArgumentsError, match="its terms cannot be read"):
        run_of(row, Values(None), {})


def test_a_row_with_more_columns_is_read_by_those_that_are_known() -> None:
    row = row_of(Run("r", "task", 1, 2, None, 1, NO_TERMS), Values(None))
    assert row_said(json.dumps([*row, "red"])) == row
    assert row_said(json.dumps(list(row)[:-1])) is None


def test_what_others_cannot_read_waits_again_here_so_many_times_and_what_nobody_can_read_never() -> None:
    known, unread = KnownRuns(), Unread()
    row = row_of(Run("r", "task", 1, 2, None, 1, NO_TERMS), Values(None))
    assert unread.readable([row._replace(terms=LATER)], {}, known) == []
    times = 0
    while unread.readable([row], {}, known):
        times += 1
    assert times == 20
    assert [known.tells("r"), known.tells("r"), known.tells("other")] == [True, False, True]

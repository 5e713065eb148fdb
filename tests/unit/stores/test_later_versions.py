"""What a later version of the library has written: as much as is known here counts, and nothing of it is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from addresses import STORES, Place
from asyncsched import Registry
from asyncsched.errors import ArgumentsError
from asyncsched.limits import Idempotency
from asyncsched.overrides import NO_OVERRIDES
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.run import NO_TERMS, Run
from asyncsched.scheduler import store_of
from asyncsched.stored import overrides_words
from asyncsched.stores import Amendment
from asyncsched.stores._durable.known import KnownRuns
from asyncsched.stores._durable.marred import row_said
from asyncsched.stores._durable.rows import read_terms, row_of, run_of, terms_again, terms_of
from asyncsched.stores._durable.tasks import overrides_of
from asyncsched.stores._durable.unread import Unread
from asyncsched.triggers import Every
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


def test_a_trigger_that_was_put_and_cannot_be_read_stays_where_it_is() -> None:
    said = {"trigger": {"kind": "tides"}, "priority": 3, "colour": "red"}
    found = overrides_of("work", json.dumps(said))
    assert (found.trigger, found.priority, found.to_json()) == (None, 3, said)
    assert found.with_limits(DEFAULT_POLICY, None, 2).to_json() == {**said, "max_running": 2}
    words = overrides_words(found, Every("1h"))
    assert (words["trigger"], words["code_trigger"]) == ("one of a later version", "every hour")
    other = found._replace(trigger=Every("5m"))
    assert other.to_json()["trigger"] == Every("5m").to_json()
    for text in ("nonsense", "[1]", '{"trigger":{"kind":"tides"},"priority":"high"}'):
        assert overrides_of("work", text) == NO_OVERRIDES


@pytest.mark.parametrize("kind", STORES)
async def test_what_a_later_version_has_put_in_place_of_code_stays_until_it_is_reset(kind: str, tmp_path: Path) -> None:
    registry, place = Registry(), Place(kind, tmp_path)

    @registry.every("1h", id="work")
    async def work() -> None: ...

    async with place.scheduler(registry) as later:
        put = (await later.tasks.override("work", priority=3))._replace(more={"colour": "red"})
        (stands,) = await store_of(later).standings(["work"])
        await store_of(later).amend("work", stands.version, Amendment(None, None, put, stands.next_us))
    async with place.scheduler(registry) as here:
        await here.tasks.override("work", max_running=2, note="it is slow")
        await here.tasks.override("work", cron="0 4 * * *")
        await here.tasks.pause("work")
        assert "colour, which a later version knows" in str(await here.tasks.explain("work"))
    async with place.scheduler(registry) as again:
        (told,) = await again.tasks.stored()
        said = told.overrides.to_json()
        assert (said["colour"], said["priority"], said["max_running"]) == ("red", 3, 2)
        await again.tasks.reset("work")
        (told,) = await again.tasks.stored()
        assert told.overrides.to_json() == {}

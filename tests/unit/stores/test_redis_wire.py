"""What many coroutines ask of a Redis server goes together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from itertools import count

import pytest

from asyncsched.errors import StoreError
from asyncsched.stores._redis.address import address_of
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.wire import Unit, flat
from servers import Valkey, valkey

PATIENCE_S = 60
_numbers = count()


@pytest.fixture
async def link(server: Valkey) -> AsyncIterator[Link]:
    link = Link(address_of(server.url(), f"wire-{next(_numbers)}", volatile=True))
    yield link
    await link.close()


def written(key: str, value: object) -> list[Unit]:
    return [Unit([], [("call", "SET", key, value), ("call", "GET", key)])]


async def test_units_of_many_are_few_calls_and_each_is_told_of_its_own(link: Link) -> None:
    async with asyncio.timeout(PATIENCE_S):
        done = await asyncio.gather(*(link.carry_out(written(f"k{number}", number)) for number in range(1_000)))
        assert [one.answers[0][1] for one in done if one.answers[0]] == [str(number) for number in range(1_000)]
        (calls,) = await link.ask(("GET", "count"))
    # Two changes and a unit are three; two hundred of these at the most, so that others are answered meanwhile.
    assert 1_000 * 3 / 200 <= int(calls) <= 40


async def test_what_is_asked_while_two_exchanges_are_under_way_goes_together(link: Link) -> None:
    await link.carry_out(written("k", 0))
    before = link._wire._exchanges
    asked = [link.begin(written(f"k{number}", number)) for number in range(40)]
    assert len(link._wire._left) == 2
    await asyncio.gather(*asked)
    assert link._wire._exchanges - before == 3


async def test_what_is_too_much_for_one_call_goes_by_itself_and_is_not_torn(link: Link) -> None:
    many = [written(f"k{number}", number)[0] for number in range(300)]
    one, other = await asyncio.gather(link.carry_out(many), link.carry_out(written("k", 1)))
    assert (len(one.answers), len(other.answers)) == (300, 1)
    assert await link.ask(("GET", "count")) == ["2"]


async def test_a_unit_that_cannot_be_carried_out_concerns_nobody_else(link: Link) -> None:
    bad = [Unit([], [("call", "SET", "text", "x"), ("call", "INCR", "text")])]
    before, wrong, after = await asyncio.gather(
        link.carry_out(written("a", 1)), link.carry_out(bad), link.carry_out(written("b", 2)), return_exceptions=True
    )
    assert isinstance(wrong, StoreError)
    assert "not an integer" in str(wrong)
    assert [done.answers[0][1] for done in (before, after)] == ["1", "2"]  # type: ignore[union-attr, index]


async def test_a_check_that_does_not_hold_is_told_by_none(link: Link) -> None:
    held = Unit([("text", "k", None)], [("call", "SET", "k", "1")])
    done = await link.carry_out([held, held])
    assert done.answers[0] is not None
    assert done.answers[1] is None


async def test_a_server_that_does_not_know_the_scripts_is_told_them(link: Link) -> None:
    await link.carry_out(written("k", 1))
    await link._wire.ask([("SCRIPT", "FLUSH")])
    done = await asyncio.gather(*(link.carry_out(written("k", number)) for number in range(200)), link.read(["r"]))
    assert len(done) == 201


@pytest.mark.parametrize("unpacked", ["half of a \ud800 character", b"bytes \xff"])
async def test_what_is_no_text_is_sent_with_something_in_its_place(link: Link, unpacked: object) -> None:
    await link.ask(("SET", "k", unpacked), ("SET", "k2", "fine"))
    assert [one[-4:] for one in await link.ask(("GET", "k"), ("GET", "k2"))][1] == "fine"


async def test_who_waits_no_more_takes_no_answer_from_others(link: Link) -> None:
    async with asyncio.timeout(PATIENCE_S):
        asking = [asyncio.ensure_future(link.carry_out(written(f"k{number}", number))) for number in range(100)]
        await asyncio.sleep(0)
        for one in asking[::2]:
            one.cancel()
        done = await asyncio.gather(*asking, return_exceptions=True)
        assert all(isinstance(one, asyncio.CancelledError) for one in done[::2])
        assert [one.answers[0][1] for one in done[1::2]] == [str(number) for number in range(1, 100, 2)]  # type: ignore[union-attr, index]
        assert await link.now_us() > 0


async def test_all_that_waited_are_told_when_the_server_goes_and_the_next_find_it_when_it_is_back() -> None:
    with valkey() as server:
        link = Link(address_of(server.url(), "app", volatile=True))
        await link.carry_out(written("k", 1))
        server.stop(signal.SIGKILL)
        found = await asyncio.gather(*(link.now_us() for _ in range(10)), return_exceptions=True)
        assert all(isinstance(one, StoreError) for one in found)
        server.start()
        async with asyncio.timeout(PATIENCE_S):
            assert await link.now_us() > 0  # at the first try: nothing of the lost connection is left
        await link.close()
        with pytest.raises(StoreError):
            await asyncio.gather(link.now_us(), link.close())


def test_values_are_texts_or_lists_of_texts_to_a_script() -> None:
    assert flat([1, None, True, "x", [2**60, ("y", None)]]) == [
        "1",
        False,
        True,
        "x",
        ["1152921504606846976", ["y", False]],
    ]

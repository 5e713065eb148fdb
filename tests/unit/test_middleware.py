"""Layers around a call."""

from collections.abc import Awaitable
from functools import partial
from typing import Any

import pytest

from asyncsched.errors import ConfigError
from asyncsched.middleware import CallNext, Middleware, checked_middleware, layered
from asyncsched.run import Run

RUN: Run[Any] = Run("id", "task", 0, 0)


async def seven() -> int:
    return 7


async def fails() -> int:
    raise KeyError("inner")


async def through(call: CallNext, *layers: Middleware) -> Any:
    return await layered(layers, RUN, call)()


async def test_the_first_is_outermost() -> None:
    seen: list[str] = []

    def layer(name: str) -> Middleware:
        async def middleware(run: Run[Any], call_next: CallNext) -> Any:
            assert run is RUN
            seen.append(f"in {name}")
            result = await call_next()
            seen.append(f"out {name}")
            return result

        return middleware

    assert await through(seven, layer("1"), layer("2")) == 7
    assert seen == ["in 1", "in 2", "out 2", "out 1"]
    assert await through(seven) == 7


async def watches(_run: Run[Any], call_next: CallNext) -> None:
    await call_next()


async def catches(_run: Run[Any], call_next: CallNext) -> None:
    try:
        await call_next()
    except BaseException:
        return


async def test_who_returns_nothing_changes_nothing() -> None:
    assert await through(seven, watches, catches) == 7
    with pytest.raises(KeyError, match="inner"):
        await through(fails, watches, catches)


async def replaces(_run: Run[Any], call_next: CallNext) -> int:
    try:
        return -(await call_next())
    except KeyError:
        return 0


async def test_what_it_returns_is_the_result_in_place_of_an_error_too() -> None:
    assert await through(seven, replaces) == -7
    assert await through(fails, watches, replaces) == 0


async def test_what_it_raises_comes_in_place_of_both() -> None:
    async def raises(_run: Run[Any], call_next: CallNext) -> None:
        try:
            await call_next()
        finally:
            raise ValueError("outer")

    with pytest.raises(ValueError, match="outer"):
        await through(seven, raises)
    with pytest.raises(ValueError, match="outer") as caught:
        await through(fails, raises)
    assert isinstance(caught.value.__context__, KeyError)


async def test_who_does_not_go_on_gives_the_result_itself() -> None:
    async def answers(_run: Run[Any], _call_next: CallNext) -> str:
        return "from the cache"

    async def is_silent(_run: Run[Any], _call_next: CallNext) -> None: ...

    assert await through(fails, answers) == "from the cache"
    assert await through(fails, is_silent) is None


async def test_of_several_calls_the_last_counts() -> None:
    calls: list[int] = []

    async def second_time() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise KeyError("once")
        return len(calls)

    async def again(_run: Run[Any], call_next: CallNext) -> None:
        try:
            await call_next()
        except KeyError:
            await call_next()

    assert await through(second_time, again) == 2


def plain(_run: Run[Any], _call_next: CallNext) -> Any: ...


async def lonely(_run: Run[Any]) -> Any: ...


@pytest.mark.parametrize(
    ("wrong", "message"),
    [(plain, "give an `async def` function"), (3, "give an `async def` function"), (lonely, "too many positional")],
)
def test_what_is_no_middleware_is_refused(wrong: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_middleware(wrong)


def test_objects_and_partials_can_be_one() -> None:
    class Layer:
        async def __call__(self, run: Run[Any], call_next: CallNext) -> Any: ...

    async def of_three(_name: str, _run: Run[Any], call_next: CallNext) -> Awaitable[Any]:
        return await call_next()

    for right in (Layer(), partial(of_three, "name")):
        assert checked_middleware(right) is right

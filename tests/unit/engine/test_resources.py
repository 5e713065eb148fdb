"""Resources are opened once, and closed once, in reverse, whatever raises where."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import product
from typing import Annotated, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched._engine.bus import Events
from asyncsched._engine.resources import Opened, Resources
from asyncsched.context import RunContext, enter_run
from asyncsched.errors import ConfigError, MisuseError
from asyncsched.events import ResourceNotClosed
from asyncsched.executors import LoopExecutor
from asyncsched.resource import Depends
from asyncsched.run import Run
from asyncsched.surroundings import Surroundings
from asyncsched.task import Task

RUN: Run[Any] = Run("id", "task", 0, 0)


def resources(*surroundings: Surroundings) -> tuple[Resources, list[ResourceNotClosed]]:
    """None is open yet; what could not be closed comes into the list."""
    bus, failures = Events(), list[ResourceNotClosed]()
    bus.on({ResourceNotClosed}, failures.append)
    return Resources(bus, lambda: 0, lambda _task: surroundings), failures


async def attempt(kept: Resources, func: Callable[..., Any]) -> Any:
    """What an attempt of a task of this function gives."""
    around = kept.around(Task(func, id="task"))
    assert around is not None
    return await around.call(LoopExecutor(), RUN, (), {})


async def value_of(factory: Callable[..., Any]) -> Any:
    """What the factory opens for a run."""
    kept, failures = resources()
    async with Opened(kept, (), RUN) as opened:
        value = (await opened.values({"x": Depends(factory)}))["x"]
    assert failures == []
    return value


# --- what a factory gives


log: list[str] = []


class Manager:
    """A context manager that can be entered in both ways, of which the asynchronous one goes first."""

    async def __aenter__(self) -> Self:
        log.append("aenter")
        return self

    async def __aexit__(self, *_details: object) -> None:
        log.append("aexit")

    def __enter__(self) -> Self:
        raise AssertionError

    def __exit__(self, *_details: object) -> None:
        raise AssertionError


class Pool(Manager):
    """As those of drivers that are made by ``await`` or by ``async with``."""

    def __await__(self) -> Any:
        raise AssertionError


async def async_generator() -> AsyncIterator[str]:
    log.append("open")
    yield "value"
    log.append("close")


def generator() -> Iterator[str]:
    log.append("open")
    yield "value"
    log.append("close")


async def coroutine() -> str:
    return "value"


async def gives_a_manager() -> Manager:
    return Manager()


def plain() -> str:
    return "value"


@pytest.mark.parametrize(
    ("factory", "kind", "lines"),
    [
        (async_generator, str, ["open", "close"]),
        (generator, str, ["open", "close"]),
        (asynccontextmanager(async_generator), str, ["open", "close"]),
        (contextmanager(generator), str, ["open", "close"]),
        (coroutine, str, []),
        (plain, str, []),
        (Manager, Manager, ["aenter", "aexit"]),
        (Pool, Pool, ["aenter", "aexit"]),
        (gives_a_manager, Manager, ["aenter", "aexit"]),
    ],
)
async def test_a_factory_may_be_of_many_kinds(factory: Callable[..., Any], kind: type, lines: list[str]) -> None:
    log.clear()
    value = await value_of(factory)
    assert isinstance(value, kind)
    assert value == "value" or kind is not str
    assert log == lines


async def test_a_resource_that_several_ask_for_is_opened_once_in_an_attempt() -> None:
    opened: list[str] = []

    def first(run: RunContext) -> str:
        opened.append(run.id)
        return "first"

    def second(x: Any) -> str:
        return f"second of {x}"

    second.__annotations__["x"] = Annotated[str, Depends(first)]

    async def func(x: Any, y: Any, run: RunContext) -> tuple[Any, ...]:
        return x, y, run

    func.__annotations__ |= {"x": second.__annotations__["x"], "y": Annotated[str, Depends(second)]}
    kept, _failures = resources()
    for _ in range(2):
        assert await attempt(kept, func) == ("first", "second of first", RUN)
    assert opened == ["id", "id"]


async def test_who_raises_again_what_came_in_has_been_closed() -> None:
    class Strict:
        async def __aenter__(self) -> None: ...

        async def __aexit__(self, _kind: object, error: BaseException, _where: object) -> None:
            raise error

    async def fails(x: None) -> None:
        raise ValueError("function")

    kept, failures = resources()
    fails.__annotations__["x"] = Annotated[None, Depends(Strict)]
    with pytest.raises(ValueError, match="function"):
        await attempt(kept, fails)
    assert failures == []


# --- what lasts as long as the scheduler


def asks(**marks: Depends) -> Callable[..., Any]:
    """A function that returns what these parameters are given."""

    async def func(**values: Any) -> dict[str, Any]:
        return values

    return with_parameters(func, **marks)


def with_parameters(func: Callable[..., Any], **marks: Depends) -> Callable[..., Any]:
    kind = inspect.Parameter.KEYWORD_ONLY
    asked = [inspect.Parameter(name, kind, annotation=Annotated[Any, mark]) for name, mark in marks.items()]
    func.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    return func


@dataclass
class Shared:
    """A resource for all, that opens and closes when it is let."""

    lines: list[str] = field(default_factory=list)
    may_open: asyncio.Event = field(default_factory=asyncio.Event)
    may_close: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False

    async def open(self) -> AsyncIterator[str]:
        self.lines.append("opening")
        await self.may_open.wait()
        if self.fails:
            raise ConnectionError("refused")
        opened_by = asyncio.current_task()
        self.lines.append("opened")
        try:
            yield "value"
        finally:
            self.lines.append("closing")
            assert asyncio.current_task() is opened_by
            await self.may_close.wait()
            self.lines.append("closed")


async def until(condition: Callable[[], object]) -> None:
    for _ in range(50):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


async def test_who_comes_meanwhile_waits_and_whoever_gives_up_does_not_end_it() -> None:
    kept, failures = resources()
    shared = Shared()
    func = asks(x=Depends(shared.open, scope="scheduler"))
    first, second = (asyncio.ensure_future(attempt(kept, func)) for _ in range(2))
    await until(lambda: shared.lines)
    first.cancel()
    shared.may_open.set()
    assert await second == {"x": "value"}
    assert first.cancelled()
    assert await attempt(kept, func) == {"x": "value"}
    assert shared.lines == ["opening", "opened"]
    shared.may_close.set()
    await kept.close()
    assert shared.lines == ["opening", "opened", "closing", "closed"]
    assert failures == []


async def test_one_that_could_not_be_opened_is_tried_again() -> None:
    kept, _failures = resources()
    shared = Shared(fails=True)
    shared.may_open.set()
    func = asks(x=Depends(shared.open, scope="scheduler"))
    for _ in range(2):
        with pytest.raises(ConnectionError, match="refused"):
            await attempt(kept, func)
    shared.fails = False
    assert await attempt(kept, func) == {"x": "value"}
    shared.may_close.set()
    await kept.close()


async def test_the_last_opened_is_closed_first_and_nothing_is_opened_after() -> None:
    surroundings = Surroundings()
    kept, _failures = resources(surroundings)
    lines: list[str] = []

    def factory(name: str, **marks: Depends) -> Callable[..., Any]:
        async def open_it(**_values: Any) -> AsyncIterator[str]:
            lines.append(f"+{name}")
            yield name
            lines.append(f"-{name}")

        return with_parameters(open_it, **marks)

    pool = factory("pool")
    cache = factory("cache", pool=Depends(pool, scope="scheduler"))
    surroundings.name("cache", cache)
    func = asks(cache=Depends("cache"))
    await attempt(kept, func)
    await attempt(kept, asks(x=Depends(factory("last"), scope="scheduler")))
    await kept.close()
    assert lines == ["+pool", "+cache", "+last", "-last", "-cache", "-pool"]
    with pytest.raises(MisuseError, match="the scheduler stopped"):
        await attempt(kept, func)


async def test_one_that_is_being_opened_when_the_scheduler_is_left_is_given_up() -> None:
    kept, _failures = resources()
    shared = Shared()
    waiting = asyncio.ensure_future(attempt(kept, asks(x=Depends(shared.open, scope="scheduler"))))
    await until(lambda: shared.lines)
    await kept.close()
    with pytest.raises(MisuseError, match=r"stopped while .*open was being opened"):
        await waiting
    assert shared.lines == ["opening"]


async def test_an_impatient_caller_cuts_the_closing_under_way_short_and_no_other() -> None:
    kept, _failures = resources()
    first, second = Shared(), Shared()
    first.may_open.set()
    second.may_open.set()
    for shared in (first, second):
        await attempt(kept, asks(x=Depends(shared.open, scope="scheduler")))
    first.may_close.set()
    closing = asyncio.ensure_future(kept.close())
    await until(lambda: "closing" in second.lines)
    assert "closing" not in first.lines
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert first.lines[-1] == "closed"
    assert second.lines[-1] == "closing"


async def test_one_whose_keeper_was_cancelled_is_closed_and_opened_anew() -> None:
    kept, _failures = resources()
    shared = Shared()
    shared.may_open.set()
    shared.may_close.set()
    func = asks(x=Depends(shared.open, scope="scheduler"))
    for times in (1, 2):
        await attempt(kept, func)
        assert shared.lines == ["opening", "opened"] + ["closing", "closed", "opening", "opened"] * (times - 1)
        if times == 1:
            (keeper,) = [task for task in asyncio.all_tasks() if task.get_name().endswith("Shared.open")]
            keeper.cancel()
            await asyncio.wait([keeper])
    await kept.close()
    assert shared.lines == ["opening", "opened", "closing", "closed"] * 2


async def test_what_is_opened_for_all_is_no_part_of_the_run_that_came_first() -> None:
    seen: list[object] = []
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    kept, _failures = resources()

    def factory() -> None:
        seen.append(variable.get(None))

    variable.set(1)
    enter_run(RUN)
    await attempt(kept, asks(x=Depends(factory, scope="scheduler")))
    await kept.close()
    assert seen == [None]


async def test_a_task_with_nothing_around_it_has_nothing_around_it() -> None:
    surroundings = Surroundings()
    kept, _failures = resources(surroundings)
    surroundings.name("pool", plain)

    async def func(run: RunContext) -> None: ...

    assert kept.around(Task(func, id="task")) is None
    with pytest.raises(ConfigError, match=r"task 'task': parameter 'x': no resource is named 'cache'"):
        kept.around(Task(asks(x=Depends("cache")), id="task"))


# --- whatever raises where


class Broken(Exception):
    """Raised on purpose."""


@dataclass
class Plan:
    """What raises in an attempt: the parts by number, outermost first."""

    before: list[bool]
    after: list[bool]
    opens: list[bool]
    closes: list[bool]
    lasting: list[bool]
    function: bool
    swallows: bool


def plans(layers: int, factories: int) -> st.SearchStrategy[Plan]:
    def some(count: int) -> st.SearchStrategy[list[bool]]:
        return st.lists(st.sampled_from([False, False, False, True]), min_size=count, max_size=count)

    return st.builds(
        Plan, some(layers), some(layers), some(factories), some(factories), some(factories), st.booleans(),
        st.booleans(),
    )  # fmt: skip


class Stage:
    """Lives through a plan, and writes down what was opened and closed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.opened: list[int] = []
        self.closed: list[int] = []
        self.surroundings = Surroundings()
        for number in range(len(plan.before)):
            self.surroundings.wrap(self.layer(number))
        self.factories = [self.factory(number) for number in range(len(plan.opens))]

    def layer(self, number: int) -> Any:
        async def middleware(_run: Run[Any], call_next: Callable[[], Awaitable[Any]]) -> Any:
            if self.plan.before[number]:
                raise Broken(f"before {number}")
            result = await call_next()
            if self.plan.after[number]:
                raise Broken(f"after {number}")
            return result

        return middleware

    def factory(self, number: int) -> Callable[..., Any]:
        stage = self

        class Resource:
            async def __aenter__(self) -> int:
                await asyncio.sleep(0)
                if stage.plan.opens[number]:
                    raise Broken(f"open {number}")
                stage.opened.append(number)
                return number

            async def __aexit__(self, *_details: object) -> bool:
                stage.closed.append(number)
                await asyncio.sleep(0)
                if stage.plan.closes[number]:
                    raise Broken(f"close {number}")
                return stage.plan.swallows

        return Resource

    def marks(self) -> dict[str, Depends]:
        scopes: Mapping[bool, Any] = {True: "scheduler", False: "run"}
        lasting = self.plan.lasting
        return {f"p{n}": Depends(one, scope=scopes[lasting[n]]) for n, one in enumerate(self.factories)}

    async def function(self, **values: int) -> list[int]:
        await asyncio.sleep(0)
        if self.plan.function:
            raise Broken("function")
        return list(values.values())

    def expected(self) -> object:
        """What the attempt gives, or the text of what it raises."""
        plan = self.plan
        for number, raises in enumerate(plan.before):
            if raises:
                return f"before {number}"
        for number, raises in enumerate(plan.opens):
            if raises:
                return f"open {number}"
        if plan.function:
            return "function"
        for number, raises in reversed(list(enumerate(plan.after))):
            if raises:
                return f"after {number}"
        return list(range(len(plan.opens)))


@given(st.integers(0, 3).flatmap(lambda layers: st.integers(1, 4).flatmap(lambda n: plans(layers, n))))
def test_every_resource_is_closed_once_in_reverse_and_the_outcome_is_the_right_one(plan: Plan) -> None:
    asyncio.run(live_through(plan))


async def live_through(plan: Plan) -> None:
    stage = Stage(plan)
    kept, failures = resources(stage.surroundings)

    async def func(**values: int) -> list[int]:
        return await stage.function(**values)

    try:
        outcome: object = await attempt(kept, with_parameters(func, **stage.marks()))
    except Broken as error:
        outcome = str(error)
    assert outcome == stage.expected()
    own = [number for number in stage.opened if not plan.lasting[number]]
    lasting = [number for number in stage.opened if plan.lasting[number]]
    assert stage.closed == own[::-1]
    await kept.close()
    assert stage.closed == [*own[::-1], *lasting[::-1]]
    told = [(str(failure.error), failure.run) for failure in failures]
    runs = {True: None, False: RUN}
    assert told == [(f"close {n}", runs[plan.lasting[n]]) for n in stage.closed if plan.closes[n]]


@pytest.mark.parametrize("lasting", [list(kinds) for kinds in product([False, True], repeat=3)])
@pytest.mark.parametrize("closes", [[False] * 3, [True] * 3])
def test_whenever_it_is_cancelled_all_is_closed_once(lasting: list[bool], closes: list[bool]) -> None:
    plan = Plan([False], [False], [False] * 3, closes, lasting, False, True)

    async def cancelled_at(step: int) -> bool:
        stage = Stage(plan)
        kept, _failures = resources(stage.surroundings)

        async def func(**values: int) -> list[int]:
            return await stage.function(**values)

        running = asyncio.ensure_future(attempt(kept, with_parameters(func, **stage.marks())))
        for _ in range(step):
            await asyncio.sleep(0)
        was_done = running.done()
        running.cancel()
        (outcome,) = await asyncio.gather(running, return_exceptions=True)
        assert was_done or isinstance(outcome, asyncio.CancelledError)
        # What lasts may have been opened by its own task after the run had gone.
        await kept.close()
        own = [number for number in stage.opened if not lasting[number]]
        assert [number for number in stage.closed if not lasting[number]] == own[::-1]
        assert sorted(stage.closed) == sorted(stage.opened)
        return not was_done

    async def live() -> None:
        step = 0
        while await cancelled_at(step):
            step += 1
        assert step > len(lasting)

    asyncio.run(live())

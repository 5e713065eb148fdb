"""The decorators: what they declare, and where a mistake is found."""

import functools
from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

import asyncsched
from asyncsched.errors import ConfigError, DuplicateTask, DurationError, TriggerError
from asyncsched.registry import Registry, default_registry
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task
from asyncsched.triggers import AnyOf, Cron, Daily, Every, Never, Once, Trigger

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
Decorate = Callable[[Registry], Callable[[Callable[[], None]], Task[[], None]]]


@pytest.mark.parametrize(
    ("decorate", "trigger"),
    [
        (lambda to: to.every("5s"), Every("5s")),
        (lambda to: to.every(timedelta(hours=1)), Every("1h")),
        (lambda to: to.every(minutes=5), Every("5m")),
        (
            lambda to: to.every(weeks=1, days=1, hours=1, minutes=1, seconds=1.5, milliseconds=1),
            Every("1w1d1h1m1s501ms"),
        ),
        (lambda to: to.every("5s", start=MOMENT), Every("5s", MOMENT)),
        (lambda to: to.at("14:30"), Daily("14:30")),
        (lambda to: to.at("14:30:15", time(6), days="mon-fri"), Daily(["14:30:15", "06:00"], days="mon-fri")),
        (lambda to: to.cron("*/5 * * * *"), Cron("*/5 * * * *")),
        (lambda to: to.when("every weekday at 09:00"), Daily("09:00", days="mon-fri")),
        (lambda to: to.when(Once(MOMENT)), Once(MOMENT)),
        (lambda to: to.when(timedelta(seconds=5)), Every("5s")),
        (lambda to: to.when([Daily("09:00"), Once(MOMENT)]), AnyOf(Daily("09:00"), Once(MOMENT))),
        (lambda to: to.when([]), Never()),
        (lambda to: to.task(), None),
        (lambda to: to.task, None),
    ],
)
def test_a_decorator_declares_the_function_with_its_trigger(decorate: Decorate, trigger: Trigger | None) -> None:
    registry, calls = Registry(), []

    @decorate(registry)
    def func() -> None:
        calls.append(1)

    assert isinstance(func, Task)
    assert func.trigger == trigger
    assert list(registry) == [func]
    func()
    assert calls == [1]


@pytest.mark.parametrize(
    "decorate",
    [
        lambda to, **options: to.every("5s", **options),
        lambda to, **options: to.at("14:30", **options),
        lambda to, **options: to.cron("* * * * *", **options),
        lambda to, **options: to.when("daily at 09:00", **options),
        lambda to, **options: to.task(**options),
    ],
)
def test_every_decorator_takes_the_options_of_a_task(decorate: Callable[..., Any]) -> None:
    registry = Registry()

    @decorate(registry, id="mine", tz="Asia/Seoul", args=[1], retry=2, tags=["x"])
    async def func(number: int) -> None: ...

    assert (func.id, func.tz, func.args, func.tags) == ("mine", "Asia/Seoul", (1,), {"x"})
    assert func.policy.retry.attempts == 3
    assert registry["mine"] is func


def test_the_decorators_of_the_module_are_those_of_the_default_registry() -> None:
    for name in ("every", "at", "cron", "when", "task"):
        assert getattr(asyncsched, name) == getattr(default_registry, name)


def test_a_scheduler_has_the_decorators_too() -> None:
    scheduler = Scheduler(registry=Registry(), tz="UTC")

    @scheduler.every("5s")
    def func() -> None: ...

    assert scheduler.served() == [func]


def test_one_function_may_be_declared_twice_by_two_ids() -> None:
    registry = Registry()

    @registry.every("5s", id="often")
    @registry.at("09:00", id="daily")
    def func() -> None: ...

    assert [(task.id, task.trigger) for task in registry] == [("daily", Daily("09:00")), ("often", Every("5s"))]


@pytest.mark.parametrize(
    ("decorate", "error", "spelled"),
    [
        (lambda to: to.every("soon"), DurationError, r'@every\("soon"\): .*is not a duration'),
        (lambda to: to.every(), ConfigError, r"@every\(\): an interval is missing"),
        (lambda to: to.every(seconds=0), ConfigError, r"@every\(\): an interval is missing"),
        (lambda to: to.every("5s", minutes=1), ConfigError, r'@every\("5s", minutes=1\): .*one or the other'),
        (lambda to: to.every(seconds="5"), ConfigError, r"@every\(seconds='5'\): .*a number"),
        (lambda to: to.every(hours=-1), TriggerError, r"@every\(hours=-1\): .*more than zero"),
        (lambda to: to.every("5s", start="noon"), TriggerError, "start='noon': give a datetime"),
        (lambda to: to.at("25:00"), TriggerError, r'@at\("25:00"\): '),
        (lambda to: to.at("09:00", days="moonday"), TriggerError, "moonday"),
        (lambda to: to.cron("61 * * * *"), TriggerError, r'@cron\("61 \* \* \* \*"\): '),
        (lambda to: to.when("now and then"), TriggerError, r'@when\("now and then"\): '),
        (lambda to: to.when(5), TriggerError, r"@when\(5\): "),
        (lambda to: to.task(timout="5s"), ConfigError, "@task: unknown option 'timout': did you mean 'timeout'"),
        (lambda to: to.every("5s", cron="* * * * *"), ConfigError, "trigger= and cron=|cron= and trigger="),
    ],
)
def test_a_mistake_is_told_with_the_decorator_and_the_place_of_the_function(
    decorate: Decorate, error: type[ConfigError], spelled: str
) -> None:
    registry = Registry()

    def func() -> None: ...

    with pytest.raises(error, match=spelled) as caught:
        decorate(registry)(func)
    assert type(caught.value) is error
    assert str(caught.value).endswith(f", test_decorators.py:{func.__code__.co_firstlineno}")
    assert len(registry) == 0


@pytest.mark.parametrize("name", ["every", "at", "cron", "when"])
def test_a_decorator_without_brackets_is_told_as_such(name: str) -> None:
    registry = Registry()

    def func() -> None: ...

    place = f"test_decorators.py:{func.__code__.co_firstlineno}"
    with pytest.raises(ConfigError, match=rf"^@{name}: say when in brackets, as in @{name}\(.*\), {place}$"):
        getattr(registry, name)(func)
    assert len(registry) == 0


def test_a_mistake_with_a_function_that_nobody_can_place_is_told_without_one() -> None:
    with pytest.raises(ConfigError, match=r"give the task an id=$"):
        Registry().every("5s")(functools.partial(print))


def test_a_long_decorator_is_shown_in_part() -> None:
    with pytest.raises(ConfigError) as caught:
        Registry().cron("* " * 500)(lambda: None)
    assert str(caught.value).partition(":")[0].endswith("...)")
    assert len(str(caught.value)) < 500


def test_a_second_task_with_one_id_is_told_with_both_places() -> None:
    registry = Registry()

    def func() -> None: ...

    def other() -> None: ...

    registry.every("5s", id="t")(func)
    first, second = (f"test_decorators.py:{one.__code__.co_firstlineno}" for one in (func, other))
    with pytest.raises(DuplicateTask, match=f"two tasks have the id 't', the other stands at {first}.*, {second}$"):
        registry.every("5s", id="t")(other)

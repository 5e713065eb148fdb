"""A task: what it takes, what it is called, and that it stays a function."""

import asyncio
import functools
import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, time, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from asyncsched.errors import ArgumentsError, ConfigError, DurationError, MisuseError, TimeZoneError, TriggerError
from asyncsched.naming import place_of
from asyncsched.options import interval
from asyncsched.policy import DEFAULT_POLICY
from asyncsched.retry import Retry
from asyncsched.run import Run
from asyncsched.task import Task
from asyncsched.triggers import Cron, Daily, Every, Once, Trigger

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


def add(a: int = 1, b: int = 2) -> int:
    """The sum."""
    return a + b


async def slow_add(a: int = 1, b: int = 2) -> int:
    return a + b


# --- when it fires


@pytest.mark.parametrize(
    ("options", "trigger"),
    [
        ({}, None),
        ({"every": "5m"}, Every("5m")),
        ({"every": timedelta(minutes=5)}, Every("5m")),
        ({"every": {"minutes": 4, "seconds": 60}}, Every("5m")),
        ({"every": {"hours": 0.5}}, Every("30m")),
        ({"at": "14:30"}, Daily("14:30")),
        ({"at": time(14, 30)}, Daily("14:30")),
        ({"at": ["06:00", "18:00"]}, Daily(["06:00", "18:00"])),
        ({"cron": "0 4 * * mon-fri"}, Cron("0 4 * * mon-fri")),
        ({"run_at": MOMENT}, Once(MOMENT)),
        ({"trigger": Every("5m")}, Every("5m")),
        ({"trigger": "every 5 minutes"}, Every("5m")),
    ],
)
def test_its_trigger_is_what_it_was_given(options: dict[str, Any], trigger: Trigger | None) -> None:
    assert Task(add, **options).trigger == trigger
    assert Task(func=add, **options).trigger == trigger


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"every": 5}, ConfigError, "every=5: give a duration such as '5m'"),
        ({"every": "5"}, DurationError, "'5' is not a duration"),
        ({"every": "0s"}, TriggerError, "more than zero"),
        ({"every": {"seconds": 0}}, TriggerError, "more than zero"),
        ({"every": {}}, ConfigError, "an interval is missing"),
        ({"every": {"moons": 1}}, ConfigError, "unknown part 'moons' of an interval: weeks, days"),
        ({"every": {"seconds": "5"}}, ConfigError, "seconds='5' of an interval: a number"),
        ({"every": {"seconds": True}}, ConfigError, "seconds=True of an interval: a number"),
        ({"every": {"seconds": float("nan")}}, ConfigError, "interval of"),
        ({"every": {"weeks": 1e12}}, ConfigError, "interval of"),
        ({"every": {"seconds": -1}}, TriggerError, "more than zero"),
        ({"at": "25:00"}, TriggerError, "25:00"),
        ({"at": 14}, ConfigError, "14"),
        ({"at": []}, TriggerError, "at="),
        ({"cron": "* * * *"}, TriggerError, "4 fields"),
        ({"cron": ["* * * * *"]}, ConfigError, "cron=.*give a cron line"),
        ({"run_at": "2026-01-01"}, ConfigError, "run_at='2026-01-01': give a datetime"),
        ({"trigger": "now and then"}, TriggerError, "now and then"),
        ({"trigger": 5}, ConfigError, "5"),
        ({"every": "5s", "cron": "* * * * *"}, ConfigError, "every= and cron=: give one of them"),
        ({"at": "14:30", "trigger": "daily at 09:00"}, ConfigError, "at= and trigger=: give one of them"),
    ],
)
def test_a_wrong_trigger_is_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        Task(add, **options)
    assert isinstance(caught.value, ConfigError)


def test_an_interval_is_given_whole_or_in_parts() -> None:
    assert interval("5s", {}) == "5s"
    assert interval(None, {"seconds": 5, "minutes": 0}) == timedelta(seconds=5)
    with pytest.raises(ConfigError, match="an interval of '5s' and minutes: give one or the other"):
        interval("5s", {"minutes": 1})
    with pytest.raises(ConfigError, match="an interval is missing"):
        interval(None, {})


# --- the other options


def test_what_is_left_out_has_a_plain_default() -> None:
    task = Task(add)
    assert (task.args, task.kwargs, task.tags, task.metadata) == ((), {}, frozenset(), {})
    assert (task.tz, task.group, task.home, task.policy) == (None, None, None, DEFAULT_POLICY)
    assert task.executor == "thread"
    assert Task(slow_add).executor == "loop"


def test_every_option_is_kept() -> None:
    task = Task(
        add, group="sums", name="first", tz=ZoneInfo("Asia/Seoul"), args=[10], kwargs={"b": 20}, tags=["x", "y"],
        metadata={"owner": "me"}, executor="thread", retry=2, timeout="5s", overlap="allow", priority=7,
    )  # fmt: skip
    assert (task.id, task.group, task.tz) == ("sums.first", "sums", "Asia/Seoul")
    assert (task.args, task.kwargs, task.tags) == ((10,), {"b": 20}, {"x", "y"})
    assert task.metadata == {"owner": "me"}
    assert (task.policy.retry, task.policy.timeout) == (Retry(attempts=3), timedelta(seconds=5))
    assert (task.policy.overlap, task.policy.priority) == ("allow", 7)


def test_a_plain_function_may_be_called_on_the_loop_and_a_coroutine_function_in_no_thread() -> None:
    assert Task(add, executor="loop").executor == "loop"
    assert Task(slow_add, executor="loop").executor == "loop"
    with pytest.raises(ConfigError, match="executor='thread' is for plain functions"):
        Task(slow_add, executor="thread")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tz": "Mars/Olympus"}, "unknown time zone"),
        ({"tz": timezone(timedelta(hours=1))}, "not a named time zone"),
        ({"tz": 5}, "not a named time zone"),
        ({"args": 5}, "args=5"),
        ({"args": "abc"}, "args='abc'"),
        ({"kwargs": [1]}, r"kwargs=\[1\]"),
        ({"kwargs": {1: 2}}, r"kwargs=\{1: 2\}"),
        ({"tags": "abc"}, "tags='abc'"),
        ({"tags": 5}, "tags=5"),
        ({"tags": ["a", 5]}, r"tags=\['a', 5\]: 5 is no text"),
        ({"metadata": 5}, "metadata=5"),
        ({"executor": "moon"}, "executor='moon'"),
        ({"executor": 5}, "executor=5"),
        ({"retry": -1}, "retry=-1"),
        ({"timeout": 5}, "timeout=5"),
        ({"overlap": "maybe"}, "overlap='maybe'"),
        ({"anchor": "completion"}, "anchor='completion'.*needs every="),
        ({"anchor": "completion", "cron": "* * * * *"}, "anchor='completion'.*needs every="),
        ({"timout": "5s"}, "unknown option 'timout': did you mean 'timeout'"),
        ({"xyzzy": 1}, "unknown option 'xyzzy': known are aliases, anchor, args, "),
        ({"id": "a", "group": "b"}, "id='a' and group= or name=: give one or the other"),
        ({"id": "a", "name": "b"}, "give one or the other"),
        ({"id": 5}, "id=5"),
        ({"name": 5}, "name=5"),
        ({"group": 5}, "group=5"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Task(add, **options)


def test_an_unknown_zone_is_an_error_of_zones() -> None:
    with pytest.raises(TimeZoneError):
        Task(add, tz="Mars/Olympus")


@pytest.mark.parametrize("func", [5, None, "add", [add]])
def test_what_cannot_be_called_is_no_task(func: Any) -> None:
    with pytest.raises(ConfigError, match="is not a function"):
        Task(func)


def test_a_task_that_fires_must_be_callable_with_what_it_has() -> None:
    def needs(a: int, b: int) -> None: ...

    Task(needs)
    Task(needs, every="5s", args=[1], kwargs={"b": 2})
    with pytest.raises(ConfigError, match=r"cannot be called when it fires: missing .* argument: 'b'.*give args="):
        Task(needs, every="5s", args=[1])
    with pytest.raises(ConfigError, match="too many positional"):
        Task(needs, args=[1, 2, 3])


# --- its id


class Machine:
    def method(self) -> str:
        return "made"

    async def slow(self) -> str:
        return "made"

    def __call__(self) -> str:
        return "called"


class SlowMachine:
    async def __call__(self) -> str:
        return "called"


def test_the_id_is_the_function_s_module_and_name() -> None:
    def inner() -> None: ...

    assert Task(add).id == f"{__name__}:add"
    assert Task(inner).id == f"{__name__}:test_the_id_is_the_function_s_module_and_name.<locals>.inner"
    assert Task(Machine().method).id == f"{__name__}:Machine.method"
    assert Task(Machine).id == f"{__name__}:Machine"


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"id": "my-task"}, "my-task"),
        ({"id": "заря"}, "заря"),
        ({"id": "a\u200bb"}, "a\u200bb"),
        ({"name": "short"}, "short"),
        ({"group": "kernel"}, "kernel.add"),
        ({"group": "kernel", "name": "delete_old_data"}, "kernel.delete_old_data"),
        ({"id": "x" * 200}, "x" * 200),
    ],
)
def test_the_id_is_what_was_given(options: dict[str, Any], found: str) -> None:
    assert Task(add, **options).id == found


@pytest.mark.parametrize("given", ["", " ", "a b", "a/b", "~a", "a\n", "a\x00", "a\x7f", "a\u3000b", "x" * 201])
def test_an_id_that_fits_no_url_or_file_name_is_refused(given: str) -> None:
    with pytest.raises(ConfigError, match="1 to 200 characters without white space, '/' or '~'"):
        Task(add, id=given)


@pytest.mark.parametrize("func", [lambda: None, functools.partial(add), Machine(), functools.partial(Machine().method)])
def test_a_function_without_a_name_needs_an_id(func: Callable[..., object]) -> None:
    with pytest.raises(ConfigError, match="has no name of its own: give the task an id="):
        Task(func)
    with pytest.raises(ConfigError, match="group='g' needs name="):
        Task(func, group="g")
    assert Task(func, id="mine").id == "mine"
    assert Task(func, group="g", name="mine").id == "g.mine"


APP = """
from asyncsched import every

@every("5s")
def beat() -> None: ...

if __name__ == "__main__":
    print(beat.id)
"""


def test_a_module_that_is_run_names_its_tasks_as_one_that_is_imported(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(APP)
    (package / "app.py").write_text(APP)

    def said(*arguments: str) -> str:
        ran = subprocess.run([sys.executable, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.strip()

    imported = said("-c", "import app, shop.app; print(app.beat.id)")
    assert imported == said("app.py") == said("-m", "app") == said(str(tmp_path / "app.py")) == "app:beat"
    assert said("-m", "shop.app") == said("-c", "import shop.app; print(shop.app.beat.id)") == "shop.app:beat"
    assert said("-m", "shop") == "shop:beat"
    assert said("-c", APP) == "__main__:beat"


# --- it stays a function


def test_calling_a_task_calls_its_function() -> None:
    task = Task(add, every="5s")
    assert task(3, b=4) == 7
    assert task() == 3
    assert (task.__name__, task.__doc__, task.__module__) == ("add", "The sum.", __name__)
    assert task.__wrapped__ is add
    assert inspect.signature(task) == inspect.signature(add)
    assert not inspect.iscoroutinefunction(task.__call__)


async def test_calling_a_task_of_a_coroutine_function_gives_its_coroutine() -> None:
    task = Task(slow_add, every="5s")
    assert await task(3, b=4) == 7
    assert isinstance(task, Task)
    assert inspect.iscoroutinefunction(task.__call__)


class Service:
    @Task
    def whole(self) -> str:
        return self.word

    @Task
    async def slow(self, more: str) -> str:
        return self.word + more

    word = "self"


async def test_a_decorated_method_is_a_method() -> None:
    service = Service()
    assert service.whole() == "self"
    assert await service.slow("!") == "self!"
    assert isinstance(Service.whole, Task)
    assert Service.whole.id == f"{__name__}:Service.whole"


@pytest.mark.parametrize(
    ("func", "result"),
    [
        (add, 3),
        (slow_add, 3),
        (Machine().method, "made"),
        (Machine().slow, "made"),
        (functools.partial(add, 5), 7),
        (functools.partial(slow_add, 5), 7),
        (Machine(), "called"),
        (SlowMachine(), "called"),
        ((lambda outer: lambda: outer)(9), 9),
    ],
)
async def test_every_kind_of_callable_makes_a_task(func: Callable[..., Any], result: object) -> None:
    task = Task(func, id="t", every="5s")
    found = task()
    assert (await found if task.executor == "loop" else found) == result
    assert asyncio.iscoroutine(found) == (task.executor == "loop")


def test_a_task_of_a_task_has_its_own_trigger_and_options() -> None:
    inner = Task(add, id="inner", at="09:00", priority=1, tags=["a"])
    outer = Task(inner, id="outer", every="5s")
    assert (outer.id, outer.trigger, outer.policy, outer.tags) == ("outer", Every("5s"), DEFAULT_POLICY, frozenset())
    assert (inner.id, inner.trigger) == ("inner", Daily("09:00"))
    assert outer(1, 1) == 2


def test_attributes_of_the_function_are_there_and_change_nothing() -> None:
    def func() -> None: ...

    func.colour, func.trigger, func.id = "red", "mine", "mine"  # type: ignore[attr-defined]
    func.tags, func.state, func.executor, func.__wrapped__ = "mine", "mine", "mine", add  # type: ignore[attr-defined]
    task = Task(func, every="5s")
    assert (task.colour, task.trigger) == ("red", Every("5s"))
    assert task.id.endswith("func")
    assert (task.tags, task.state, task.executor, task.__wrapped__) == (frozenset(), None, "thread", func)
    assert task() is None


@pytest.mark.parametrize("func", [add, slow_add, Machine().method, Machine, functools.wraps(add)(slow_add), Task(add)])
def test_a_task_looks_like_its_function(func: Callable[..., Any]) -> None:
    task = Task(func, id="t")
    for name in functools.WRAPPER_ASSIGNMENTS:
        if hasattr(func, name):
            assert getattr(task, name) == getattr(func, name)
    assert inspect.signature(task) == inspect.signature(func)
    assert inspect.getdoc(task) == inspect.getdoc(func)
    assert functools.wraps(task)(lambda: None).__name__ == func.__name__


def test_what_all_tasks_share_cannot_be_changed_through_one_of_them() -> None:
    task = Task(add)
    for shared in (task.kwargs, task.metadata):
        with pytest.raises(TypeError):
            shared["a"] = 1  # type: ignore[index]


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="counts bytes of CPython's objects")
def test_a_task_is_small_whatever_options_the_first_ones_had() -> None:
    program = (
        "import tracemalloc; from asyncsched import Task\n"
        "async def func(a=1): ...\n"
        "plain = [Task(func, id='t') for _ in range(100)]\n"
        "tracemalloc.start(); begun = tracemalloc.get_traced_memory()[0]\n"
        "kept = [Task(func, id='t', args=(1,), group=None) for _ in range(1000)]\n"
        "for task in kept: task.home = task.state = None\n"
        "print((tracemalloc.get_traced_memory()[0] - begun) / 1000)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(ran.stdout) < 400


def test_it_shows_its_id_and_when_it_fires() -> None:
    assert repr(Task(add, id="t")) == "<Task 't'>"
    assert repr(Task(add, id="t", every="5s")) == "<Task 't', every 5 seconds>"


@pytest.mark.parametrize(
    ("func", "found"), [(add, True), (Task(add), True), (Machine(), False), (functools.partial(add), False), (5, False)]
)
def test_where_a_function_is_written(func: object, found: bool) -> None:
    place = f"test_task.py:{add.__code__.co_firstlineno}"
    assert place_of(func) == (place if found else "")


# --- submitting


class Desk:
    """A scheduler, as far as a task must know it."""

    def __init__(self) -> None:
        self.submitted: list[tuple[str, tuple[Any, ...], Mapping[str, Any]]] = []
        self.fires = [MOMENT, MOMENT + timedelta(days=1)]

    async def submit(self, task: Any, calls: Any, how: Any) -> list[Run[Any]]:
        self.submitted += [(task.id, *call) for call in calls]
        return [Run(id="r", task=task.id, created_us=0, due_us=0) for _ in calls]

    def preview(self, task_id: str, count: int) -> list[datetime]:
        return self.fires[:count]


async def test_submitting_takes_checked_arguments_or_the_task_s_own() -> None:
    task, desk = Task(add, id="t", args=[10], kwargs={"b": 20}), Desk()
    task.home = desk
    run = await task.submit("3", b=4)  # type: ignore[arg-type]
    assert run.task == "t"
    await task.submit()
    await task.submit(1)
    assert desk.submitted == [("t", (3, 4), {}), ("t", (10, 20), {}), ("t", (1,), {})]


async def test_submitting_wrong_arguments_makes_no_run() -> None:
    task, desk = Task(add, id="t"), Desk()
    task.home = desk
    with pytest.raises(ArgumentsError, match="argument a"):
        await task.submit("x")  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError, match="'c'"):
        await task.submit(c=1)  # type: ignore[call-arg]
    assert desk.submitted == []


async def test_without_a_running_scheduler_there_is_nobody_to_submit_to() -> None:
    task = Task(add, id="t", every="5s")
    with pytest.raises(MisuseError, match="no scheduler is running task 't': enter its scheduler first"):
        await task.submit()
    with pytest.raises(MisuseError, match="enter its scheduler"):
        task.next_fires(1)
    assert task.next_fire is None


def test_the_coming_fires_are_those_that_the_scheduler_sees() -> None:
    task, desk = Task(add, id="t", every="5s"), Desk()
    task.home = desk
    assert task.next_fires(5) == desk.fires
    assert task.next_fire == MOMENT
    desk.fires = []
    assert task.next_fire is None

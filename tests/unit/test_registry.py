"""What was declared."""

import functools

import pytest

from asyncsched.errors import ConfigError, DuplicateTask
from asyncsched.registry import Registry, default_registry
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task


def func() -> None: ...


def a_task(name: str) -> Task[[], None]:
    return Task(func, id=name)


def test_tasks_are_kept_by_id_in_the_order_of_their_declaration() -> None:
    registry, tasks = Registry(), [a_task(name) for name in "cab"]
    for task in tasks:
        assert registry.register(task) is task
    assert list(registry) == tasks
    assert len(registry) == 3
    assert registry["a"] is tasks[1]
    assert "b" in registry
    assert "z" not in registry
    with pytest.raises(KeyError):
        registry["z"]


def test_two_tasks_with_one_id_are_refused_and_the_first_stays() -> None:
    registry = Registry()
    first = registry.register(a_task("t"))
    place = f"test_registry.py:{func.__code__.co_firstlineno}"
    with pytest.raises(DuplicateTask, match=f"two tasks have the id 't', the other stands at {place}") as caught:
        registry.register(a_task("t"))
    assert isinstance(caught.value, ConfigError)
    with pytest.raises(DuplicateTask):
        registry.register(first)
    assert list(registry) == [first]


def test_one_that_is_written_nowhere_is_shown_itself() -> None:
    registry = Registry()
    registry.register(Task(functools.partial(func), id="t"))
    with pytest.raises(DuplicateTask, match=r"stands at functools\.partial"):
        registry.register(a_task("t"))


def test_a_task_can_be_forgotten_and_declared_anew() -> None:
    registry = Registry()
    registry.register(a_task("t"))
    registry.forget("t")
    registry.forget("t")
    assert len(registry) == 0
    again = registry.register(a_task("t"))
    assert list(registry) == [again]


def test_a_registry_may_grow_while_it_is_walked() -> None:
    registry = Registry()
    registry.register(a_task("a"))
    for task in registry:
        registry.register(a_task(task.id + "a"))
    assert [task.id for task in registry] == ["a", "aa"]


def test_registries_keep_apart() -> None:
    registry = Registry()
    registry.register(a_task("kept"))
    assert "kept" not in default_registry
    assert "kept" not in Registry()
    assert Scheduler(registry=registry, tz="UTC").served() == list(registry)
    assert Scheduler(tz="UTC").served() == list(default_registry)

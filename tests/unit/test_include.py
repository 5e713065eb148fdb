"""Registries within registries."""

from typing import Any

import pytest

from asyncsched.errors import ConfigError, DuplicateTask
from asyncsched.registry import Registry
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task


def func() -> None: ...


def registry_of(*names: str) -> Registry:
    registry = Registry()
    for name in names:
        registry.register(Task(func, id=name))
    return registry


def test_tasks_come_through_all_levels_with_the_tags_of_each() -> None:
    inner, middle, outer = registry_of("a"), registry_of("b"), registry_of("c")
    middle.include(inner, tags=["inner"])
    outer.include(middle, tags=["middle"])
    late = inner.register(Task(func, id="late", tags=["own"]))
    assert {task.id: set(task.tags) for task in outer} == {
        "a": {"inner", "middle"},
        "b": {"middle"},
        "c": set(),
        "late": {"own", "inner", "middle"},
    }
    assert outer["late"] is late
    assert outer.surroundings_of("late") == (outer._surroundings, middle._surroundings, inner._surroundings)
    assert outer.surroundings_of("c") == (outer._surroundings,)
    outer.forget("late")
    assert "late" not in outer
    assert outer.surroundings_of("late") == (outer._surroundings,)


def test_one_id_is_refused_wherever_it_is_and_nothing_is_taken_up() -> None:
    inner, outer = registry_of("b"), registry_of("a")
    outer.include(inner)
    for declare in (
        lambda: outer.include(registry_of("x", "a")),
        lambda: outer.include(inner),
        lambda: inner.register(Task(func, id="a")),
        lambda: outer.register(Task(func, id="b")),
    ):
        with pytest.raises(DuplicateTask, match=r"two tasks have the id '[ab]'"):
            declare()
    assert [task.id for task in outer] == ["a", "b"]
    assert [task.id for task in inner] == ["b"]


def test_circles_are_refused() -> None:
    first, second, third = Registry(), Registry(), Registry()
    first.include(second)
    second.include(third)
    for outer, inner in ((first, first), (third, first), (second, first), (third, second)):
        with pytest.raises(ConfigError, match="is included in the other one already, or is the same"):
            outer.include(inner)


@pytest.mark.parametrize(
    ("registry", "tags", "message"),
    [
        (Registry(), "mail", "tags='mail': give a list of texts"),
        (Registry(), [1], r"tags=\[1\]: give a list of texts"),
        (Scheduler(registry=Registry()), [], "give a Registry"),
    ],
)
def test_what_cannot_be_included_is_refused(registry: Any, tags: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Registry().include(registry, tags=tags)

"""What a task needs, as it is declared; and with which results its function is called."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from asyncsched import Task, result_of
from asyncsched.edges import Edges
from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.links import NO_LINKS, Links, links_of, with_edges
from asyncsched.retry import NO_RETRY
from asyncsched.run import Run, Succeeded, settle


def up(name: str = "app:up") -> Task[..., Any]:
    return Task(lambda: None, id=name)


def plain(a: int, b: int = 2) -> None: ...


def ended(task: str, result: Any) -> Run[Any]:
    run: Run[Any] = Run(f"run of {task}", task, 0, 0)
    run.start("n", 0)
    run.apply(settle(Succeeded(result), 1, NO_RETRY, 1))
    return run


def test_a_task_without_links_has_those_of_all() -> None:
    assert links_of(plain, {}, own_trigger=False) is NO_LINKS
    assert links_of(plain, {"tags": ["x"]}, own_trigger=True) is NO_LINKS
    assert links_of(len, {}, own_trigger=True) is NO_LINKS
    assert "links" not in vars(Task(plain, id="t"))


def test_upstreams_are_named_once_wherever_they_are_named() -> None:
    source, other = up(), up("other")

    def low(x: int = result_of(source), dep_other: int = 0) -> None: ...

    found = links_of(low, {"depends_on": [other, "app:up"]}, own_trigger=False)
    assert found == Links(("other", "app:up"), asks={"dep_other": "other", "x": "app:up"})
    assert links_of(low, {}, own_trigger=False) == Links(("app:up",), asks={"x": "app:up"})


@pytest.mark.parametrize("given", ["app:up", ["app:up"], up(), (up(),), {"app:up"}])
def test_one_upstream_may_stand_alone(given: Any) -> None:
    assert links_of(plain, {"depends_on": given}, own_trigger=False).needs == ("app:up",)


def test_marks_are_found_in_methods_partials_and_what_is_wrapped() -> None:
    source = up()

    class Desk:
        def low(self, x: int = result_of(source)) -> None: ...

        def __call__(self, *, x: int = result_of(source)) -> None: ...

    def low(y: int, x: int = result_of(source)) -> None: ...

    @functools.wraps(low)
    def wrapper(*args: Any, **kwargs: Any) -> None: ...

    for function in (Desk().low, Desk(), low, wrapper, functools.partial(low, 5)):
        assert links_of(function, {}, own_trigger=False).asks == {"x": "app:up"}


def test_a_run_is_no_default_value() -> None:
    run = ended("t", 1)

    def low(x: int = result_of(run)) -> None: ...

    with pytest.raises(ConfigError, match="parameter 'x' has the default result_of"):
        links_of(low, {}, own_trigger=False)
    with pytest.raises(ConfigError, match="a run is an upstream of runs, not of tasks"):
        links_of(plain, {"depends_on": [run]}, own_trigger=False)


def called(task: Task[..., Any], edges: Edges, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], Any]:
    run: Run[Any] = Run("r", task.id, 0, 0, args=args, kwargs=kwargs)
    run.edges = edges
    return with_edges(run, task.links, task.signature)


def test_asked_parameters_get_results_unless_they_were_given() -> None:
    source = up()

    def low(dep_other: str, y: int, x: int = result_of(source), dep_third: str = "own") -> None: ...

    task = Task(low, id="low", depends_on=[up("other"), up("third")])
    edges = Edges("f", upstreams=(ended("app:up", 1), ended("other", "two")))
    assert called(task, edges, 5) == ((5,), {"x": 1, "dep_other": "two", "dep_third": "own"})
    assert called(task, edges, 5, 6) == ((5, 6), {"dep_other": "two", "dep_third": "own"})
    args, kwargs = called(task, edges, 5, dep_other="given")
    assert (args, kwargs["dep_other"]) == ((5,), "given")
    assert task.signature.with_context(Run("r", "low", 0, 0), args, kwargs) == (("given", 5, 1, "own"), {})
    assert called(task, Edges("f"), 5)[1] == {"x": None, "dep_other": None, "dep_third": "own"}


def test_runs_among_the_arguments_are_replaced_and_then_checked() -> None:
    def low(numbers: list[int]) -> None: ...

    task = Task(low, id="low")
    number, text = ended("n", "7"), ended("t", "seven")
    assert called(task, Edges("f", upstreams=(number,), kind="hand"), [1, number]) == (([1, 7],), {})
    with pytest.raises(ArgumentsError, match=r"argument numbers\[1\].*got 'seven'"):
        called(task, Edges("f", upstreams=(text,), kind="hand"), [1, text])

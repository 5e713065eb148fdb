"""Results as arguments: the parameters that ask for them, and the runs among arguments."""

import copy
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.errors import ArgumentsError, ConfigError, RunError, RunSkipped, UpstreamFailed
from asyncsched.results import (
    Found,
    ResultOf,
    dep_name,
    dep_parameters,
    result_of,
    runs_among,
    with_results,
)
from asyncsched.run import Run
from asyncsched.task import Task


async def extract() -> list[int]:
    return [1]


TASK = Task(extract, id="etl:extract")


def a_run(name: str = "r1") -> Run[Any]:
    return Run(name, "etl:extract", 0, 0)


# --- the names


@pytest.mark.parametrize(
    ("task_id", "name"),
    [
        ("app.etl:load", "dep_load"),
        ("kernel.delete_old_data", "dep_delete_old_data"),
        ("app:Service.poll", "dep_poll"),
        ("app:make.<locals>.load", "dep_load"),
        ("load", "dep_load"),
        ("two-words+2", "dep_two_words_2"),
        ("5s", "dep_5s"),
        ("<lambda>", "dep__lambda_"),
        ("größe", "dep_größe"),
        ("추출", "dep_추출"),
        ("\ufb01le\u00b2", "dep_file2"),
        ("a:", "dep_"),
    ],
)
def test_the_parameter_is_named_after_the_last_part_of_the_id(task_id: str, name: str) -> None:
    assert dep_name(task_id) == name


@given(st.text())
def test_every_id_gives_a_name_that_a_parameter_can_have(task_id: str) -> None:
    name = dep_name(task_id)
    written: dict[str, Any] = {}
    exec(f"def function({name}): ...", written)
    assert written["function"].__code__.co_varnames == (name,)


def test_only_what_the_function_asks_for_is_given() -> None:
    upstreams = ["app:load", "app:extract", "app:other"]
    assert dep_parameters(["rows", "dep_load", "dep_nobody", "dep_extract"], upstreams) == {
        "dep_load": "app:load",
        "dep_extract": "app:extract",
    }
    assert dep_parameters(["rows"], upstreams) == {}
    assert dep_parameters(["dep_load"], []) == {}


def test_two_upstreams_with_one_name_are_an_error_only_if_it_is_asked_for() -> None:
    upstreams = ["a:load", "b:load", "a:extract"]
    assert dep_parameters(["dep_extract"], upstreams) == {"dep_extract": "a:extract"}
    with pytest.raises(ConfigError, match=r"'dep_load' asks for the result of 'a:load' or of 'b:load'.*result_of"):
        dep_parameters(["dep_extract", "dep_load"], upstreams)


# --- the mark


def test_the_mark_holds_what_it_was_made_of() -> None:
    run = a_run()
    assert result_of(TASK) == ResultOf(TASK)
    assert result_of(run) == ResultOf(run) != ResultOf(a_run())
    assert repr(result_of(TASK)) == "result_of('etl:extract')"
    assert repr(result_of(run)) == "result_of(run 'r1')"


WRONG = {"id": "etl:extract", "function": extract, "coroutine": extract(), "none": None, "number": 5, "list": [TASK]}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_what_is_neither_a_task_nor_a_run_has_no_result(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="give a task, that is a decorated function, or a run"):
        result_of(wrong)
    if hasattr(wrong, "close"):
        wrong.close()


def test_a_mark_as_a_default_is_not_validated() -> None:
    rows_of_task: list[int] = result_of(TASK)

    def transform(rows: list[int] = rows_of_task) -> int:
        return sum(rows)

    assert Task(transform, every="1m").signature.validate((), {}) == ((), {})


# --- the runs among arguments


class Pair(NamedTuple):
    left: Any
    right: Any


class Row(list[Any]):
    note = ""


def test_runs_are_found_wherever_values_stand_and_told_with_their_way() -> None:
    runs = [a_run(str(number)) for number in range(7)]
    args = (runs[0], [1, (2, runs[1])], {"x": {5: runs[2]}, "y": "text"}, {runs[3]})
    kwargs = {"named": result_of(runs[4]), "pair": Pair(1, runs[5]), "frozen": frozenset([runs[6]])}
    found = runs_among(args, kwargs)
    assert {each.where: each.run for each in found} == {
        "argument 0": runs[0],
        "argument 1[1][1]": runs[1],
        "argument 2['x'][5]": runs[2],
        "argument 3[0]": runs[3],
        "argument named": runs[4],
        "argument pair[1]": runs[5],
        "argument frozen[0]": runs[6],
    }


def test_a_run_in_several_places_is_found_in_each() -> None:
    run = a_run()
    assert runs_among(([run] * 3,), {"n": run}) == [
        Found(("n",), run),
        *(Found((0, place), run) for place in range(3)),
    ]


def test_plain_arguments_hold_no_runs_and_are_given_back_as_they_are() -> None:
    args, kwargs = ([1, {"a": (2,)}], "text", b"bytes", range(3)), {"n": None, "task": TASK}
    assert runs_among(args, kwargs) == []
    same_args, same_kwargs = with_results(args, kwargs, {})
    assert same_args is args
    assert same_kwargs is kwargs


def test_the_result_of_a_task_is_no_argument() -> None:
    with pytest.raises(ArgumentsError, match=r"argument 0\['x'\].*result_of\(await task.submit.*'etl:extract'"):
        runs_among(({"x": result_of(TASK)},), {})


def test_results_take_the_places_of_their_runs_in_containers_of_the_same_kind() -> None:
    one, two = a_run("1"), a_run("2")
    row = Row([one])
    row.note = "kept"
    untouched = [1]
    args = ([one, two, untouched], (one, 5), Pair(two, untouched), {one, 7}, frozenset([two]), row)
    kwargs = {
        "nested": {"a": [(result_of(one),)], "b": untouched},
        "ordered": OrderedDict(z=one, a=2),
        "default": defaultdict(int, x=two),
        "counter": Counter(x=one),
        "bare": result_of(two),
    }
    got, named = with_results(args, kwargs, {"1": 10, "2": 20})
    assert got == ([10, 20, [1]], (10, 5), Pair(20, [1]), {10, 7}, frozenset([20]), [10])
    assert [type(each) for each in got] == [type(each) for each in args]
    assert got[5].note == "kept"
    assert got[0][2] is got[2].right is untouched
    assert named == {
        "nested": {"a": [(10,)], "b": [1]},
        "ordered": OrderedDict(z=10, a=2),
        "default": {"x": 20},
        "counter": {"x": 10},
        "bare": 20,
    }
    assert list(named) == list(kwargs)
    assert list(named["ordered"]) == ["z", "a"]
    assert named["default"]["unknown"] == 0
    assert args == ([one, two, [1]], (one, 5), Pair(two, [1]), {one, 7}, frozenset([two]), [one])
    assert kwargs["nested"] == {"a": [(result_of(one),)], "b": [1]}
    assert kwargs["counter"]["x"] is one


def test_a_result_that_is_a_run_or_a_mark_itself_stays_what_it_is() -> None:
    one, other = a_run("1"), a_run("2")
    assert with_results(([one],), {}, {"1": [other]}) == (([[other]],), {})


def test_a_run_without_a_result_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError, match="r1"):
        with_results(([a_run()],), {}, {})


def test_a_set_cannot_hold_every_result() -> None:
    with pytest.raises(ArgumentsError, match=r"argument 0\[0\]: unhashable type: 'list'; .*go into a list"):
        with_results(([{a_run()}],), {}, {"r1": [1]})


def nested(value: Any, depth: int) -> Any:
    for _ in range(depth):
        value = [value]
    return value


def test_the_search_ends_after_sixteen_containers() -> None:
    run = a_run()
    assert [each.run for each in runs_among((nested(run, 16),), {})] == [run]
    assert runs_among((nested(run, 17),), {}) == []
    itself: list[Any] = [run]
    itself.append(itself)
    assert len(runs_among((itself,), {})) == 16
    assert runs_among((nested(1, 100_000),), {}) == []


def replaced(value: Any, results: Mapping[str, Any]) -> Any:
    """The reference: by recursion, everything anew."""
    match value:
        case Run():
            return results[value.id]
        case ResultOf():
            return results[value.upstream.id]
        case dict():
            return {key: replaced(item, results) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return type(value)(replaced(item, results) for item in value)
        case _:
            return value


RUNS = [a_run(str(number)) for number in range(5)]
RESULTS = {str(number): number * 100 for number in range(5)}
LEAVES = st.one_of(st.integers(0, 9), st.text(max_size=2), st.sampled_from(RUNS), st.sampled_from(RUNS).map(ResultOf))
VALUES = st.recursive(
    LEAVES | st.frozensets(LEAVES, max_size=3) | st.sets(LEAVES, max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=2) | st.integers(0, 3), inner, max_size=3),
    ),
    max_leaves=20,
)


@settings(max_examples=500, deadline=None)
@given(st.lists(VALUES, max_size=4).map(tuple), st.dictionaries(st.text("abc", min_size=1), VALUES, max_size=3))
def test_results_are_put_in_their_places_and_nowhere_else(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    before = copy.deepcopy((args, kwargs), {id(run): run for run in RUNS})
    got, named = with_results(args, kwargs, RESULTS)
    assert (got, named) == (replaced(args, RESULTS), replaced(kwargs, RESULTS))
    assert runs_among(got, named) == []
    assert (args, kwargs) == before
    for path, run in runs_among(args, kwargs):
        at, *steps = (args[path[0]] if isinstance(path[0], int) else kwargs[path[0]]), *path[1:]
        for step in steps:
            at = list(at)[step] if isinstance(at, set | frozenset) else at[step]
        assert at in (run, ResultOf(run))


# --- the error


def test_the_error_of_an_upstream_is_the_cause() -> None:
    first = UpstreamFailed("run 2 was skipped", run_id="2", upstreams=["1"], cause=ValueError("boom"))
    error = UpstreamFailed("run 3 was skipped", run_id="3", upstreams=["2"], cause=first)
    assert isinstance(error, RunError)
    assert isinstance(error, RunSkipped)
    assert (error.run_id, error.reason, error.upstreams) == ("3", "upstream_failed", ("2",))
    assert error.__cause__ is first
    assert str(first.__cause__) == "boom"
    assert UpstreamFailed("", run_id="2", upstreams=["1"]).__cause__ is None

"""Stored arguments and the function of today, through ``Values``: written by one function, read by another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.errors import ArgumentsError
from asyncsched.signature import Signature
from asyncsched.values import Values


def reread(
    before: Callable[..., Any], after: Callable[..., Any], *args: Any, upgrade: Any = None, **kwargs: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a call of ``before``, as they are read for ``after``."""
    today = Signature(after)
    today.upgrade = upgrade
    return Values(today).load_arguments(Values(Signature(before)).dump_arguments(args, kwargs), {})


def called(before: Callable[..., Any], after: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    args, kwargs = reread(before, after, *args, **kwargs)
    return after(*args, **kwargs)


def test_the_same_function_gets_what_was_given() -> None:
    def work(a: int, *rest: int, b: str = "x") -> Any: ...

    assert reread(work, work, 1, 2, 3, b="y") == ((1, 2, 3), {"b": "y"})
    assert reread(work, work, 1) == ((1,), {})


def test_parameters_may_change_their_places() -> None:
    assert called(lambda a, b: None, lambda b, a: (a, b), 1, 2) == (1, 2)
    assert called(lambda a, b: None, lambda new=0, b=0, a=0: (new, a, b), 1, 2) == (0, 1, 2)
    assert called(lambda a, b: None, lambda a, *, b: (a, b), 1, 2) == (1, 2)


def test_a_parameter_may_change_its_name_in_its_place() -> None:
    assert called(lambda a, b: None, lambda a, c: (a, c), 1, 2) == (1, 2)


@pytest.mark.parametrize(
    ("after", "args", "message"),
    [
        (lambda a: a, (1, 2), "no parameter 'b' any more"),
        (lambda b, c: b, (1, 2), "no parameter 'a' any more"),
        (lambda a, b, c: a, (1, 2), "missing a required argument: 'c'"),
    ],
)
def test_what_has_no_parameter_any_more_does_not_fit(after: Any, args: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        reread(lambda a, b: None, after, *args)


def test_values_are_checked_by_the_annotations_of_today_and_not_shown() -> None:
    def before(value: str) -> None: ...
    def after(value: int) -> None: ...

    assert reread(before, after, "42") == ((42,), {})
    with pytest.raises(ArgumentsError, match=r"argument value: .*integer") as caught:
        reread(before, after, "secret")
    assert "secret" not in str(caught.value)


def test_an_upgrade_is_asked_only_where_they_do_not_fit() -> None:
    def before(a: int, b: int) -> None: ...
    def after(total: int, *, of: str) -> None: ...

    asked: list[dict[str, Any]] = []

    def upgrade(given: dict[str, Any]) -> dict[str, Any]:
        asked.append(given)
        return {"total": given["a"] + given["b"], "of": "two"}

    assert reread(before, after, 1, b=2, upgrade=upgrade) == ((3,), {"of": "two"})
    assert reread(before, before, 1, 2, upgrade=upgrade) == ((1, 2), {})
    assert asked == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("upgrade", "message"),
    [
        (lambda given: given["gone"], "its upgrade= raised KeyError"),
        (lambda given: [1], "its upgrade= made a list, not a dict"),
        (lambda given: {"nobody": 1}, "no parameter 'nobody'"),
        (lambda given: {"total": "many"}, "argument total"),
        (lambda given: {}, "missing a required argument"),
    ],
)
def test_an_upgrade_that_does_not_help_says_why(upgrade: Any, message: str) -> None:
    def before(a: int) -> None: ...
    def after(*, total: int) -> None: ...

    with pytest.raises(ArgumentsError, match=message):
        reread(before, after, a=1, upgrade=upgrade)


def test_those_of_a_star_parameter_come_as_a_list_and_go_back_so() -> None:
    def before(first: int, *rest: int) -> None: ...
    def after(first: int, middle: int, *rest: int, last: int) -> None: ...

    def upgrade(given: dict[str, Any]) -> dict[str, Any]:
        assert given == {"first": 1, "rest": [2, 3, 4]}
        return {"first": 1, "middle": 0, "rest": given["rest"], "last": 9}

    assert reread(before, after, 1, 2, 3, 4, upgrade=upgrade) == ((1, 0, 2, 3, 4), {"last": 9})


def test_what_was_written_without_names_is_read_by_its_places() -> None:
    def work(a: int, b: int) -> None: ...

    assert Values(Signature(work)).load_arguments("[[1,2]]", {}) == ((1, 2), {})
    assert Values(Signature(work)).load_arguments('[[1],{"b":2}]', {}) == ((1,), {"b": 2})
    with pytest.raises(ArgumentsError):
        Values(Signature(work)).load_arguments("[[1,2,3]]", {})


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.integers(), min_size=4, max_size=4), st.integers(0, 4))
def test_whatever_the_order_of_today_each_parameter_gets_its_own(
    order: list[str], values: list[int], by_place: int
) -> None:
    def before(a: int, b: int, c: int, d: int) -> None: ...

    space: dict[str, Any] = {}
    exec(f"def after({', '.join(order)}): return dict(a=a, b=b, c=c, d=d)", space)
    names = "abcd"
    kwargs = dict(zip(names[by_place:], values[by_place:], strict=True))
    assert called(before, space["after"], *values[:by_place], **kwargs) == dict(zip(names, values, strict=True))

"""Arguments, results and errors as JSON: what comes back is what was given, or it is refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from asyncsched.again import dump_error, load_error
from asyncsched.errors import ArgumentsError, RunFailed, UpstreamFailed
from asyncsched.results import result_of
from asyncsched.run import Run
from asyncsched.signature import Signature
from asyncsched.values import VALUE_LIMIT, Unstored, Values


@dataclass
class Point:
    x: int
    y: float


class Mail(BaseModel):
    to: str
    at: datetime


class Color(Enum):
    RED = "red"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


def of(func: Callable[..., Any]) -> Values:
    return Values(Signature(func))


def back(values: Values, *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return values.load_arguments(values.dump_arguments(args, kwargs), {})


def test_no_arguments_are_nothing() -> None:
    assert Values(None).dump_arguments((), {}) is None
    assert Values(None).load_arguments(None, {}) == ((), {})


@given(JSON, JSON)
def test_plain_json_comes_back_as_it_was(first: Any, second: Any) -> None:
    def f(a, *, b): ...  # type: ignore[no-untyped-def]

    for values in (Values(None), of(f)):
        assert back(values, first, b=second) == ((first,), {"b": second})


@pytest.mark.parametrize(
    ("hint", "value"),
    [
        (datetime, datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
        (date, date(2026, 1, 2)),
        (timedelta, timedelta(days=1, microseconds=1)),
        (Decimal, Decimal("1.10")),
        (UUID, UUID(int=5)),
        (Path, Path("a/b")),
        (bytes, b"\x00\xff"),
        (float, float("inf")),
        (Point, Point(1, 2.5)),
        (list[Point], [Point(1, 2.0)]),
        (dict[int, str], {1: "a"}),
        (set[int], {1, 2}),
        (tuple[int, ...], (1, 2)),
        (Mail, Mail(to="a", at=datetime(2026, 1, 1, tzinfo=UTC))),
        (Color, Color.RED),
        (Point | None, None),
    ],
    ids=str,
)
def test_what_an_annotation_describes_comes_back_as_it_was(hint: Any, value: Any) -> None:
    def f(a, *more, b=None, **rest): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"a": hint, "more": hint, "b": hint, "rest": hint, "return": hint}
    values = of(f)
    assert back(values, value, value, b=value, c=value) == ((value, value), {"b": value, "c": value})
    assert values.load_result(values.dump_result(value)) == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), "of type datetime"),
        ({1: "a"}, "keys that are not texts"),
        ({"x": {1, 2}}, "of type set"),
        (object(), "of type object"),
        (lambda: None, "of type function"),
    ],
)
def test_what_would_come_back_as_something_else_is_refused_by_name(value: Any, says: str) -> None:
    def f(where, what): ...  # type: ignore[no-untyped-def]

    with pytest.raises(ArgumentsError, match=rf"argument what=.* cannot be stored: .*{says}.*annotate"):
        of(f).dump_arguments((1, value), {})
    with pytest.raises(ArgumentsError, match="argument what="):
        of(f).dump_arguments((1,), {"what": value})


def test_an_open_file_is_refused_by_name(tmp_path: Path) -> None:
    def f(lines: Any, other: int) -> None: ...

    with (tmp_path / "x").open("w") as file, pytest.raises(ArgumentsError, match="argument lines="):
        of(f).dump_arguments((file, 1), {})


def test_a_value_that_its_own_annotation_cannot_write_is_refused_by_name() -> None:
    class Own:
        pass

    def f(own): ...  # type: ignore[no-untyped-def]

    f.__annotations__ = {"own": Own}
    with pytest.raises(ArgumentsError, match="argument own="):
        of(f).dump_arguments((Own(),), {})


def test_more_than_so_much_is_refused() -> None:
    with pytest.raises(ArgumentsError, match=r"argument 0 takes 65,538 bytes, .* may take 65,536: store what is large"):
        Values(None).dump_arguments(("x" * VALUE_LIMIT,), {})
    with pytest.raises(ArgumentsError, match="argument 1 takes 65,540 bytes"):
        Values(None).dump_arguments((1, ["x" * VALUE_LIMIT]), {})
    with pytest.raises(ArgumentsError, match="argument b takes 65,538 bytes"):
        Values(None).dump_arguments(("x",), {"b": "é" * (VALUE_LIMIT // 2)})
    with pytest.raises(ArgumentsError, match=r"argument b takes 40,002 bytes, all together 70,0\d\d"):
        Values(None).dump_arguments(("x" * 30_000,), {"b": "x" * 40_000})
    assert Values(None, 200_000).dump_arguments(("x" * VALUE_LIMIT,), {})


def test_what_was_stored_under_a_greater_limit_is_read_up_to_a_bound() -> None:
    text = Values(None, 3_000).dump_arguments(("x" * 2_000,), {})
    assert Values(None, 200).load_arguments(text, {}) == (("x" * 2_000,), {})
    with pytest.raises(ArgumentsError, match="cannot be read: they take 2,0"):
        Values(None, 100).load_arguments(text, {})


def test_a_result_of_more_than_so_much_says_so_when_it_is_read() -> None:
    found = Values(None).load_result(Values(None).dump_result("x" * VALUE_LIMIT))
    assert found == Unstored("str", "it takes 65,538 bytes, and a result may take 65,536: store what is large "
                             "elsewhere, and hand over its name")  # fmt: skip


@pytest.mark.parametrize("value", ["\ud800", ["a", "\ud800"], {"\ud800": 1}])
def test_half_a_character_is_refused_as_an_argument_and_said_of_a_result(value: Any) -> None:
    with pytest.raises(ArgumentsError, match="argument 1 cannot be stored: it is no text"):
        Values(None).dump_arguments((1, value), {})
    text = Values(None).dump_result(value)
    assert text is not None
    assert isinstance(Values(None).load_result(text.encode().decode()), Unstored)


class Shy:
    def __repr__(self) -> str:
        raise OSError("not even its text")


def test_what_cannot_even_be_shown_is_refused_by_its_parameter() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    for value in (Shy(), deep):
        with pytest.raises(ArgumentsError, match=r"argument 0=<(Shy|list)> cannot be stored"):
            Values(None).dump_arguments((value,), {})


def test_what_stands_in_stored_arguments_is_not_told() -> None:
    def f(pin: int, at: datetime) -> None: ...

    for text in ('[[{"$object":"secret"}]]', '[[1,"secret"]]', "[secret", '[[1],{"at":{"$object":"secret"}}]'):
        with pytest.raises(ArgumentsError) as caught:
            of(f).load_arguments(text, {})
        assert "secret" not in str(caught.value)


def test_what_is_nested_too_deep_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(32):
        deep = [deep]
    assert back(Values(None), deep) == ((deep,), {})

    def f(rows: list[Any]) -> None: ...

    assert back(of(f), deep) == ((deep,), {})
    for values in (Values(None), of(f)):
        with pytest.raises(ArgumentsError, match="32 deep"):
            values.dump_arguments(([deep],), {})
        with pytest.raises(ArgumentsError, match="32 deep"):
            values.load_arguments("[[" + "[" * 100 + "]" * 100 + "]]", {})


def test_runs_among_arguments_come_back_as_runs() -> None:
    def f(rows: list[int], more: Any = None) -> None: ...

    run: Run[Any] = Run("r1", "t", 0, 0)
    values = of(f)
    text = values.dump_arguments((result_of(run),), {"more": {"a": [run], "b": {"$run": "no run"}}})
    args, kwargs = values.load_arguments(text, {"r1": run})
    assert args == (run,)
    assert kwargs == {"more": {"a": [run], "b": {"$run": "no run"}}}
    with pytest.raises(ArgumentsError, match="cannot be read"):
        values.load_arguments(text, {})


def test_an_object_that_looks_like_a_mark_is_none() -> None:
    for value in ({"$run": "x"}, {"$object": {"$run": "x"}}, {"$object": "inf"}, [{"$object": []}]):
        assert back(Values(None), value) == ((value,), {})


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", "[5]", "[[1],[2]]", "null", "[[{}],{}]"])
def test_stored_arguments_that_do_not_fit_are_an_error_of_one_kind(text: str) -> None:
    def f(a: datetime) -> None: ...

    with pytest.raises(ArgumentsError):
        of(f).load_arguments(text, {})


def test_a_result_that_cannot_be_stored_says_so_when_it_is_read() -> None:
    def f(): ...  # type: ignore[no-untyped-def]

    values = of(f)
    found = values.load_result(values.dump_result(object()))
    assert isinstance(found, Unstored)
    assert found.kind == "object"
    assert values.dump_result(None) is None
    assert values.load_result(None) is None


def test_a_result_that_today_is_annotated_otherwise_says_so() -> None:
    def before() -> str: ...  # type: ignore[empty-body]

    def today() -> datetime: ...  # type: ignore[empty-body]

    assert isinstance(of(today).load_result(of(before).dump_result("no date")), Unstored)


def raised() -> BaseException:
    try:
        raise ValueError("no such file")
    except ValueError as error:
        return error


def test_an_error_comes_back_as_one_that_tells_type_message_and_traceback() -> None:
    found = load_error(dump_error(raised()), "r1")
    assert isinstance(found, RunFailed)
    assert (str(found), found.run_id, found.reason) == ("ValueError: no such file", "r1", "ValueError")
    assert "in raised" in found.__notes__[0]
    assert "module" not in json.loads(dump_error(raised()) or "")


def test_that_a_run_never_ran_for_its_upstreams_comes_back_as_it_was() -> None:
    found = load_error(dump_error(UpstreamFailed("it needs u", run_id="r1", upstreams=["u"])), "r1")
    assert isinstance(found, UpstreamFailed)
    assert (str(found), found.upstreams) == ("it needs u", ("u",))


def test_an_error_without_a_text_of_its_own_is_stored_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert isinstance(load_error(dump_error(Broken()), "r1"), RunFailed)
    assert isinstance(load_error(dump_error(ValueError("\ud800")), "r1"), RunFailed)
    assert load_error(dump_error(None), "r1") is None


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"type": 1}'])
def test_a_stored_error_that_cannot_be_read_is_an_error_too(text: str) -> None:
    assert isinstance(load_error(text, "r1"), RunFailed)

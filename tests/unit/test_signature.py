"""What a function takes."""

import asyncio
import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, Field

from asyncsched.context import RunContext
from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.run import Run
from asyncsched.signature import Signature, is_coroutine_function


class Point(BaseModel):
    x: int
    y: int = 0


class Plain:
    pass


@dataclass
class Pair:
    left: int


def takes(
    number: int,
    /,
    text: str = "",
    *more: float,
    wait: timedelta = timedelta(0),
    point: Point | None = None,
    free=None,
    **rest: int,
) -> None: ...


# --- bind


def test_arguments_are_bound_as_a_call_would() -> None:
    bound = Signature(takes).bind((1, "a", 2.0), {"wait": 3, "other": 4})
    assert bound.arguments == {"number": 1, "text": "a", "more": (2.0,), "wait": 3, "rest": {"other": 4}}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "missing a required argument: 'a'.*the function takes"),
        ((1, 2), {}, "too many positional arguments"),
        ((1,), {"c": 2}, "unexpected keyword argument 'c'"),
        ((1,), {"a": 2}, "multiple values for argument 'a'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_name(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str
) -> None:
    def func(a: int, *, b: int = 0) -> None: ...

    for call in (Signature(func).bind, Signature(func).validate):
        with pytest.raises(ArgumentsError, match=message) as caught:
            call(args, kwargs)
        assert isinstance(caught.value, TypeError)


def test_a_function_that_does_not_tell_its_parameters_is_refused() -> None:
    with pytest.raises(ConfigError, match="wrap it in a function"):
        Signature(max)


# --- validate


def test_arguments_are_converted_as_their_annotations_say() -> None:
    given = (("7", "a", "1.5", 2), {"wait": "PT5S", "point": {"x": "3"}, "free": "as it is", "other": "4"})
    args, kwargs = Signature(takes).validate(*given)
    assert args == (7, "a", 1.5, 2.0)
    assert kwargs == {"wait": timedelta(seconds=5), "point": Point(x=3), "free": "as it is", "other": 4}


def test_defaults_are_left_to_the_function() -> None:
    assert Signature(takes).validate((1,), {}) == ((1,), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (("x",), {}, r"argument number: .*integer.*, got 'x'"),
        ((1, 2), {}, r"argument text: .*string.*, got 2"),
        ((1, "", 1.0, "x"), {}, r"argument more: .*number.*, got 'x'"),
        ((1,), {"point": {"x": "no"}}, r"argument point\['x'\]: .*, got 'no'"),
        ((1,), {"point": {}}, r"argument point\['x'\]: Field required"),
        ((1,), {"other": "x"}, r"argument rest: .*, got 'x'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_parameter(args: tuple[Any, ...], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentsError, match=message):
        Signature(takes).validate(args, kwargs)


def test_a_long_wrong_value_is_shown_in_part() -> None:
    with pytest.raises(ArgumentsError) as caught:
        Signature(takes).validate(("x" * 10_000,), {})
    assert len(str(caught.value)) < 250


def test_constraints_of_an_annotation_count() -> None:
    def func(percent: Annotated[int, Field(ge=0, le=100)]) -> None: ...

    assert Signature(func).validate((100,), {}) == ((100,), {})
    with pytest.raises(ArgumentsError, match="percent"):
        Signature(func).validate((101,), {})


def test_a_class_of_one_s_own_is_kept_as_the_object_it_is() -> None:
    def func(plain: Plain, pair: Pair) -> None: ...

    plain = Plain()
    args, _kwargs = Signature(func).validate((plain, {"left": "1"}), {})
    assert args[0] is plain
    assert args[1] == Pair(1)
    with pytest.raises(ArgumentsError, match=r"argument plain: .*Plain"):
        Signature(func).validate((1, Pair(1)), {})


def test_annotations_that_only_a_type_checker_can_resolve_promise_nothing() -> None:
    def func(a: "Nowhere", b: int) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert Signature(func).validate(("x", "y"), {}) == (("x", "y"), {})


def test_what_few_programs_need_is_not_imported_before_they_do() -> None:
    heavy = ("pydantic", "pickle", "multiprocessing", "difflib", "anyio", "croniter")
    program = (
        "import sys\n"
        "before = set(sys.modules)\n"  # where coverage is measured, that has its own imports
        "import asyncsched\n"
        "@asyncsched.every('5s', args=(1,))\n"
        "async def func(a: int): ...\n"
        f"print([name for name in {heavy} if name in sys.modules.keys() - before])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


# --- every kind of callable


class Machine:
    scale: int = 2  # an attribute of the class with the name of a parameter, and of another type

    def __init__(self, scale: str = "") -> None:
        self.text = scale

    def method(self, number: int) -> int:
        return number

    async def slow(self, number: int) -> int:
        return number

    @classmethod
    def of(cls, number: int) -> int:
        return number

    @staticmethod
    def free(number: int) -> int:
        return number

    def __call__(self, number: int) -> int:
        return number


class SlowMachine:
    async def __call__(self, number: int) -> int:
        return number


def plain(number: int, other: str = "") -> int:
    return number


async def slow(number: int, other: str = "") -> int:
    return number


@functools.wraps(plain)
def wrapped(*args: Any, **kwargs: Any) -> Any:
    return plain(*args, **kwargs)


def a_closure() -> Callable[[int], int]:
    outer = 1

    def closure(number: int) -> int:
        return number + outer

    return closure


CALLABLES = {
    "function": (plain, False),
    "coroutine function": (slow, True),
    "closure": (a_closure(), False),
    "bound method": (Machine().method, False),
    "bound coroutine method": (Machine().slow, True),
    "class method": (Machine.of, False),
    "static method": (Machine.free, False),
    "partial": (functools.partial(plain, other="x"), False),
    "partial of a coroutine function": (functools.partial(slow, other="x"), True),
    "partial of a partial": (functools.partial(functools.partial(slow), other="x"), True),
    "partial of a method": (functools.partial(Machine().slow), True),
    "object": (Machine(), False),
    "object with a coroutine": (SlowMachine(), True),
    "wrapper": (wrapped, False),
}


@pytest.mark.parametrize(("func", "coroutine"), list(CALLABLES.values()), ids=list(CALLABLES))
def test_every_kind_of_callable_is_checked_and_told_apart(func: Callable[..., Any], coroutine: bool) -> None:
    assert is_coroutine_function(func) is coroutine
    args, kwargs = Signature(func).validate(("5",), {})
    assert args == (5,)
    result = func(*args, **kwargs)
    assert (asyncio.run(result) if coroutine else result) in (5, 6)
    with pytest.raises(ArgumentsError, match="argument number"):
        Signature(func).validate(("x",), {})


def test_a_class_is_checked_by_its_constructor() -> None:
    assert Signature(Machine).validate(("3",), {}) == (("3",), {})
    with pytest.raises(ArgumentsError, match="argument scale"):
        Signature(Machine).validate((3,), {})
    assert Signature(Pair).validate(("3",), {}) == ((3,), {})
    assert not is_coroutine_function(Machine)


def test_what_a_partial_has_filled_in_is_not_asked_for() -> None:
    func = functools.partial(plain, 1)
    signature = Signature(func)
    assert signature.validate((), {"other": "x"}) == (("x",), {})
    with pytest.raises(ArgumentsError, match="too many"):
        signature.validate((1, "x"), {})


def test_a_builtin_that_tells_its_parameters_is_taken_unchecked() -> None:
    assert Signature(len).validate(("abc",), {}) == (("abc",), {})
    assert not is_coroutine_function(len)


# --- the run as an argument


def asks_first(context: RunContext, number: int, *more: int) -> Any:
    return context, number, more


def asks_in_the_middle(number: int, context: RunContext, word: str = "w") -> Any:
    return context, number, word


def asks_by_name(number: int = 1, *, context: RunContext, word: str = "w") -> Any:
    return context, number, word


def may_be_called_without(number: int, context: RunContext | None = None) -> Any:
    return context, number


def asks_by_text(context: "RunContext", other: "asyncsched.RunContext", maybe: "RunContext | None" = None) -> Any:  # noqa: F821
    return context, other, maybe


@pytest.mark.parametrize(
    ("func", "args", "kwargs", "given"),
    [
        (asks_first, (1, 2, 3), {}, (1, (2, 3))),
        (asks_first, (), {"number": 1}, (1, ())),
        (asks_in_the_middle, (1,), {}, (1, "w")),
        (asks_in_the_middle, (1, "x"), {}, (1, "x")),
        (asks_in_the_middle, (), {"word": "x", "number": 1}, (1, "x")),
        (asks_by_name, (), {}, (1, "w")),
        (asks_by_name, (2,), {"word": "x"}, (2, "x")),
        (may_be_called_without, (1,), {}, (1,)),
    ],
)
def test_the_run_is_put_among_the_arguments_that_callers_give(
    func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], given: tuple[Any, ...]
) -> None:
    run: Run[Any] = Run(id="r", task="t", created_us=0, due_us=0)
    signature = Signature(func)
    signature.check(args, kwargs)
    args, kwargs = signature.validate(args, kwargs)
    args, full = signature.with_context(run, args, kwargs)
    assert func(*args, **full) == (run, *given)


def test_a_run_may_be_asked_for_by_the_text_of_the_annotation() -> None:
    run: Run[Any] = Run(id="r", task="t", created_us=0, due_us=0)
    args, kwargs = Signature(asks_by_text).with_context(run, (), {})
    assert asks_by_text(*args, **kwargs) == (run, run, run)


def test_callers_do_not_give_the_run() -> None:
    with pytest.raises(ArgumentsError, match=r"missing a required argument: 'number'.*\(number: int, \*more: int\)"):
        Signature(asks_first).validate((), {})
    with pytest.raises(ArgumentsError, match="context"):
        Signature(asks_first).validate((1,), {"context": 1})


def test_what_only_holds_runs_is_an_argument_like_others() -> None:
    def func(runs: list[RunContext], run: Run[Any] | None = None) -> None: ...

    assert Signature(func).context == ()

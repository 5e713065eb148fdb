"""Which parameters ask for a resource."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

import pytest

from asyncsched.context import RunContext
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError
from asyncsched.resource import Depends, injected
from asyncsched.run import Run
from asyncsched.signature import Signature, signature_of

this = sys.modules[__name__]


def open_db() -> str:
    return "db"


Db = Annotated[str, Depends(open_db)]


def resources(func: Callable[..., Any]) -> dict[str, object]:
    return {name: depends.resource for name, depends in Signature(func).resources.items()}


def test_a_parameter_asks_by_its_annotation_alone() -> None:
    def func(
        db: Annotated[str, Depends(open_db)], name: str, pool: Annotated[int, Depends("pool")], x: Any = 1
    ) -> None: ...

    assert resources(func) == {"db": open_db, "pool": "pool"}
    assert signature_of(func).required == ["name"]


def test_an_annotation_may_be_an_alias_or_optional_a_text_or_not() -> None:
    def texts(a: Db, b: Db | None, c: this.Db, d: Annotated[str, Depends(open_db)] | None, e: missing.Db) -> None:  # type: ignore[name-defined] # noqa: F821
        ...

    def objects(a, b, c) -> None:  # type: ignore[no-untyped-def]
        ...

    objects.__annotations__ = {"a": Db, "b": Db | None, "c": Annotated[Db, "more"]}
    assert set(resources(texts)) == set("abcd")
    assert set(resources(objects)) == set("abc")


def test_wrappers_are_looked_through() -> None:
    class Tool:
        def __call__(self, db: Db) -> None: ...

        def method(self, db: Db) -> None: ...

    def func(first: int, db: Db) -> None: ...

    for wrapped in (Tool(), Tool().method, partial(func, 1)):
        assert resources(wrapped) == {"db": open_db}


def test_what_stands_in_annotations_for_type_checkers_alone_is_left_alone() -> None:
    def func(a: Annotated[Missing, 1], b: Missing | None = None) -> None:  # type: ignore[name-defined] # noqa: F821
        ...

    assert resources(func) == {}


def test_callers_do_not_give_it_and_it_is_put_in_its_place() -> None:
    def func(first: int, db: Db, run: RunContext, last: int = 0, *, pool: Db) -> None: ...

    signature = Signature(func)
    assert signature.validate(("1", 2), {}) == ((1, 2), {})
    with pytest.raises(ArgumentsError, match="unexpected keyword argument 'db'"):
        signature.bind((1,), {"db": "mine"})
    run: Run[Any] = Run("id", "task", 0, 0)
    values = {"db": "d", "run": run, "pool": "p"}
    assert signature.with_values(values, (1,), {"last": 3}) == ((1, "d", run, 3), {"pool": "p"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Annotated[Nothing, Depends(open_db)]", r"'db', Annotated\[Nothing, .* cannot be read: name 'Nothing' is not"),
        ("Annotated[str, Depends]", r"say on what, as in Depends\(open_db\)"),
        ("Annotated[str, Depends(3)]", r"3 opens nothing: give a function"),
        ("Annotated[str, Depends(open_db, scope='node')]", r"scope='node': 'run', once for each attempt, or"),
    ],
)
def test_a_wrong_annotation_is_refused(text: str, message: str) -> None:
    def func(db: Any) -> None: ...

    func.__annotations__["db"] = text
    with pytest.raises(ConfigError, match=message):
        Signature(func)


def test_it_is_no_default_value_and_not_for_any_number() -> None:
    def old(db: str = Depends(open_db)) -> None:  # type: ignore[assignment]
        ...

    def many(*dbs: Db) -> None: ...

    with pytest.raises(ConfigError, match=r"annotate it, db: Annotated\[..., Depends\(open_db\)\]"):
        Signature(old)
    with pytest.raises(ConfigError, match="'dbs' stands for any number of arguments"):
        Signature(many)


def test_a_name_is_opened_once_for_all_and_a_factory_for_each_run_unless_told() -> None:
    assert (Depends("pool").scope, Depends(open_db).scope) == ("scheduler", "run")
    assert Depends(open_db, scope="scheduler").scope == "scheduler"
    with pytest.raises(ConfigError, match="a named resource is opened once for all"):
        Depends("pool", scope="run")


def test_a_factory_can_be_told_from_others() -> None:
    class Unhashable:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self) -> None: ...

    with pytest.raises(ConfigError, match="give a function that calls it"):
        Depends(Unhashable())


def test_a_default_for_type_checkers_says_so_when_it_is_used() -> None:
    def func(db: Db = injected) -> str:
        return db.upper()

    assert Signature(func).required == []
    assert resources(func) == {"db": open_db}
    assert func("db") == "DB"
    with pytest.raises(MisuseError, match="who calls the function gives it"):
        func()
    assert repr(injected) == "injected"
    assert not hasattr(injected, "__wrapped__")

"""What opens a resource, and whether all that it needs can be opened."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import pytest

from asyncsched.context import RunContext
from asyncsched.errors import ConfigError
from asyncsched.resource import Depends
from asyncsched.surroundings import Surroundings, check_resources, factory_of


def one() -> str:
    return "one"


def other() -> str:
    return "other"


def third() -> str:
    return "third"


def needs(**marks: Depends) -> Callable[..., None]:
    """A factory with these parameters."""

    def factory() -> None: ...

    kind = inspect.Parameter.KEYWORD_ONLY
    asked = [inspect.Parameter(name, kind, annotation=Annotated[Any, mark]) for name, mark in marks.items()]
    factory.__signature__ = inspect.Signature(asked)  # type: ignore[attr-defined]
    factory.__qualname__ = "factory"
    return factory


def test_the_innermost_name_counts_and_the_outermost_stand_in() -> None:
    outer, inner = Surroundings(), Surroundings()
    around = (outer, inner)
    outer.name("pool", one)
    assert factory_of("pool", around) is one
    inner.name("pool", other)
    assert factory_of("pool", around) is other
    assert factory_of("pool", (outer,)) is one
    assert factory_of("nothing", around) is None
    assert factory_of(third, around) is third
    with inner.replaced("pool", third):
        assert factory_of("pool", around) is third
        with outer.replaced("pool", one):
            assert factory_of("pool", around) is one
        assert factory_of("pool", around) is third
    assert factory_of("pool", around) is other


def test_a_stand_in_for_a_factory_counts_where_it_is_named_too() -> None:
    surroundings = Surroundings()
    surroundings.name("pool", one)
    with surroundings.replaced(one, other):
        assert factory_of(one, (surroundings,)) is other
        assert factory_of("pool", (surroundings,)) is other
        with surroundings.replaced(one, third):
            assert factory_of(one, (surroundings,)) is third
        assert factory_of(one, (surroundings,)) is other
    assert factory_of(one, (surroundings,)) is one


def test_names_are_given_once_and_are_texts() -> None:
    surroundings = Surroundings()
    surroundings.name("pool", one)
    with pytest.raises(ConfigError, match="two resources have the name 'pool', the other is one"):
        surroundings.name("pool", other)
    for wrong in ("", 3):
        with pytest.raises(ConfigError, match="give a text"):
            surroundings.name(wrong, other)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="opens nothing"):
        surroundings.name("other", "other")  # type: ignore[arg-type]


def test_names_that_need_each_other_are_refused_when_the_last_is_declared() -> None:
    surroundings = Surroundings()
    first, second = needs(x=Depends("b")), needs(x=Depends("a"))
    first.__qualname__, second.__qualname__ = "first", "second"
    surroundings.name("a", first)
    with pytest.raises(ConfigError, match="need each other: second -> first -> second"):
        surroundings.name("b", second)
    assert list(surroundings.factories) == ["a"]


def test_factories_that_need_each_other_are_refused() -> None:
    def first(x: Any) -> None: ...

    second = needs(x=Depends(first))
    second.__qualname__ = "second"
    first.__annotations__["x"] = Annotated[Any, Depends(second)]
    with pytest.raises(ConfigError, match=r"need each other: .*first -> second -> .*first"):
        check_resources({"x": Depends(first)}, ())


def test_a_stand_in_must_not_need_what_it_stands_in_for() -> None:
    surroundings = Surroundings()
    with pytest.raises(ConfigError, match="need each other"), surroundings.replaced(one, needs(x=Depends(one))):
        pytest.fail("it was let through")
    assert factory_of(one, (surroundings,)) is one


def test_what_lasts_does_not_need_what_does_not() -> None:
    lasting = Depends(needs(db=Depends(one)), scope="scheduler")
    with pytest.raises(ConfigError, match=r"'db' of factory: Depends\(one\) is opened for each run, and factory once"):
        check_resources({"x": lasting}, ())
    check_resources({"x": Depends(needs(db=Depends(one, scope="scheduler")))}, ())
    check_resources({"x": Depends(needs(db=Depends(one)))}, ())


def test_what_lasts_has_no_run() -> None:
    def knows(run: RunContext) -> None: ...

    check_resources({"x": Depends(knows)}, ())
    with pytest.raises(ConfigError, match="there is no run for its parameter 'run'"):
        check_resources({"x": Depends(knows, scope="scheduler")}, ())


def test_the_same_factory_is_looked_at_for_each_scope() -> None:
    def knows(run: RunContext) -> None: ...

    with pytest.raises(ConfigError, match="there is no run"):
        check_resources({"x": Depends(knows), "y": Depends(knows, scope="scheduler")}, ())


def test_a_parameter_that_nobody_gives_is_named() -> None:
    def hungry(url: str, size: int = 3, *more: int, **rest: int) -> None: ...

    with pytest.raises(ConfigError, match=r"nobody gives .*hungry its parameter 'url'"):
        check_resources({"x": Depends(hungry)}, ())


def test_an_unknown_name_is_an_error_once_all_are_known() -> None:
    surroundings = Surroundings()
    surroundings.name("cache", one)
    check_resources({"x": Depends("pool")}, (surroundings,))
    with pytest.raises(ConfigError, match=r"parameter 'x': no resource is named 'pool'; .*there are: cache"):
        check_resources({"x": Depends("pool")}, (surroundings,), complete=True)
    with pytest.raises(ConfigError, match=r"parameter 'y' of factory: no resource is named 'pool'"):
        check_resources({"x": Depends(needs(y=Depends("pool")))}, (surroundings,), complete=True)


def test_many_ways_to_one_factory_are_walked_once() -> None:
    factory = needs()
    for _ in range(60):  # 2**60 ways
        factory = needs(left=Depends(factory), right=Depends(factory))
    check_resources({"x": Depends(factory)}, ())

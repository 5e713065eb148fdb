"""Errors of other processes, raised again: as what they were, where Python has that."""

from __future__ import annotations

import builtins

import pytest

from asyncsched.again import dump_error, load_error, raised_again
from asyncsched.errors import RunFailed

KINDS = [name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)]


@pytest.mark.parametrize("name", KINDS)
def test_whatever_it_was_it_is_a_run_failed_with_its_message(name: str) -> None:
    error = raised_again(name, f"{name}: it says so", "r1")
    assert isinstance(error, RunFailed)
    assert (str(error), error.run_id, error.reason) == (f"{name}: it says so", "r1", name)


@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError, TimeoutError, ZeroDivisionError, AttributeError])
def test_an_error_of_python_is_caught_as_what_it_was(kind: type[Exception]) -> None:
    with pytest.raises(kind, match="gone"):
        raise raised_again(kind.__name__, "gone", "r1")


@pytest.mark.parametrize("name", ["StopIteration", "KeyboardInterrupt", "SystemExit", "print", "Mine", "__import__"])
def test_what_is_none_or_cannot_be_raised_in_a_coroutine_is_nothing_but_a_failed_run(name: str) -> None:
    assert type(raised_again(name, "it says so", "r1")) is RunFailed


def test_an_error_that_was_read_back_is_stored_and_read_back_as_the_same() -> None:
    error: BaseException | None = KeyError("gone")
    for _ in range(3):
        error = load_error(dump_error(error), "r1")
        assert isinstance(error, KeyError)
        assert str(error) == "KeyError: 'gone'"

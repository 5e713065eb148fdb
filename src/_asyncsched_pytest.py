"""The pytest plugin of asyncsched: a top-level module, so that starting pytest imports none of the library.

An async test that asks for the fixture ``virtual`` runs on a ``VirtualLoop``, in pytest-asyncio's strict mode
too; every other test runs on the loops that it would have had.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest

_LoopFactories = Mapping[str, Callable[[], asyncio.AbstractEventLoop]]

_FIXTURE = "virtual"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Module | pytest.Class, name: str, obj: object) -> None:
    """Mark a coroutine test that asks for ``virtual``: once it is an item, strict mode has passed it by."""
    if (
        collector.istestfunction(obj, name)
        and inspect.iscoroutinefunction(_inner(obj))
        and _FIXTURE in inspect.signature(_inner(obj)).parameters
        and _has_loop_factories(collector.config)
        and not any(mark.name == "asyncio" for mark in (*_marks(obj), *collector.iter_markers("asyncio")))
    ):
        pytest.mark.asyncio(obj)


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_asyncio_loop_factories(item: pytest.Item) -> Generator[None, _LoopFactories | None, _LoopFactories]:
    """A ``VirtualLoop`` for who asks for ``virtual``; else what others answered, else asyncio's own.

    A wrapper, because pytest-asyncio takes the first answer and refuses ``None``.
    """
    theirs = yield
    if _FIXTURE in getattr(item, "fixturenames", ()):
        return {_FIXTURE: _virtual_loop}
    return {"asyncio": asyncio.new_event_loop} if theirs is None else theirs


@pytest.fixture(scope="session")  # it keeps nothing, so hypothesis may use one for many examples
def virtual(pytestconfig: pytest.Config) -> Any:
    """``asyncsched.testing.virtual``, in a test whose event loop is a ``VirtualLoop``."""
    if not _has_loop_factories(pytestconfig):
        needs = "the fixture 'virtual' needs: pip install 'asyncsched[testing]' (pytest-asyncio 1.4 or later)"
        pytest.fail(needs, pytrace=False)
    return importlib.import_module("asyncsched.testing").virtual


def _virtual_loop() -> asyncio.AbstractEventLoop:
    from asyncsched.testing import VirtualLoop

    return VirtualLoop()


def _has_loop_factories(config: pytest.Config) -> bool:
    return config.hook.pytest_asyncio_loop_factories.has_spec()


def _inner(obj: object) -> Any:
    """The test itself, within hypothesis's wrapper or ``staticmethod`` where there is one."""
    return getattr(getattr(obj, "hypothesis", None), "inner_test", getattr(obj, "__func__", obj))


def _marks(obj: object) -> list[pytest.Mark]:
    return list(getattr(obj, "pytestmark", ()))

"""The published suite, as a stranger has it: in a project of his own, with plain pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import asyncsched.testing.store_contract as published
from asyncsched.stores import MemoryStore

pytest_plugins = ["pytester"]
FOLDER = Path(published.__file__).parent

STRANGER = """
import pytest
from asyncsched.stores import MemoryStore
from asyncsched.testing.store_contract import Bench, StoreContract

class Mine(MemoryStore):
    async def standings(self, tasks):
        return [*await super().standings(tasks)][:1]

class MyBench(Bench):
    def __init__(self):
        super().__init__()
        self.store = Mine()

    async def enter(self, node):
        await self.store.open(node, self.clock)
        return self.store

    async def clear(self):
        self.store = None

class TestMine(StoreContract):
    @pytest.fixture
    def make_bench(self):
        return MyBench

class TestUnfinished(StoreContract):
    pass
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_it_runs_anywhere_and_shows_what_a_store_lacks(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.makepyfile(STRANGER)
    chosen = "test_standings_leave_out or test_an_empty_store or test_no_limit_is_passed"
    result = pytester.runpytest_subprocess(f"--asyncio-mode={mode}", "-W", "error", "-p", "no:randomly", "-k", chosen)
    result.assert_outcomes(passed=2, failed=1, errors=3)
    result.stdout.fnmatch_lines(["*the class lacks the fixture 'make_bench'*", "*assert {'a'} == {'a', 'b'}*"])


def test_without_pytest_it_says_what_to_install() -> None:
    program = "import sys; sys.modules['pytest'] = None; import asyncsched.testing.store_contract"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.endswith("the store contract needs pytest: pip install 'asyncsched[testing]'\n")


def test_every_file_of_promises_is_part_of_the_suite() -> None:
    inherited = {kind.__module__ for kind in published.SharedStoreContract.__mro__}
    without_tests = {"__init__", "_bench", "_making"}
    files = {f"{published.__name__}.{file.stem}" for file in FOLDER.glob("*.py") if file.stem not in without_tests}
    assert files <= inherited


def test_no_promise_hides_another_of_its_name() -> None:
    seen: dict[str, str] = {}
    for kind in published.SharedStoreContract.__mro__:
        for name in vars(kind):
            if name.startswith("test_"):
                assert name not in seen, f"{name} stands in {seen[name]} and in {kind.__name__}"
                seen[name] = kind.__name__
    assert len(seen) > 150


def test_no_promise_is_ever_skipped() -> None:
    for file in FOLDER.glob("*.py"):
        said = file.read_text(encoding="utf-8")
        assert not re.search(r"\b(?:skip|skipif|importorskip|xfail)\(", said), file.name


async def test_a_store_that_transacts_is_not_tried_as_one_that_does_not() -> None:
    await published.StoreContract().test_it_is_tried_as_what_it_says_it_is(MemoryStore())
    with pytest.raises(AssertionError, match="tried_in_transactions = True in the class"):
        await published.StoreContract().test_it_is_tried_as_what_it_says_it_is(Transacting())


class Transacting(MemoryStore):
    """One that says of itself that runs can work in its transactions."""

    transacts = True

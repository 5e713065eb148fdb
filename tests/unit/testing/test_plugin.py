"""The pytest plugin: who gets a virtual loop, in each mode, next to other plugins, and without pytest-asyncio."""

import subprocess
import sys

import pytest

import asyncsched.testing

pytest_plugins = ["pytester"]

WHO_GETS_WHAT = """
    import asyncio
    import pytest
    from hypothesis import given, settings, strategies as st

    def is_virtual():
        return type(asyncio.get_running_loop()).__name__ == "VirtualLoop"

    async def test_asks(virtual):
        assert is_virtual()
        await asyncio.sleep(1_000_000)
        assert asyncio.get_running_loop().time() == 1_000_000

    class TestClass:
        async def test_method(self, virtual):
            assert is_virtual()

        @staticmethod
        async def test_static(virtual):
            assert is_virtual()

    @pytest.mark.parametrize("number", [1, 2])
    async def test_parameters(number, virtual):
        assert is_virtual()

    @settings(max_examples=3)
    @given(st.integers())
    async def test_hypothesis(virtual, number):
        assert is_virtual()

    @pytest.mark.asyncio
    async def test_does_not_ask():
        assert not is_virtual()

    def test_is_plain():
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
"""


@pytest.fixture(autouse=True)
def stage(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> object:
    """Stands where ``asyncsched.testing.virtual`` stands; the tests run in this process."""
    stage = object()
    monkeypatch.setattr(asyncsched.testing, "virtual", stage, raising=False)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\naddopts = --strict-markers")
    return stage


def run_pytest(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    return pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider", "-W", "error", *options)


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_who_asks_gets_a_virtual_loop_and_nobody_else(pytester: pytest.Pytester, mode: str) -> None:
    pytester.makepyfile(WHO_GETS_WHAT)
    run_pytest(pytester, f"--asyncio-mode={mode}").assert_outcomes(passed=8)


def test_names_of_tests_stay_as_they_were(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(WHO_GETS_WHAT)
    result = run_pytest(pytester, "--collect-only", "-q")
    result.stdout.fnmatch_lines(["*::test_asks", "*::test_parameters?1?", "*::test_does_not_ask"])


def test_a_fixture_may_ask_for_it_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        import pytest
        import pytest_asyncio

        @pytest_asyncio.fixture
        async def started(virtual):
            await asyncio.sleep(60)
            yield asyncio.get_running_loop().time()
            await asyncio.sleep(60)

        @pytest.mark.asyncio
        async def test_uses_it(started):
            assert started == asyncio.get_running_loop().time() == 60
    """)
    run_pytest(pytester).assert_outcomes(passed=1)


def test_a_mark_with_a_wider_scope_is_left_alone(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import asyncio
        import pytest

        pytestmark = pytest.mark.asyncio(loop_scope="module")

        async def test_one(virtual):
            await asyncio.sleep(60)

        async def test_two(virtual):
            assert asyncio.get_running_loop().time() == 60
    """)
    run_pytest(pytester).assert_outcomes(passed=2)


def test_loops_of_other_plugins_are_respected(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import asyncio

        class Theirs(asyncio.SelectorEventLoop):
            pass

        def pytest_asyncio_loop_factories(config, item):
            return {"theirs": Theirs, "plain": asyncio.SelectorEventLoop}
    """)
    pytester.makepyfile("""
        import asyncio
        import pytest

        async def test_asks(virtual):
            assert type(asyncio.get_running_loop()).__name__ == "VirtualLoop"

        @pytest.mark.asyncio
        async def test_does_not_ask(request):
            theirs = type(asyncio.get_running_loop()).__name__ == "Theirs"
            assert theirs == ("theirs" in request.node.name)
    """)
    result = run_pytest(pytester, "-v")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*::test_asks PASSED*", "*::test_does_not_ask?theirs? PASSED*"])


def test_a_plugin_that_answers_nothing_breaks_nobody(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("def pytest_asyncio_loop_factories(config, item): return None")
    pytester.makepyfile(WHO_GETS_WHAT)
    run_pytest(pytester).assert_outcomes(passed=8)


def test_without_pytest_asyncio_it_says_what_to_install(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = --strict-markers")
    pytester.makepyfile("async def test_asks(virtual): pass\n\ndef test_other(): pass")
    result = pytester.runpytest_subprocess("-p", "_asyncsched_pytest", "-W", "error")  # in process, marks are cached
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*'virtual' needs: pip install 'asyncsched?testing?'*"])


def test_the_fixture_is_the_one_of_the_testing_kit(pytester: pytest.Pytester, stage: object) -> None:
    pytester.makepyfile("""
        import asyncsched.testing

        async def test_asks(virtual):
            assert virtual is asyncsched.testing.virtual
    """)
    run_pytest(pytester).assert_outcomes(passed=1)


def test_starting_pytest_imports_nothing_of_the_library() -> None:
    program = "import _asyncsched_pytest, sys; print([name for name in sys.modules if name.startswith('asyncsched')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

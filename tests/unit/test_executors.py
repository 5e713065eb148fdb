"""How a function is called: on the loop, and in threads."""

import asyncio
import contextlib
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from asyncsched.context import current_run, enter_run
from asyncsched.errors import MisuseError
from asyncsched.executors import Executor, LoopExecutor, ThreadExecutor, from_thread
from asyncsched.executors._crew import Crew
from asyncsched.executors._pace import Pace
from asyncsched.run import Run

PATIENCE = 10.0  # seconds, for what takes a millisecond unless the machine is dead


class Gate:
    """Holds the threads that pass it until it is opened."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def pass_through(self, result: object = None) -> object:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.entered.release()
        assert self.opened.wait(PATIENCE)
        with self._lock:
            self.inside -= 1
        return result

    async def until_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=PATIENCE)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture
async def threads() -> AsyncIterator[Callable[[int], ThreadExecutor]]:
    """Makes executors for so many threads, and closes them at the end."""
    made = []

    def make(number: int) -> ThreadExecutor:
        made.append(ThreadExecutor(number))
        return made[-1]

    yield make
    for executor in made:
        await executor.close()


Threads = Callable[[int], ThreadExecutor]


def begin(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    return asyncio.ensure_future(awaitable)


async def until(holds: Callable[[], bool]) -> None:
    """Let the loop turn until something holds that a thread is about to bring about."""
    async with asyncio.timeout(PATIENCE):
        while not holds():
            await asyncio.sleep(0)


async def slow(*args: int, **kwargs: int) -> tuple[Any, ...]:
    await asyncio.sleep(0)
    return args, kwargs


def quick(*args: int, **kwargs: int) -> tuple[Any, ...]:
    return args, kwargs


def fails() -> None:
    raise ValueError("no")


# --- both


@pytest.mark.parametrize(("make", "func"), [(LoopExecutor, slow), (lambda: ThreadExecutor(1), quick)])
async def test_it_gives_what_the_function_returns_and_raises_what_it_raises(
    make: Callable[[], Executor], func: Callable[..., Any]
) -> None:
    executor = make()
    assert await executor.call(func, (1, 2), {"a": 3}) == ((1, 2), {"a": 3})
    with pytest.raises(ValueError, match="no"):
        await executor.call(fails, (), {})
    assert (executor.busy, executor.abandoned) == (0, ())
    await executor.close()
    assert await executor.call(func, (), {}) == ((), {})  # a closed one begins anew
    await executor.close()


# --- the loop


async def test_a_coroutine_function_runs_on_the_loop_in_its_context() -> None:
    thread = threading.get_ident()

    async def where() -> int:
        return threading.get_ident()

    assert await LoopExecutor().call(where, (), {}) == thread


async def test_cancelling_a_call_on_the_loop_cancels_the_coroutine() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    call = begin(LoopExecutor().call(waits, (), {}))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == [True]


# --- threads


async def test_a_plain_function_runs_in_another_thread_with_the_run_s_context(threads: Threads) -> None:
    word: ContextVar[str] = ContextVar("word", default="")
    run: Run[object] = Run(id="r", task="t", created_us=0, due_us=0)
    word.set("set")
    enter_run(run)
    here = threading.get_ident()

    def where() -> tuple[bool, str, object]:
        return threading.get_ident() != here, word.get(), current_run()

    assert await threads(1).call(where, (), {}) == (True, "set", run)


async def test_the_loop_goes_on_while_a_thread_works(threads: Threads, gate: Gate) -> None:
    executor = threads(2)
    call = begin(executor.call(gate.pass_through, (5,), {}))
    await gate.until_entered()
    assert executor.busy == 1
    assert not call.done()
    gate.opened.set()
    assert await call == 5
    assert executor.busy == 0


async def test_no_more_threads_work_at_once_than_were_asked_for(threads: Threads, gate: Gate) -> None:
    executor = threads(2)
    calls = [begin(executor.call(gate.pass_through, (number,), {})) for number in range(5)]
    await gate.until_entered()
    await gate.until_entered()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (gate.inside, executor.busy) == (2, 2)
    gate.opened.set()
    assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]
    assert gate.most == 2


async def test_a_cancelled_call_returns_at_once_and_its_thread_is_counted_until_it_returns(
    threads: Threads, gate: Gate
) -> None:
    executor = threads(1)
    call = begin(executor.call(gate.pass_through, (), {}))
    await gate.until_entered()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (gate.inside, executor.busy) == (1, 1)
    assert [left.what for left in executor.abandoned] == ["Gate.pass_through"]
    gate.opened.set()
    await until(lambda: executor.busy == 0)
    assert (gate.inside, executor.abandoned) == (0, ())


async def test_a_thread_that_was_left_behind_does_not_hold_up_the_next_call(threads: Threads, gate: Gate) -> None:
    executor = threads(1)
    call = begin(executor.call(gate.pass_through, (), {}))
    await gate.until_entered()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await executor.call(quick, (1,), {}) == ((1,), {})
    assert executor.busy == 1
    gate.opened.set()
    await until(lambda: executor.busy == 0)


async def test_when_it_returns_there_are_no_more_threads_at_work_than_were_asked_for(threads: Threads) -> None:
    executor, left, gate = threads(1), Gate(), Gate()
    call = begin(executor.call(left.pass_through, (), {}))
    await left.until_entered()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    calls = [begin(executor.call(gate.pass_through, (number,), {})) for number in range(2)]
    await gate.until_entered()
    left.opened.set()
    await until(lambda: executor.abandoned == ())
    for _ in range(20):
        await asyncio.to_thread(time.sleep, 0.0005)
    assert (gate.inside, executor.busy) == (1, 1)
    gate.opened.set()
    assert await asyncio.gather(*calls) == [0, 1]
    assert gate.most == 1


async def test_a_call_that_is_cancelled_before_its_turn_never_enters_a_thread(threads: Threads, gate: Gate) -> None:
    executor = threads(1)
    first = begin(executor.call(gate.pass_through, (1,), {}))
    await gate.until_entered()
    entered = []
    second = begin(executor.call(entered.append, (2,), {}))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    gate.opened.set()
    assert await first == 1
    assert await executor.call(quick, (), {}) == ((), {})
    assert entered == []


async def test_a_coroutine_that_a_plain_function_returns_runs_on_the_loop(threads: Threads) -> None:
    loop = asyncio.get_running_loop()

    async def where() -> object:
        return asyncio.get_running_loop()

    assert await threads(1).call(lambda: where(), (), {}) is loop


async def test_a_thread_that_ends_by_stop_iteration_harms_nobody(threads: Threads) -> None:
    def stops() -> None:
        raise StopIteration(5)

    with pytest.raises(RuntimeError, match="StopIteration"):
        await threads(1).call(stops, (), {})


def test_one_executor_serves_one_loop_after_another() -> None:
    executor = ThreadExecutor(1)

    async def twice() -> list[object]:
        results = await asyncio.gather(*(executor.call(quick, (number,), {}) for number in range(3)))
        await executor.close()
        return list(results)

    for _ in range(2):
        assert len(asyncio.run(twice())) == 3
        assert executor.busy == 0


async def test_a_thread_that_raises_what_ends_programs_ends_none(threads: Threads) -> None:
    executor = threads(1)
    for error in (SystemExit, KeyboardInterrupt, asyncio.CancelledError):
        with pytest.raises(error):
            await executor.call(raise_it, (error,), {})
    assert executor.busy == 0


def raise_it(error: type[BaseException]) -> None:
    raise error


async def test_an_error_does_not_tell_of_our_own_frames_in_its_thread(threads: Threads) -> None:
    with pytest.raises(ValueError, match="no") as caught:
        await threads(1).call(fails, (), {})
    files = [frame.path.name for frame in caught.traceback]
    assert files[-1] == "test_executors.py"
    assert [str(entry.name) for entry in caught.traceback][-2:] == ["call", "fails"]


async def test_who_is_left_behind_is_named_when_it_returns_and_when_its_executor_is_closed(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    executor = ThreadExecutor(1)
    enter_run(Run(id="r", task="t", created_us=0, due_us=0))
    call = begin(executor.call(gate.pass_through, (), {}))
    await gate.until_entered()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await executor.close()
    assert executor.busy == 1
    gate.opened.set()
    await until(lambda: executor.busy == 0)
    await until(lambda: len(caplog.messages) == 2)
    assert caplog.messages[0] == "task t, run r, is left behind: it was cancelled, and its thread goes on"
    assert caplog.messages[1].startswith("task t, run r, was cancelled; its thread has returned only now, 0.0")


async def test_no_more_threads_than_calls_are_started_and_none_is_left() -> None:
    executor = ThreadExecutor(40)
    before = set(threading.enumerate())
    for number in range(20):
        assert await executor.call(quick, (number,), {}) == ((number,), {})
    (worker,) = set(threading.enumerate()) - before
    assert worker.daemon
    await executor.close()
    worker.join(PATIENCE)
    assert not worker.is_alive()


async def test_an_idle_thread_ends_and_another_comes_when_it_is_needed() -> None:
    left = []
    crew = Crew(2, 0.01, "worker", leave=lambda: left.append(threading.current_thread()))
    for count in (1, 2):
        assert await crew.call(quick, (count,), {}) == ((count,), {})
        await until(lambda count=count: len(left) == count)  # type: ignore[misc]
    assert len(set(left)) == 2
    await crew.close()


@pytest.mark.parametrize("blocking", [{0}, {1, 4}, {0, 1, 2}])
async def test_calls_that_block_hold_up_none_that_were_made_with_them(
    threads: Threads, gate: Gate, blocking: set[int]
) -> None:
    executor = threads(4)
    asyncio.get_running_loop().set_debug(False)  # to note where a call comes from lets threads in between two calls
    for _ in range(2):  # the first time threads are started, the second time they are there
        calls = [
            begin(executor.call(gate.pass_through if number in blocking else quick, (), {})) for number in range(8)
        ]
        async with asyncio.timeout(PATIENCE / 2):
            await asyncio.gather(*(call for number, call in enumerate(calls) if number not in blocking))
            for _ in blocking:
                await gate.until_entered()
        assert [call.done() for call in calls] == [number not in blocking for number in range(8)]
        gate.opened.set()
        await asyncio.gather(*calls)
        gate.opened.clear()


async def test_no_call_is_lost_to_a_thread_that_is_about_to_end() -> None:
    crew = Crew(3, 0.0, "worker")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        async with asyncio.timeout(PATIENCE):
            for number in range(80):
                results = await asyncio.gather(*(crew.call(quick, (number,), {}) for _ in range(number % 4)))
                assert results == [((number,), {})] * (number % 4)
    finally:
        sys.setswitchinterval(interval)
    await crew.close()


class Thick(Pace):
    """What comes, comes thick and fast."""

    def look(self, now_s: float, came: int) -> None:
        self.fetching = True


@pytest.fixture
async def fetching(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Crew, list[object]]]:
    """A crew whose outcomes are fetched from the first one on, and what has woken the loop since then."""
    monkeypatch.setattr("asyncsched.executors._crew.Pace", Thick)
    crew, woken = Crew(2, 1.0, "worker"), list[object]()
    assert await crew.call(quick, (), {}) == ((), {})
    loop = asyncio.get_running_loop()
    wake = loop.call_soon_threadsafe

    def noted(callback: Callable[..., object], *args: Any, **kwargs: Any) -> asyncio.Handle:
        if getattr(callback, "__self__", None) is crew:
            woken.append(callback)
        return wake(callback, *args, **kwargs)

    monkeypatch.setattr(loop, "call_soon_threadsafe", noted)
    yield crew, woken
    monkeypatch.undo()
    await crew.close()


async def test_outcomes_that_are_fetched_do_not_wake_the_loop(fetching: tuple[Crew, list[object]]) -> None:
    crew, woken = fetching
    for number in range(10):
        assert await crew.call(quick, (number,), {}) == ((number,), {})
    with pytest.raises(ValueError, match="no"):
        await crew.call(fails, (), {})
    assert woken == []


async def test_outcomes_are_fetched_with_the_next_call(fetching: tuple[Crew, list[object]], gate: Gate) -> None:
    crew, woken = fetching
    made = threading.Event()
    first = begin(crew.call(made.set, (), {}))
    await asyncio.sleep(0)
    assert made.wait(PATIENCE)
    second = begin(crew.call(gate.pass_through, (), {}))
    for _ in range(4):  # no millisecond, unless the machine is busy
        await asyncio.sleep(0)
    assert (first.done(), second.done(), woken) == (True, False, [])
    gate.opened.set()
    await second


async def test_what_is_to_be_fetched_is_there_when_the_crew_is_closed_and_no_timer_is_left(
    fetching: tuple[Crew, list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    crew, _woken = fetching
    loop, timers = asyncio.get_running_loop(), list[asyncio.TimerHandle]()
    call_later = loop.call_later

    def noted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(call_later(*args, **kwargs))
        return timers[-1]

    monkeypatch.setattr(loop, "call_later", noted)
    await crew.call(quick, (), {})
    calls = [begin(crew.call(quick, (number,), {})) for number in range(5)]
    await asyncio.sleep(0)
    await crew.close(patient=True)
    await asyncio.sleep(0)
    assert [call.done() for call in calls] == [True] * 5
    assert timers
    assert all(timer.cancelled() for timer in timers)


async def test_an_idle_thread_keeps_no_result(threads: Threads) -> None:
    class Result: ...

    executor = threads(1)
    result = weakref.ref(await executor.call(Result, (), {}))
    await until(lambda: result() is None)


async def test_where_no_thread_can_be_started_the_call_says_so(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = threads(2)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await executor.call(quick, (), {})
    assert await executor.call(quick, (), {}) == ((), {})


async def test_calls_of_one_instant_come_back_in_order_in_virtual_time(virtual: Any) -> None:
    executor, opened = ThreadExecutor(3), threading.Event()
    order = []

    async def call(number: int, func: Callable[..., object]) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await executor.call(func, (), {})
        order.append(number)

    slow, cancelled, quick = (
        begin(call(number, func)) for number, func in enumerate([opened.wait, opened.wait, opened.is_set])
    )
    await asyncio.to_thread(time.sleep, 0.02)
    assert (order, executor.busy) == ([], 3)
    cancelled.cancel()
    await cancelled
    assert order == [1]
    opened.set()
    await asyncio.sleep(3600)  # time stands still until they are back
    assert order == [1, 0, 2]
    await asyncio.gather(slow, quick)
    await executor.close()


# --- from a thread


async def test_a_plain_function_may_call_on_the_loop(threads: Threads) -> None:
    loop = asyncio.get_running_loop()
    run: Run[object] = Run(id="r", task="t", created_us=0, due_us=0)
    enter_run(run)

    async def here(*args: int, **kwargs: int) -> object:
        await asyncio.sleep(0)
        assert (asyncio.get_running_loop(), current_run()) == (loop, run)
        return args, kwargs

    assert await threads(1).call(lambda: from_thread(here, 1, a=2), (), {}) == ((1,), {"a": 2})


async def test_what_it_raises_there_is_raised_in_the_thread(threads: Threads) -> None:
    async def leave() -> None:
        sys.exit(3)

    with pytest.raises(SystemExit, match="3"):
        await threads(1).call(from_thread, (leave,), {})


async def test_elsewhere_it_says_where_it_belongs() -> None:
    with pytest.raises(MisuseError, match="plain functions that a scheduler runs in a thread"):
        await asyncio.to_thread(from_thread, slow)
    with pytest.raises(MisuseError, match="on the loop await it"):
        from_thread(slow)

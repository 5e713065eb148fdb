"""The loop that jumps: what moves its clock, what holds it still, and what it says when nothing can happen."""

import asyncio
import gc
import math
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.errors import AsyncschedError, ConfigError
from asyncsched.testing import Deadlock, VirtualLoop, run
from asyncsched.testing._loop import _GLANCE, _to_us
from effort import counted_turns, noted_jumps

YEAR = 365 * 86_400.0


def now() -> float:
    return asyncio.get_running_loop().time()


def the_loop() -> VirtualLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return loop


def run_impatient(main: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(deadlock_after=0.01)) as runner:
        runner.run(main())  # type: ignore[arg-type]


# --- the clock


def test_it_starts_at_zero_and_a_sleep_takes_exactly_its_time() -> None:
    async def main() -> list[float]:
        seen = [now()]
        for delay in (3600, 0.1, 0.2, 0):
            await asyncio.sleep(delay)
            seen.append(now())
        return seen

    assert run(main) == [0.0, 3600.0, 3600.1, 3600.3, 3600.3]


def test_a_sleep_is_one_jump_and_a_few_turns() -> None:
    async def main() -> None:
        with noted_jumps(the_loop()) as jumps, counted_turns(the_loop()) as turns:
            await asyncio.sleep(1_000_000_000)
        assert jumps == [1_000_000_000]
        assert turns.count <= 3

    run(main)


def test_eighty_years_on_each_timer_is_still_one_jump() -> None:
    assert 80 * YEAR + 1e-9 == 80 * YEAR  # a float has lost asyncio's resolution long before

    async def main() -> tuple[int, int]:
        jumps: list[float] = []
        await asyncio.sleep(80 * YEAR)
        the_loop().on_jump.append(lambda: jumps.append(now()))
        for _ in range(1000):
            await asyncio.sleep(0.001)
        return len(jumps), the_loop().elapsed_us

    assert run(main) == (1000, 80 * 365 * 86_400_000_000 + 1_000_000)


def test_a_delay_below_a_microsecond_moves_the_clock_all_the_same() -> None:
    async def main() -> int:
        await asyncio.sleep(80 * YEAR)
        began = the_loop().elapsed_us
        for _ in range(3):
            await asyncio.sleep(1e-9)
        return the_loop().elapsed_us - began

    assert run(main) == 3


def test_who_polls_for_a_deadline_between_two_microseconds_arrives() -> None:
    async def main() -> float:
        deadline = 1.0000004
        while now() < deadline:
            reached = asyncio.Event()
            the_loop().call_at(deadline, reached.set)
            await reached.wait()
        return now()

    assert run(main) == 1.000001


@given(st.integers(min_value=0, max_value=200 * 366 * 86_400_000_000))
def test_every_microsecond_of_two_centuries_survives_the_way_through_a_float(moment_us: int) -> None:
    assert _to_us(moment_us / 1_000_000) == moment_us


def test_time_does_not_move_while_something_is_ready() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(1, lambda: None)
        for _ in range(100):
            await asyncio.sleep(0)
        return now()

    assert run(main) == 0.0


def test_a_timer_that_is_due_fires_although_others_are_always_ready() -> None:
    async def main() -> None:
        fired = asyncio.Event()
        the_loop().call_later(0, fired.set)
        while not fired.is_set():
            await asyncio.sleep(0)

    run(main)


def test_on_jump_is_called_after_each_change() -> None:
    async def main() -> list[float]:
        seen: list[float] = []
        the_loop().on_jump.append(lambda: seen.append(now()))
        await asyncio.sleep(5)
        await asyncio.sleep(0)
        await the_loop().reach(7)
        return seen

    assert run(main) == [5.0, 7.0]


# --- order


def test_a_thousand_timers_of_one_instant_fire_in_the_order_they_were_set() -> None:
    async def main() -> list[int]:
        fired: list[int] = []
        for number in range(1000):
            the_loop().call_at(60.0, fired.append, number)
        await asyncio.sleep(60)
        return fired

    assert run(main) == list(range(1000))


def test_sums_that_differ_in_the_last_bit_are_one_instant() -> None:
    assert 0.1 + 0.2 != 0.3

    async def main() -> list[str]:
        fired: list[str] = []
        the_loop().call_at(0.1 + 0.2, fired.append, "first")
        the_loop().call_at(0.3, fired.append, "second")
        await asyncio.sleep(1)
        return fired

    assert run(main) == ["first", "second"]


def test_timers_fire_by_their_instant_and_past_ones_first() -> None:
    async def main() -> list[float]:
        fired: list[float] = []
        await asyncio.sleep(10)
        for when in (12.0, 11.0, 7.0, 3.0, -math.inf):
            the_loop().call_at(when, fired.append, when)
        await asyncio.sleep(5)
        return fired

    assert run(main) == [-math.inf, 3.0, 7.0, 11.0, 12.0]


def test_a_cancelled_timer_neither_fires_nor_draws_the_clock() -> None:
    async def main() -> None:
        fired: list[str] = []
        the_loop().call_later(5, fired.append, "head").cancel()
        later = the_loop().call_at(10, fired.append, "later")
        the_loop().call_at(9.0, later.cancel)
        the_loop().call_at(9.5, lambda: neighbour.cancel())
        neighbour = the_loop().call_at(9.5, fired.append, "of this instant")
        jumps: list[float] = []
        the_loop().on_jump.append(lambda: jumps.append(now()))
        await the_loop().reach(11)
        assert jumps == [9.0, 9.5, 11.0]
        assert fired == []

    run(main)


def test_timeouts_that_were_met_do_not_pile_up() -> None:
    async def main() -> int:
        for _ in range(10_000):
            async with asyncio.timeout(3600):
                pass
        return len(the_loop()._timers)

    assert run(main) < 100


# --- threads


def slow(seconds: float = 0.03) -> int:
    time.sleep(seconds)
    return threading.get_ident()


@pytest.mark.parametrize("tool", ["to_thread", "executor", "anyio", "anyio own limiter", "getaddrinfo"])
def test_time_stands_still_while_a_thread_works(tool: str) -> None:
    async def main() -> float:
        ticker = asyncio.create_task(asyncio.sleep(3600))
        match tool:
            case "to_thread":
                await asyncio.to_thread(slow)
            case "executor":
                with ThreadPoolExecutor(1) as pool:
                    await the_loop().run_in_executor(pool, slow, 0.03)
            case "anyio":
                await anyio.to_thread.run_sync(slow)
            case "anyio own limiter":
                await anyio.to_thread.run_sync(slow, limiter=anyio.CapacityLimiter(1))
            case "getaddrinfo":
                await the_loop().getaddrinfo("127.0.0.1", 80)
        reached = now()
        await ticker
        return reached

    assert run(main) == 0.0


@pytest.mark.parametrize("tool", ["asyncio", "anyio"])
def test_time_stands_still_for_a_thread_that_nobody_waits_for_any_more(tool: str) -> None:
    async def main() -> list[float]:
        started, ended = threading.Event(), list[float]()

        def work() -> None:
            started.set()
            slow()
            ended.append(loop.time())

        loop = the_loop()
        if tool == "asyncio":
            waiter = asyncio.ensure_future(asyncio.to_thread(work))
        else:
            waiter = asyncio.ensure_future(anyio.to_thread.run_sync(work, abandon_on_cancel=True))
        while not started.is_set():
            await asyncio.sleep(0)
        waiter.cancel()
        await asyncio.sleep(3600)
        return ended

    assert run(main) == [0.0]


def test_a_thread_that_calls_back_is_heard_before_the_next_jump() -> None:
    async def main() -> list[float]:
        loop, heard = the_loop(), list[float]()

        def work() -> None:
            loop.call_soon_threadsafe(lambda: heard.append(loop.time()))
            slow()
            loop.call_soon_threadsafe(lambda: heard.append(loop.time()))

        await asyncio.gather(asyncio.to_thread(work), asyncio.sleep(60))
        return heard

    assert run(main) == [0.0, 0.0]


def test_an_idle_worker_of_anyio_does_not_hold_time() -> None:
    async def main() -> int:
        idents = set()
        for _ in range(5):
            idents.add(await anyio.to_thread.run_sync(slow, 0))
            await asyncio.sleep(3600)
        assert now() == 5 * 3600
        return len(idents)

    assert run(main) == 1


@pytest.mark.parametrize("how", ["function", "limiter"])
def test_what_is_watched_holds_time_until_it_ends(how: str) -> None:
    async def main() -> list[float]:
        loop, limiter, ended = the_loop(), anyio.CapacityLimiter(1), list[float]()

        def work() -> None:
            slow()
            ended.append(loop.time())
            loop.call_soon_threadsafe(limiter.release_on_behalf_of, "the work")

        thread = threading.Thread(target=work)
        thread.start()
        limiter.acquire_on_behalf_of_nowait("the work")
        unwatch = loop.watch(thread.is_alive if how == "function" else limiter)
        await asyncio.sleep(60)
        unwatch()
        return [*ended, now()]

    assert run(main) == [0.0, 60.0]


def test_what_is_not_watched_any_more_holds_nothing() -> None:
    async def main() -> None:
        the_loop().watch(lambda: True)()
        await asyncio.sleep(60)

    run(main)


def test_waiting_for_a_thread_blocks_and_does_not_burn() -> None:
    async def main() -> None:
        began = time.monotonic()
        with counted_turns(the_loop()) as turns:
            await asyncio.gather(asyncio.to_thread(slow, 0.1), asyncio.sleep(60))
        # However long the thread is out: a glance takes 5 ms.
        assert turns.count <= 10 + (time.monotonic() - began) / _GLANCE

    run(main)


def test_the_end_waits_for_threads_of_the_default_executor() -> None:
    class SlowToEnd(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            slow()

    def work() -> None:
        slow()
        ended.append(threading.current_thread().name)

    ended: list[str] = []

    async def main() -> None:
        loop = the_loop()
        loop.set_default_executor(SlowToEnd(1, thread_name_prefix="slow"))
        loop.run_in_executor(None, work)

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(deadlock_after=0.001)) as runner:
        runner.run(main())
    assert ended == ["slow_0"]


# --- barriers


def test_reach_returns_when_all_of_that_instant_is_done() -> None:
    async def main() -> list[str]:
        done: list[str] = []

        async def work(name: str, at: float) -> None:
            await asyncio.sleep(at)
            await asyncio.to_thread(slow, 0.005)
            for _ in range(50):
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            the_loop().call_at(at, done.append, name)

        async with asyncio.TaskGroup() as group:
            group.create_task(work("before", 1))
            group.create_task(work("at", 10))
            group.create_task(work("after", 10.000001))
            await the_loop().reach(10)
            assert (now(), the_loop().elapsed_us) == (10.0, 10_000_000)
            return list(done)

    assert run(main) == ["before", "at"]


def test_barriers_are_served_by_instant_and_then_in_the_order_of_the_calls() -> None:
    async def main() -> list[str]:
        served: list[str] = []

        async def wait(name: str, seconds: float) -> None:
            await the_loop().reach(seconds)
            served.append(f"{name}@{now():g}")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            served.append(f"{name} went on")

        async with asyncio.TaskGroup() as group:
            for name, seconds in (("late", 20), ("first", 10), ("second", 10), ("past", -5)):
                group.create_task(wait(name, seconds))
        return served

    assert run(main) == [
        "past@0", "past went on", "first@10", "first went on", "second@10", "second went on", "late@20",
        "late went on",
    ]  # fmt: skip


def test_settle_lets_everything_finish_but_time_stand() -> None:
    async def main() -> tuple[float, list[int]]:
        done: list[int] = []

        async def work() -> None:
            await asyncio.to_thread(slow, 0.005)
            done.append(1)
            await asyncio.sleep(0.000001)
            done.append(2)

        task = asyncio.create_task(work())
        await the_loop().settle()
        reached = now(), list(done)
        await task
        return reached

    assert run(main) == (0.0, [1])


def test_a_barrier_that_was_given_up_does_not_draw_the_clock() -> None:
    async def main() -> list[float]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await the_loop().reach(10)
        jumps: list[float] = []
        the_loop().on_jump.append(lambda: jumps.append(now()))
        await asyncio.sleep(10)
        return jumps

    assert run(main) == [15.0]


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_reach_refuses_what_is_no_instant(seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ConfigError, match="finite"):
            await the_loop().reach(seconds)

    run(main)


# --- deadlock


def test_nothing_scheduled_and_nothing_running_says_who_waits_and_where() -> None:
    gate_line = test_nothing_scheduled_and_nothing_running_says_who_waits_and_where.__code__.co_firstlineno + 5

    async def helper(gate: asyncio.Event) -> None:
        async with asyncio.timeout(None):
            await gate.wait()  # the line

    async def main() -> None:
        await asyncio.create_task(helper(asyncio.Event()), name="the helper")

    with pytest.raises(Deadlock, match="nothing is scheduled") as caught:
        run_impatient(main)
    assert f"the helper: {__file__}:{gate_line} in helper: await gate.wait()  # the line" in str(caught.value)
    assert 'name="the helper")' in str(caught.value)
    assert "loop.watch(" in str(caught.value)
    assert isinstance(caught.value, AsyncschedError)


def test_a_timer_at_infinity_is_none() -> None:
    with pytest.raises(Deadlock):
        run_impatient(lambda: asyncio.sleep(math.inf))


def test_a_loop_without_any_task_is_a_deadlock_too() -> None:
    loop = VirtualLoop(deadlock_after=0.01)
    with pytest.raises(Deadlock, match="no task"):
        loop.run_forever()
    loop.close()


def test_the_loop_goes_on_after_a_deadlock() -> None:
    cleaned = []

    async def main() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(5)
            cleaned.append(now())

    with pytest.raises(Deadlock):
        run_impatient(main)
    assert cleaned == [5.0]


def test_a_thread_of_the_users_own_may_still_wake_it_within_the_grace() -> None:
    async def main() -> None:
        woken = asyncio.Event()
        thread = threading.Timer(0.03, lambda: loop.call_soon_threadsafe(woken.set))
        loop = the_loop()
        thread.start()
        await woken.wait()
        thread.join()

    run(main)


# --- the real world


def test_a_socket_is_waited_for_when_there_is_no_timer() -> None:
    async def main() -> bytes:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            thread = threading.Timer(0.03, theirs.send, [b"late"])
            thread.start()
            received = await the_loop().sock_recv(ours, 10)
            thread.join()
            return received

    with asyncio.Runner(loop_factory=lambda: VirtualLoop(deadlock_after=0.001)) as runner:
        assert runner.run(main()) == b"late"


def test_what_a_socket_has_ready_comes_before_a_jump_and_what_it_may_have_later_does_not() -> None:
    async def main() -> list[float]:
        ours, theirs = socket.socketpair()
        heard: list[float] = []
        with ours, theirs:
            the_loop().add_reader(ours, lambda: heard.append(len(ours.recv(10)) + now()))
            theirs.send(b"x")
            await asyncio.sleep(60)
            await asyncio.sleep(60)
            the_loop().remove_reader(ours)
        return heard

    assert run(main) == [1.0]


async def read_child(*options: int | None) -> float:
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-S", "-c", "import time; time.sleep(0.03)", stdout=options[0]
    )
    assert await child.wait() == 0
    return now()


@pytest.mark.parametrize("stdout", [None, asyncio.subprocess.PIPE], ids=["no pipe", "pipe"])
def test_a_child_process_is_waited_for_when_there_is_no_timer(stdout: int | None) -> None:
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(deadlock_after=0.001)) as runner:
        assert runner.run(read_child(stdout)) == 0.0


# --- the loop as a loop


def test_debug_mode_works_and_checks_what_asyncio_checks() -> None:
    async def main() -> float:
        with pytest.raises(TypeError, match="coroutines cannot be used with call_at"):
            the_loop().call_at(1, main)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match="Non-thread-safe"):
            await asyncio.to_thread(the_loop().call_later, 1, print)
        await asyncio.sleep(60)
        return now()

    assert run(main, debug=True) == 60.0


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
def test_eager_tasks_work() -> None:
    async def main() -> list[str]:
        the_loop().set_task_factory(asyncio.eager_task_factory)
        seen: list[str] = []

        async def work() -> None:
            seen.append("eager")
            await asyncio.sleep(5)
            seen.append(f"at {now():g}")

        task = asyncio.create_task(work())
        seen.append("created")
        await the_loop().reach(5)
        assert task.done()
        return seen

    assert run(main) == ["eager", "created", "at 5"]


def test_a_closed_loop_leaves_nothing_and_takes_nothing() -> None:
    def open_files() -> int:
        return len(list(Path("/proc/self/fd").iterdir())) if sys.platform == "linux" else 0

    async def main() -> VirtualLoop:
        await asyncio.to_thread(slow, 0)
        await anyio.to_thread.run_sync(slow, 0)
        the_loop().call_later(5, print)
        return the_loop()

    gc.collect()
    files, threads = open_files(), threading.active_count()
    loop = run(main)
    deadline = time.monotonic() + 30
    while threading.active_count() > threads and time.monotonic() < deadline:
        time.sleep(0.001)
    assert (open_files(), threading.active_count()) == (files, threads)
    assert loop.is_closed()
    assert not loop._timers
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_later(1, print)


def test_a_thread_that_ends_after_its_loop_does_so_quietly(caplog: pytest.LogCaptureFixture) -> None:
    loop, go = VirtualLoop(), threading.Event()
    with ThreadPoolExecutor(1) as pool:

        async def main() -> None:
            loop.run_in_executor(pool, go.wait)

        loop.run_until_complete(main())
        loop.close()
        go.set()
    assert not caplog.records


def test_run_takes_a_function_or_a_coroutine_and_cancels_what_is_left() -> None:
    cancelled = []

    async def forever() -> None:
        try:
            await asyncio.sleep(YEAR)
        except asyncio.CancelledError:
            cancelled.append(now())
            raise

    async def main() -> str:
        task = asyncio.create_task(forever())
        await asyncio.sleep(1)
        return f"done, {task.done()}"

    assert run(main) == run(main()) == "done, False"
    assert cancelled == [1.0, 1.0]

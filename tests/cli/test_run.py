"""``asyncsched run``: what is told, in this process; and the program itself, with real signals."""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from asyncsched import Registry, Retry, Scheduler
from asyncsched.cli._run import Teller, jump_words, log_to_stderr
from asyncsched.cli._show import Screen

SERVED = """
import asyncio, time
from asyncsched import Registry, Scheduler

registry = Registry()
scheduler = Scheduler(registry=registry, tz="UTC", shutdown_timeout={timeout!r})


@registry.every("1h", immediate=True)
async def quick(): ...


@registry.every("1h", immediate=True)
async def bad(): raise ConnectionError("refused")


@registry.every("1h", immediate=True)
async def slow():
    await asyncio.sleep({slow!r})
"""


async def test_what_happens_is_told_a_line_each(virtual, capsys: pytest.CaptureFixture[str]) -> None:
    registry = Registry()

    @registry.every("10s", id="app:fetch")
    async def fetch() -> None: ...

    @registry.every("15s", retry=Retry(attempts=2, wait="1s"), id="app:bad")
    async def bad() -> None:
        raise ConnectionError("refused\nby peer")

    @registry.task(id="app:mail")
    async def mail() -> None: ...

    scheduler = Scheduler(registry=registry, tz="Europe/Berlin")
    teller = Teller(Screen(), scheduler, "Europe/Berlin")
    async with virtual(scheduler, at="2026-11-20 10:00", tz="Europe/Berlin") as sched, teller.companion(scheduler):
        await sched.advance("20s")
    assert capsys.readouterr().out.splitlines() == [
        "asyncsched 0.1.0  memory  3 tasks",
        "  next  fetch  in 10 s",
        "  next  bad    in 15 s",
        "10:00:10  SUCCESS  fetch  0 ms",
        "10:00:15  RETRY    bad    attempt 1 failed, next in 1 s  ConnectionError: refused",
        "10:00:16  FAILED   bad    0 ms  attempt 2  ConnectionError: refused",
        "10:00:20  SUCCESS  fetch  0 ms",
    ]


async def test_a_jump_and_what_was_missed_is_told(virtual, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = Scheduler(registry=Registry(), tz="UTC")

    @scheduler.every("10m", id="a", missed="skip")
    async def a() -> None: ...

    @scheduler.every("10m", id="b")
    async def b() -> None: ...

    Teller(Screen(), scheduler, "UTC")
    async with virtual(scheduler, at="2026-11-20 10:00", tz="UTC") as sched:
        await sched.jump("65m")
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == [
        "11:05:00  CLOCK    jumped 1h5m forward: it was set, or the machine slept",
        *["11:05:00  SKIPPED  a  missed"] * 6,
        "11:05:00  SUCCESS  b  0 ms  for 6 fires",
    ]


async def test_what_never_fires_is_told(virtual, capsys: pytest.CaptureFixture[str]) -> None:
    scheduler = Scheduler(registry=Registry(), tz="UTC")

    @scheduler.cron("0 0 0 1 1 * 2020", id="over")
    async def over() -> None: ...

    teller = Teller(Screen(), scheduler, "UTC")
    async with virtual(scheduler, at="2026-11-20 10:00", tz="UTC"), teller.companion(scheduler):
        pass
    assert capsys.readouterr().out.splitlines() == [
        "asyncsched 0.1.0  memory  1 task",
        "  never over  its trigger has no instants left",
    ]


def test_a_clock_that_was_set_back_is_told() -> None:
    assert jump_words(timedelta(hours=-1)) == "set back by 1h: nothing fires twice"


def test_a_program_that_logs_keeps_its_own_ways() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    assert before[0], "pytest has its handlers there"
    log_to_stderr()
    assert (root.handlers, root.level) == before


async def test_companions_are_entered_once_it_has_started_and_left_once_it_has_drained() -> None:
    seen = []

    @asynccontextmanager
    async def companion(scheduler: Scheduler) -> AsyncIterator[None]:
        seen.append(scheduler.running)
        signal.raise_signal(signal.SIGINT)
        yield
        seen.append(scheduler.running)

    await Scheduler(registry=Registry(), tz="UTC").serve(companion)
    assert seen == [True, False]


def read_until(stream, word: str) -> list[str]:
    lines = []
    for line in stream:
        lines.append(line.rstrip())
        if word in line:
            return lines
    raise AssertionError(f"{word!r} never came: {lines}")


def read_rest(process) -> tuple[str, str]:
    """What is still said until the end. Not ``communicate``, which loses the lines that were read ahead."""
    rest, said = process.stdout.read(), process.stderr.read()
    process.wait(20)
    return rest, said


@pytest.fixture
def served(here, program) -> Callable[..., object]:
    def start(**options: object):
        (here / "served.py").write_text(SERVED.format(**{"timeout": "30s", "slow": 0.5} | options))
        return program("run", "served:scheduler")

    return start


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_program_serves_until_a_signal_and_drains(served, number: int) -> None:
    process = served()
    begin = read_until(process.stdout, "SUCCESS")
    assert begin[0] == "asyncsched 0.1.0  memory  3 tasks"
    assert begin[1].startswith("  next  quick  in ")
    process.send_signal(number)
    rest, said = read_rest(process)
    assert "draining: 1 run left (slow); again to force" in rest
    assert "SUCCESS  slow" in rest
    assert rest.splitlines()[-1] == "drained: 1 run finished"
    assert process.returncode == 0
    assert any(
        line.endswith("ConnectionError: refused") and "FAILED   bad" in line for line in [*begin, *rest.splitlines()]
    )
    assert "Traceback (most recent call last)" in said
    assert "\x1b" not in "".join(begin) + rest + said


def test_runs_that_outlast_the_drain_are_cancelled_with_their_own_exit_code(served) -> None:
    process = served(slow=600, timeout="100ms")
    read_until(process.stdout, "SUCCESS")
    process.send_signal(signal.SIGTERM)
    rest, _said = read_rest(process)
    assert rest.splitlines()[-1] == "drained: 1 cancelled, out of time (slow)"
    assert process.returncode == 75


def test_a_second_signal_forces(served) -> None:
    process = served(slow=600)
    read_until(process.stdout, "SUCCESS")
    process.send_signal(signal.SIGINT)
    read_until(process.stdout, "draining")
    process.send_signal(signal.SIGTERM)
    read_rest(process)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_reader_that_goes_away_does_not_end_the_serving(served) -> None:
    process = served()
    process.stdout.readline()
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    said = process.stderr.read()
    assert process.wait(20) == 0
    assert "BrokenPipe" not in said

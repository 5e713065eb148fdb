"""What is known of the runs of a task one by one, where its policy must know that."""

from __future__ import annotations

from typing import Any

import pytest

from asyncsched._engine.bus import Events
from asyncsched._engine.ledger import Ledger, keeps_ledger, still_later
from asyncsched._engine.timer import Timer
from asyncsched.clock import Alarm, Clock
from asyncsched.events import RunWarning
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.run import Run, RunStatus, Settled

SECOND = 1_000_000
START = 1_767_225_600 * SECOND


class Silent:
    """An alarm that nobody hears."""

    def set(self, due_us: int | None) -> None: ...

    def close(self) -> None: ...


class Still(Clock):
    """A clock that is moved by hand."""

    passed_us = 0

    def now_us(self) -> int:
        return START + self.passed_us

    def steady_us(self) -> int:
        return self.passed_us

    def alarm(self, ring: Any) -> Alarm:
        return Silent()


class Desk:
    """A ledger, its clock, and what it tells."""

    def __init__(self, **options: Any) -> None:
        self.clock, self.told = Still(), list[tuple[str, str, bool]]()
        bus = Events()
        bus.on({RunWarning}, self._note)
        self.timer = Timer(self.clock, lambda: None, lambda _by_us: None)
        self.ledger = Ledger(Policy.of(options), self.timer, bus, self.clock.now_us)

    def _note(self, event: Any) -> None:
        self.told.append((type(event).__name__, event.run.id, event.over))

    def after(self, seconds: int) -> None:
        """Let time pass, and ring what is due."""
        self.clock.passed_us += seconds * SECOND
        for wakeup in self.timer.take_due(self.clock.now_us(), 99):
            wakeup.ring()


def a_run(name: str = "r", due_s: int = 0) -> Run[Any]:
    return Run(name, "t", START, START + due_s * SECOND)


def ended(run: Run[Any], status: RunStatus) -> Run[Any]:
    if run.status is RunStatus.PENDING:
        run.start("n1", START)
    run.apply(Settled(status, START))
    return run


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, False),
        ({"overlap": "allow", "expires": "1s", "timeout": "1s"}, False),
        ({"overlap": "queue_one"}, True),
        ({"overlap": "cancel_previous"}, True),
        ({"warn_not_started": "1s"}, True),
        ({"warn_longer": "1s"}, True),
        ({"warn_failures": 1}, True),
    ],
)
def test_only_who_needs_a_ledger_has_one(options: dict[str, Any], kept: bool) -> None:
    assert keeps_ledger(Policy.of(options)) is kept
    assert keeps_ledger(DEFAULT_POLICY) is False


def test_who_is_on_the_way_is_told_from_who_waits_for_his_time() -> None:
    ledger = Desk(overlap="queue_all").ledger
    running, waiting, later = a_run("running"), a_run("waiting"), a_run("later", due_s=60)
    ledger.made([running, waiting, later])
    running.start("n1", START)
    assert ledger.on_their_way(START) == (1, 1)
    assert ledger.due_ids(START) == ["running", "waiting"]
    assert ledger.on_their_way(START + 60 * SECOND) == (1, 2)
    assert still_later([running, waiting, later], START) == [later]
    # Between two attempts it is as if it were running, however far the next one is.
    running.apply(Settled(RunStatus.PENDING, START, due_us=START + 999 * SECOND, error=OSError()))
    assert ledger.on_their_way(START) == (1, 1)
    ledger.ended(ended(waiting, RunStatus.SUCCESS))
    assert ledger.on_their_way(START) == (1, 0)


def test_a_run_whose_time_was_moved_is_late_from_there() -> None:
    desk = Desk(warn_not_started="5s")
    run = a_run()
    desk.ledger.made([run])
    run.due_us += 10 * SECOND
    desk.after(5)
    assert desk.told == []
    desk.after(10)
    assert desk.told == [("RunLate", "r", False)]


def test_each_warning_is_told_once_and_its_end_once() -> None:
    desk = Desk(warn_not_started="5s", warn_longer="10s")
    run, quick = a_run(), a_run("quick")
    desk.ledger.made([run, quick])
    quick.start("n1", START)
    desk.ledger.started(quick)
    desk.ledger.ended(ended(quick, RunStatus.SUCCESS))
    desk.after(6)
    run.start("n1", desk.clock.now_us())
    desk.ledger.started(run)
    desk.after(11)
    desk.ledger.ended(ended(run, RunStatus.CANCELLED))
    desk.after(99)
    assert desk.told == [
        ("RunLate", "r", False),
        ("RunLate", "r", True),
        ("RunLong", "r", False),
        ("RunLong", "r", True),
    ]


def test_failures_in_a_row_are_known_from_before_and_a_cancelled_run_is_neither() -> None:
    desk = Desk(warn_failures=3)
    newest_first = [RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.FAILED, RunStatus.SUCCESS, RunStatus.FAILED]
    desk.ledger.recall(ended(a_run(), status) for status in newest_first)
    assert desk.ledger.failures == 2
    desk.ledger.ended(ended(a_run("c"), RunStatus.CANCELLED))
    assert desk.told == []
    desk.ledger.ended(ended(a_run("f"), RunStatus.FAILED))
    desk.ledger.ended(ended(a_run("g"), RunStatus.FAILED))
    desk.ledger.ended(ended(a_run("s"), RunStatus.SUCCESS))
    assert desk.told == [("TaskFailing", "f", False), ("TaskFailing", "s", True)]


def test_nothing_is_told_after_it_is_closed() -> None:
    desk = Desk(warn_not_started="5s")
    desk.ledger.made([a_run()])
    desk.ledger.close()
    desk.after(99)
    assert desk.told == []

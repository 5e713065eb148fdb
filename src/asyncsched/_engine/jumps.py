"""What a clock that jumps means for the runs under way."""

from __future__ import annotations

from datetime import timedelta

from asyncsched._engine.bus import Events, warn
from asyncsched._engine.living import Living
from asyncsched._engine.timer import Timer
from asyncsched.clock import Clock
from asyncsched.events import ClockJumped
from asyncsched.stores import Store


def follow_jump(by_us: int, living: Living, timer: Timer, bus: Events, clock: Clock, store: Store) -> None:
    """Tell that ``clock`` has jumped, and let what counts from an instant in its past jump with it."""
    by = timedelta(microseconds=by_us)
    how = "forward: it was set, or the machine slept" if by_us > 0 else "back: it was set"
    warn("the clock jumped by %s, %s", by, how)
    for run in living.runs.values():
        # A timeout is time that passes for the run, whatever the clock shows.
        if run.entry and run.due_us is not None:
            timer.set(run, run.due_us + by_us)
        if run.armed.policy.timed and run.run.first_us is not None:
            run.run.first_us += by_us
    if by_us < 0:
        store.clock_set_back(-by_us)
    bus.tell(ClockJumped(at_us=clock.now_us(), by=by))

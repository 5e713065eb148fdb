"""From due tasks to runs: decide by pure functions, write once, re-arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.living import ArmedTask, Living
from asyncsched._engine.timer import Timer
from asyncsched.clock import SECOND_US
from asyncsched.errors import TriggerError
from asyncsched.events import FireSkipped, TaskBroken
from asyncsched.ids import RunIds
from asyncsched.policy import LATE_US, Due, Overdue, Planned, due_fires, overlap_reason
from asyncsched.run import Run, RunStatus, SkipReason
from asyncsched.stores import FireOrder, Store
from asyncsched.triggers import Every, Never, Trigger

# So many overdue fires of one task are counted at once: about 10 ms of work between two turns of the loop.
_STEPS = 5_000


class Firing:
    """Turns the tasks that have rung into runs and recorded skips."""

    def __init__(
        self,
        living: Living,
        timer: Timer,
        store: Store,
        bus: Events,
        ids: RunIds,
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._bus = bus
        self._ids = ids
        self.standing_by = False
        """Another process of the host fires: no task rings here."""
        self._others_until_us: int | None = None

    def take_over(self, now_us: int) -> None:
        """Let tasks ring from here on: their fires up to ``now_us`` were those of another process."""
        self.standing_by = False
        self._others_until_us = now_us

    def arm(self, armed: ArmedTask) -> None:
        """Let the task ring at its watermark."""
        if armed.next_us is None or self.standing_by:
            self._timer.drop(armed)
        else:
            self._timer.set(armed, armed.next_us, -armed.policy.priority)

    async def fire(self, now_us: int) -> None:
        """Make the runs and skip records of every task that has rung."""
        rung = self._living.due[:]
        self._living.due.clear()
        orders = []
        for armed in rung:
            try:
                order = self._decide(armed, now_us)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                armed.overdue = None
                self.broken(armed.task.id, now_us, error)
            else:
                if order is not None:
                    orders.append((armed, order))
        try:
            won = await self._store.fire([order for _armed, order in orders])
        except BaseException:
            # Nothing was written: the same fires are due again when the engine comes back to them.
            for armed, _order in orders:
                self.arm(armed)
            raise
        lost = []
        for armed, order in orders:
            if order.task in won:
                self._won(armed, order, now_us)
            else:
                lost.append(armed.task.id)
        try:
            await self._read_again(lost)
        except BaseException:
            # Asked again when they have lost again.
            for task_id in lost:
                self.arm(self._living.tasks[task_id])
            raise

    async def completed(self, armed: ArmedTask, now_us: int) -> None:
        """Re-arm a task whose interval counts from the completion of its run."""
        next_us = _after_completion(armed, now_us)
        if await self._store.fire([FireOrder(armed.task.id, armed.version, None, next_us, (), ())]):
            armed.next_us = next_us
            self.arm(armed)

    def _decide(self, armed: ArmedTask, now_us: int) -> FireOrder | None:
        """What the due fires of one task become; ``None`` if counting them takes another turn."""
        trigger, due_us = armed.trigger, armed.next_us
        if trigger is None or due_us is None or due_us > now_us:
            self.arm(armed)
            return None
        policy = armed.policy
        ordinary = armed.overdue is None and armed.skip_us is None and armed.skip_to_us is None
        if ordinary and policy.anchor == "grid" and self._others_until_us is None and now_us - due_us <= LATE_US:
            next_us = trigger.next_us(due_us)
            if next_us is None or next_us > now_us:
                if armed.live and overlap_reason(policy, armed.live) is not None:
                    return self._order(armed, Due((Planned(due_us),)), next_us, now_us)
                # All in one, as most fires go.
                task = armed.task
                run_id = self._ids.make(now_us)
                run: Run[Any] = Run(run_id, task.id, now_us, due_us, due_us, 1, armed.terms, task.args, task.kwargs)
                return FireOrder(task.id, armed.version, due_us, next_us, (run,), ())
        return self._decide_at_length(armed, trigger, due_us, now_us)

    def _decide_at_length(self, armed: ArmedTask, trigger: Trigger, due_us: int, now_us: int) -> FireOrder | None:
        """The same where more than one fire, a pause, a skip or another anchor may be concerned."""
        if self._others_until_us is not None and due_us <= self._others_until_us:
            armed.overdue = None
            next_us = _later(trigger, self._others_until_us)
            return FireOrder(armed.task.id, armed.version, due_us, next_us, (), ())
        if armed.policy.anchor == "completion":
            trigger = Never()
        if armed.skip_to_us is not None:
            return self._decide_pause(armed, trigger, due_us, now_us)
        if due_us == armed.skip_us:
            return self._order(armed, Due((), (Planned(due_us),)), trigger.next_us(due_us), now_us, SkipReason.SKIPPED)
        if armed.overdue is None:
            next_us = _later(trigger, due_us)
            if now_us - due_us <= LATE_US and (next_us is None or next_us > now_us):
                return self._order(armed, Due((Planned(due_us),)), next_us, now_us)
            armed.overdue = Overdue(trigger, due_us, now_us, armed.policy)
        if not armed.overdue.walk(_STEPS):
            self._timer.set(armed, now_us)
            return None
        overdue, armed.overdue = armed.overdue, None
        return self._order(armed, due_fires(overdue, armed.policy), overdue.next_us, now_us)

    def _decide_pause(self, armed: ArmedTask, trigger: Trigger, due_us: int, now_us: int) -> FireOrder | None:
        """Record the fires that fell into a pause that is over."""
        assert armed.skip_to_us is not None
        if due_us > armed.skip_to_us:
            armed.skip_to_us = None
            return self._decide(armed, now_us)
        overdue = armed.overdue = armed.overdue or Overdue(trigger, due_us, armed.skip_to_us, armed.policy)
        if not overdue.walk(_STEPS):
            self._timer.set(armed, now_us)
            return None
        armed.overdue = armed.skip_to_us = None
        return self._order(armed, Due((), overdue.records()), overdue.next_us, now_us, SkipReason.PAUSED)

    def _order(
        self,
        armed: ArmedTask,
        due: Due,
        next_us: int | None,
        now_us: int,
        why_skipped: SkipReason = SkipReason.MISSED,
    ) -> FireOrder:
        policy, live = armed.policy, armed.live
        runs = []
        skips = [self._skip(armed, planned, why_skipped, now_us) for planned in due.skips]
        for planned in due.runs:
            # Runs that wait for one another do not overlap.
            reason = None if due.one_by_one else overlap_reason(policy, live)
            if reason is None:
                runs.append(self._run(armed, planned, now_us))
                live += 1
            else:
                skips.append(self._skip(armed, planned, reason, now_us))
        if policy.anchor == "completion" and not live:
            next_us = _after_completion(armed, now_us)
        return FireOrder(armed.task.id, armed.version, armed.next_us, next_us, runs, skips)

    def _run(self, armed: ArmedTask, planned: Planned, now_us: int) -> Run[Any]:
        task = armed.task
        at_us, stands_for = planned
        run_id = self._ids.make(now_us)
        return Run(run_id, task.id, now_us, at_us, at_us, stands_for, armed.terms, task.args, task.kwargs)

    def _skip(self, armed: ArmedTask, planned: Planned, reason: SkipReason, now_us: int) -> Run[Any]:
        run = self._run(armed, planned, now_us)
        run.become(RunStatus.SKIPPED)
        run.reason = reason
        run.finished_us = now_us
        return run

    def _won(self, armed: ArmedTask, order: FireOrder, now_us: int) -> None:
        task_id, _version, _was_us, armed.next_us, runs, skips = order
        if runs:
            armed.live += len(runs)
            armed.newest = runs[-1]
        if self._living.tasks.get(task_id) is armed:
            if armed.next_us is None or self.standing_by:
                self.arm(armed)
            else:
                self._timer.set(armed, armed.next_us, -armed.policy.priority)
        for run in runs:
            if now_us - run.due_us > LATE_US:
                late_s = (now_us - run.due_us) / SECOND_US
                warn("task %s is %.3f s late; its run stands for %d fire(s)", run.task, late_s, run.stands_for)
        for run in skips:
            warn("task %s: %d fire(s) skipped: %s", run.task, run.stands_for, run.reason)
            self._bus.tell(FireSkipped(at_us=now_us, task=run.task, run=run))

    async def _read_again(self, tasks: Sequence[str]) -> None:
        for standing in await self._store.standings(tasks) if tasks else ():
            armed = self._living.tasks.get(standing.task)
            if armed is not None:
                armed.stand(standing)
                self.arm(armed)

    def broken(self, task: str, now_us: int, error: BaseException) -> None:
        """Tell that the trigger of ``task`` raised, so that it does not fire until it is replaced."""
        complain("task %s fires no more, its trigger raised", task, error=error)
        self._bus.tell(TaskBroken(at_us=now_us, task=task, error=error))


def _later(trigger: Trigger, at_us: int) -> int | None:
    next_us = trigger.next_us(at_us)
    if next_us is not None and next_us <= at_us:
        raise TriggerError(f"{trigger} is no trigger: next_after({at_us} us) gave {next_us} us, not later")
    return next_us


def _after_completion(armed: ArmedTask, ended_us: int) -> int:
    """When a task whose interval counts from completions fires next."""
    assert isinstance(armed.trigger, Every)
    _start_us, period_us = armed.trigger.grid_us
    return ended_us + period_us

"""From due tasks to runs: decide by pure functions, write once, re-arm."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from asyncsched._engine.alongside import Alongside
from asyncsched._engine.bus import Events, complain, warn
from asyncsched._engine.flows import Flows
from asyncsched._engine.living import ArmedTask, Living
from asyncsched._engine.timer import Timer
from asyncsched.blackout import blacked_out
from asyncsched.clock import SECOND_US
from asyncsched.errors import TriggerError
from asyncsched.events import FireSkipped, TaskBroken
from asyncsched.fires import LATE_US, Due, Overdue, Planned, due_fires, exhausted, first_within
from asyncsched.graph import Place
from asyncsched.ids import RunIds
from asyncsched.overlap import overlap_verdict
from asyncsched.run import Run, RunStatus, SkipReason
from asyncsched.stores import FireOrder, Met, Standing, Store
from asyncsched.triggers import Between, Every, Never, Trigger

# So many overdue fires of one task are counted at once: about 10 ms of work between two turns of the loop.
_STEPS = 5_000
_ALONE = Met(0, 1)
_OVERTAKEN = "its task fired again, and runs one at a time: overlap='cancel_previous'"


class Firing:
    """Turns the tasks that have rung into runs and recorded skips.

    cancel: stops the runs of these ids, for this reason.
    """

    def __init__(
        self,
        living: Living,
        timer: Timer,
        store: Store,
        bus: Events,
        ids: RunIds,
        cancel: Callable[[Collection[str], str], Awaitable[object]],
    ) -> None:
        self._living = living
        self._timer = timer
        self._store = store
        self._bus = bus
        self._ids = ids
        self._cancel = cancel
        self.flows: Flows
        self.follow: Callable[[ArmedTask, Standing], None]
        """Called with where a task stands whose fire has lost."""
        self.doubt: Callable[[], None]
        self._overtaken: dict[str, list[str]] = {}
        """The runs that are cancelled for a new one, by task; as decided, whoever fires."""
        self.standing_by = False
        """Another process of the host fires: no task rings here."""
        self._others_until_us: int | None = None
        self._shared = store.shared
        self._alongside = Alongside(store)
        self._usual = True
        """Nothing of before matters to fires that come in time."""

    def take_over(self, now_us: int) -> None:
        """Let tasks ring from here on: their fires up to ``now_us`` were those of another process."""
        self.standing_by = False
        self._others_until_us = now_us
        self._usual = False

    def arm(self, armed: ArmedTask) -> None:
        """Let the task ring at its watermark; not one that is paused, as may be known only since its fire has lost."""
        if armed.next_us is None or armed.paused_until_us is not None or self.standing_by:
            self._timer.drop(armed)
        else:
            due_us = armed.next_us if armed.plain else armed.starts_us(armed.next_us)
            self._timer.set(armed, due_us, -armed.policy.priority)

    async def fire(self, now_us: int) -> None:
        """Make the runs and skip records of every task that has rung."""
        rung = self._living.due[:]
        self._living.due.clear()
        orders: list[tuple[ArmedTask, FireOrder]] = []
        linked: list[tuple[ArmedTask, FireOrder]] = []
        for armed in rung:
            try:
                if armed.place is not None and self._early(armed.place, now_us):
                    self._timer.set(armed, now_us)
                    continue
                order = self._decide(armed, now_us)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                armed.overdue = None
                self.broken(armed.task.id, now_us, error)
            else:
                if order is not None:
                    (orders if armed.place is None else linked).append((armed, order))
        try:
            await self._write(orders, now_us)
            while linked:  # one rank after the other: a fire may wait for what fires with it
                rank = min(_rank(armed) for armed, _order in linked)
                level = [pair for pair in linked if _rank(pair[0]) == rank]
                found = await self.flows.gate(level, now_us)
                linked = [pair for pair in linked if _rank(pair[0]) != rank]
                await self._write([(armed, _after_gate(armed, order, now_us)) for armed, order in found], now_us)
        except BaseException:
            for armed, _order in linked:
                self.arm(armed)
            raise

    async def _write(self, orders: Sequence[tuple[ArmedTask, FireOrder]], now_us: int) -> None:
        """Write what has been decided, and take account of it."""
        try:
            won = await self._store.fire([order for _armed, order in orders])
        except BaseException:
            # Nothing was written: the same fires are due again when the engine comes back to them.
            for armed, _order in orders:
                self.arm(armed)
            raise
        lost = []
        overtaken, self._overtaken = self._overtaken, {}
        for armed, order in orders:
            if order.task in won:
                self._won(armed, order, now_us)
            else:
                lost.append(order)
                overtaken.pop(order.task, None)
        for run_ids in overtaken.values():
            await self._cancel(run_ids, _OVERTAKEN)
        try:
            if lost:
                await self._read_again(lost, now_us)
        except BaseException:
            # Asked again when they have lost again.
            for order in lost:
                if (known := self._living.tasks.get(order.task)) is not None:
                    self.arm(known)
            raise

    async def completed(self, armed: ArmedTask, now_us: int) -> None:
        """Re-arm a task whose interval counts from the completion of its run."""
        next_us = _after_completion(armed, now_us)
        if next_us is None:
            return
        if await self._store.fire([FireOrder(armed.task.id, armed.version, None, next_us, (), ())]):
            armed.next_us = next_us
            self.arm(armed)
            return
        for standing in await self._store.standings([armed.task.id]):  # another node was first
            self.follow(armed, standing)

    def _early(self, place: Place, now_us: int) -> bool:
        """Whether tasks above are due as well, and will ring in a coming turn."""
        above = (self._living.tasks.get(root) for root in place.roots)
        return any(one is not None and one.entry and one.due_us is not None and one.due_us <= now_us for one in above)

    def _decide(self, armed: ArmedTask, now_us: int) -> FireOrder | None:
        """What the due fires of one task become; ``None`` if counting them takes another turn."""
        trigger, due_us = armed.trigger, armed.next_us
        if trigger is None or due_us is None or due_us > now_us:
            self.arm(armed)
            return None
        policy = armed.policy
        ordinary = armed.overdue is None and armed.skip_us is None and armed.skip_to_us is None
        if ordinary and armed.plain and self._usual and now_us - due_us <= LATE_US:
            next_us = trigger.next_us(due_us)
            if next_us is None or next_us > now_us:
                if armed.live and policy.overlap != "allow":
                    return self._order(armed, Due((Planned(due_us),)), next_us, now_us)
                # All in one, as most fires go.
                task = armed.task
                met = _ALONE if self._shared and policy.overlap != "allow" else None
                run_id = self._ids.make(now_us)
                run: Run[Any] = Run(run_id, task.id, now_us, due_us, due_us, 1, armed.terms, task.args, task.kwargs)
                return FireOrder(task.id, armed.version, due_us, next_us, (run,), (), 0, met)
        return self._decide_at_length(armed, trigger, due_us, now_us)

    def _decide_at_length(self, armed: ArmedTask, trigger: Trigger, due_us: int, now_us: int) -> FireOrder | None:
        """The same where more than one fire, a pause, a skip, jitter, a blackout or the like may be concerned."""
        starts_us = armed.starts_us(due_us)
        if starts_us > now_us:
            self.arm(armed)
            return None
        if self._others_until_us is not None and starts_us <= self._others_until_us:
            armed.overdue = None
            next_us = _starting_after(armed, trigger, due_us, self._others_until_us)
            return FireOrder(armed.task.id, armed.version, due_us, next_us, (), ())
        if armed.policy.anchor == "completion":
            trigger = Never()
        if armed.skip_to_us is not None:
            return self._decide_pause(armed, trigger, due_us, now_us)
        if due_us == armed.skip_us:
            return self._order(armed, Due((), (Planned(due_us),)), trigger.next_us(due_us), now_us, SkipReason.SKIPPED)
        if armed.overdue is None:
            next_us = _later(trigger, due_us)
            if now_us - starts_us <= LATE_US and (next_us is None or armed.starts_us(next_us) > now_us):
                planned = (Planned(due_us),)
                dark = blacked_out(armed.policy.blackout, due_us, armed.zone_name)
                return self._order(armed, Due((), dark=planned) if dark else Due(planned), next_us, now_us)
            armed.overdue = Overdue(trigger, due_us, now_us, armed.policy, armed.zone_name, armed.task.id)
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
        armed.overdue = None  # and the pause is over once this has been written
        return self._order(armed, Due((), overdue.records()), overdue.next_us, now_us, SkipReason.PAUSED)

    def _order(
        self,
        armed: ArmedTask,
        due: Due,
        next_us: int | None,
        now_us: int,
        why_skipped: SkipReason = SkipReason.MISSED,
    ) -> FireOrder:
        policy, task_id = armed.policy, armed.task.id
        runs: list[Run[Any]] = []
        skips = [self._skip(armed, planned, why_skipped, now_us) for planned in due.skips]
        if due.dark:
            skips += [self._skip(armed, planned, SkipReason.BLACKOUT, now_us) for planned in due.dark]
            skips.sort(key=lambda skip: skip.scheduled_us or 0)
        running, waiting = self._alongside.of(armed, now_us)
        # Runs that wait for one another do not overlap.
        met = None if due.one_by_one or not due.runs else self._alongside.met(armed, running + waiting)
        for planned in due.runs:
            if exhausted(policy, armed.made + len(runs)):
                break
            verdict = "run" if due.one_by_one else overlap_verdict(policy, running, waiting)
            if verdict == "skip":
                skips.append(self._skip(armed, planned, SkipReason.OVERLAP, now_us))
                continue
            if verdict == "cancel":
                self._overtaken[task_id] = self._alongside.ids(armed, now_us) + [run.id for run in runs]
            runs.append(self._run(armed, planned, now_us))
            waiting += 1
        if exhausted(policy, armed.made + len(runs)):
            next_us = None
        elif policy.anchor == "completion" and not (armed.live or runs):
            next_us = _after_completion(armed, now_us)
        counted = 0 if policy.max_runs is None else len(runs)
        return FireOrder(task_id, armed.version, armed.next_us, next_us, runs, skips, counted, met)

    def _run(self, armed: ArmedTask, planned: Planned, now_us: int) -> Run[Any]:
        task = armed.task
        at_us, stands_for = planned
        run_id = self._ids.make(now_us)
        due_us = at_us if armed.plain else armed.starts_us(at_us)
        return Run(run_id, task.id, now_us, due_us, at_us, stands_for, armed.terms, task.args, task.kwargs)

    def _skip(self, armed: ArmedTask, planned: Planned, reason: SkipReason, now_us: int) -> Run[Any]:
        run = self._run(armed, planned, now_us)
        run.become(RunStatus.SKIPPED)
        run.reason = reason
        run.finished_us = now_us
        return run

    def _won(self, armed: ArmedTask, order: FireOrder, now_us: int) -> None:
        task_id, _version, _was_us, armed.next_us, runs, skips, counted, _met = order
        if not self._usual:
            self._alongside.forget(task_id)
            self._usual = self._others_until_us is None and not self._alongside.said
        if not armed.plain:
            armed.made += counted
            if armed.terms.once is not None:
                runs, merged = _sifted(runs)
                skips = [*skips, *merged]
        if armed.place is not None:
            self.flows.laid([run for run in runs if run.task != task_id or run.status.final])
            runs = [run for run in runs if run.task == task_id]
        if runs:
            armed.live += len(runs)
            armed.newest = runs[-1]
            if armed.ledger is not None:
                armed.ledger.made(runs)
        if self._living.tasks.get(task_id) is armed:
            if armed.next_us is None or self.standing_by or not armed.plain:
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

    async def _read_again(self, lost: Sequence[FireOrder], now_us: int) -> None:
        """Stand where the store says, with what it says is on the way of tasks that stand where they stood."""
        standings = {standing.task: standing for standing in await self._store.standings([one.task for one in lost])}
        hindered = []
        for order in lost:
            standing = standings.get(order.task)
            same = standing is not None and (standing.version, standing.next_us) == (order.version, order.was_us)
            if same:  # perhaps it is not due yet by the store's clock
                self.doubt()
            if same and order.met is not None:
                hindered.append(order.task)
            else:
                self._alongside.forget(order.task)
        await self._alongside.ask(hindered, now_us)
        self._usual = self._others_until_us is None and not self._alongside.said
        for task, standing in standings.items():
            if (armed := self._living.tasks.get(task)) is not None:
                self.follow(armed, standing)

    def broken(self, task: str, now_us: int, error: BaseException) -> None:
        """Tell that the trigger of ``task`` raised, so that it does not fire until it is replaced."""
        self._living.broken[task] = error
        complain("task %s fires no more, its trigger raised", task, error=error)
        self._bus.tell(TaskBroken(at_us=now_us, task=task, error=error))


def _rank(armed: ArmedTask) -> int:
    return 0 if armed.place is None else armed.place.rank


def _after_gate(armed: ArmedTask, order: FireOrder, now_us: int) -> FireOrder:
    """The order with its next fire, where that would have counted from the end of a run that is now a skip."""
    if armed.policy.anchor == "completion" and order.next_us is None and not (order.runs or armed.live):
        return order._replace(next_us=_after_completion(armed, now_us))
    return order


def _sifted(runs: Sequence[Run[Any]]) -> tuple[Sequence[Run[Any]], Sequence[Run[Any]]]:
    """Those of the runs that were written, and those in place of which an earlier one stands."""
    merged = [run for run in runs if run.status is RunStatus.SKIPPED]
    gone = {run.id for run in merged}
    return [run for run in runs if run.flow not in gone] if merged else runs, merged


def _later(trigger: Trigger, at_us: int) -> int | None:
    next_us = trigger.next_us(at_us)
    if next_us is not None and next_us <= at_us:
        raise TriggerError(f"{trigger} is no trigger: next_after({at_us} us) gave {next_us} us, not later")
    return next_us


def _starting_after(armed: ArmedTask, trigger: Trigger, due_us: int, until_us: int) -> int | None:
    """The earliest fire after the one at ``due_us`` that starts, by the jitter, after ``until_us``."""
    at_us = _later(trigger, max(due_us, until_us - armed.policy.jitter_us))  # the others before it start by then
    while at_us is not None and armed.starts_us(at_us) <= until_us:
        at_us = _later(trigger, at_us)
    return at_us


def _after_completion(armed: ArmedTask, ended_us: int) -> int | None:
    """When a task whose interval counts from completions fires next; ``None`` if it does not."""
    trigger = armed.trigger
    every = trigger.trigger if isinstance(trigger, Between) else trigger
    if trigger is None or exhausted(armed.policy, armed.made):
        return None
    assert isinstance(every, Every)
    _start_us, period_us = every.grid_us
    return first_within(trigger, ended_us + period_us)

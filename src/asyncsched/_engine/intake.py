"""Runs that no trigger makes: submitted with arguments, or repeated by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncsched._engine.arming import instant_us
from asyncsched._engine.flows import Flows, ids_of
from asyncsched._engine.living import ArmedTask, Living
from asyncsched._engine.terms import alone, call_terms, common_terms
from asyncsched.clock import to_us
from asyncsched.edges import Edges
from asyncsched.errors import ArgumentsError, ConfigError, MisuseError
from asyncsched.ids import RunIds
from asyncsched.limits import Debounce
from asyncsched.run import Run, RunStatus, Terms
from asyncsched.stores import Store
from asyncsched.submission import Submission
from asyncsched.task import Task
from asyncsched.values import Unstored

_NOW = Submission()
_US = timedelta(microseconds=1)
_LAST_US = to_us(datetime.max.replace(tzinfo=UTC))


class Intake:
    """Writes runs to the store, and has the engine look.

    ``stirred`` is called with them when they can be claimed, and with whether it was called before, as they were on
    their way to the store; with none where others may be claimed.
    """

    def __init__(
        self,
        living: Living,
        store: Store,
        flows: Flows,
        ids: RunIds,
        now_us: Callable[[], int],
        stirred: Callable[[Sequence[Run[Any]], bool], None],
    ) -> None:
        self._living = living
        self._store = store
        self._flows = flows
        self._ids = ids
        self._now_us = now_us
        self._stirred = stirred

    async def submit(
        self,
        task: Task[..., Any],
        calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]],
        how: Submission = _NOW,
        retry_of: str | None = None,
    ) -> list[Run[Any]]:
        """A run of ``task`` for each of these arguments, written at once: new, or the one that stands for its key.

        Raises:
            ArgumentsError: a key cannot be made of the arguments, or the result of an upstream is missing.
            ConfigError: the delay is over after the year 9999.
            MisuseError: this scheduler does not serve the task, or a run among the arguments is not one of its.
        """
        armed = self._living.tasks.get(task.id)
        if armed is None or armed.task is not task:
            cure = "register it with this scheduler's registry, or await scheduler.tasks.add(task)"
            raise MisuseError(f"task {task.id!r} is not one that this scheduler serves: {cure}")
        now_us = self._now_us()
        due_us = _due_us(armed, how, now_us)
        runs = []
        common = common_terms(task, armed.policy, how)
        if retry_of is not None:
            _check_readable(retry_of, calls)
        for args, kwargs in calls:
            terms = self._living.grouped(task, _terms(armed, args, kwargs, how) if common is None else common)
            # A run that may take over from an earlier one waits for whether another one follows.
            wait_us = terms.once.wait_us if isinstance(terms.once, Debounce) else 0
            at_us = max(due_us, now_us + wait_us)
            run: Run[Any] = Run(self._ids.make(now_us), task.id, now_us, at_us, terms=terms, args=args, kwargs=kwargs)
            run.retry_of = retry_of
            runs.append(run)
        if how.idempotency is not None and len(runs) > 1:
            raise MisuseError(f"idempotency_key={how.idempotency.key!r} for {len(runs)} calls: each run needs its own")
        if how.connection is not None:
            return await self._submit_within(how.connection, armed, runs, how)
        if armed.place is not None or how.needs or task.links.asks:
            return await self._submit_linked(armed, runs, how.needs, now_us)
        ahead = self._store.in_order and common is not None and alone(common)
        if ahead:
            self._stirred(runs, False)
        standing = await self._store.submit(runs)
        new = _new(runs, standing)
        if armed.counts:
            armed.take(new, now_us)
        elif new:
            armed.newest = new[-1]
        self._stirred(runs, ahead)
        return standing

    async def _submit_within(
        self, connection: object, armed: ArmedTask, runs: Sequence[Run[Any]], how: Submission
    ) -> list[Run[Any]]:
        """Write runs in the transaction of the caller, who counts them only once it is committed."""
        if armed.place is not None or how.needs or armed.task.links.asks:
            cure = "submit it without connection=, once the transaction has been committed"
            raise MisuseError(f"task {armed.task.id!r} is part of a graph, which no transaction takes in: {cure}")
        if any(isinstance(run.terms.once, Debounce) for run in runs):
            cure = "leave connection= out, or debounce="
            raise MisuseError(f"task {armed.task.id!r} has debounce=, where a submit may move another run: {cure}")
        return await self._store.submit_within(connection, runs)

    async def _submit_linked(
        self, armed: ArmedTask, runs: Sequence[Run[Any]], needs: Mapping[int, tuple[Run[Any], ...]], now_us: int
    ) -> list[Run[Any]]:
        """Write runs that need others, or begin flows."""
        for number, run in enumerate(runs):
            await self._tie(armed, run, needs.get(number, ()))
        flows = [self._flows.lay(armed, run, now_us) if armed.place is not None else [run] for run in runs]
        below = [one for flow in flows for one in flow[1:]]
        if all(run.terms.once is None for run in runs):
            standing = (await self._store.submit([*runs, *below]))[: len(runs)]
        else:  # only where a run is a new one there is anything below it
            standing = await self._store.submit(runs)
            flows = [flow for flow, stands in zip(flows, standing, strict=True) if flow[0].id == stands.id]
            below = [one for flow in flows for one in flow[1:]]
            await self._store.submit(below)
        new = _new(runs, standing)
        self._flows.laid(below)
        armed.take([run for run in new if run.counted], now_us)
        self._flows.submitted(new)
        self._stirred((), False)
        return standing

    async def _tie(self, armed: ArmedTask, run: Run[Any], upstreams: tuple[Run[Any], ...]) -> None:
        """Let a run wait for those among its arguments, and have the results that its parameters ask for."""
        for upstream in upstreams:
            if not upstream.status.final and await self._store.run(upstream.id) is None:
                raise MisuseError(f"{upstream!r} is not a run of this scheduler: await it, and hand over its result")
        asked = await self._asked(armed.task, run)
        if upstreams or asked:
            tied = tuple({one.id: one for one in (*upstreams, *asked)}.values())
            flows = {upstream.flow for upstream in upstreams}
            flow = flows.pop() if len(flows) == 1 and armed.place is None else run.id
            run.edges = Edges(flow, ids_of(tied), "all_success", tied, "hand", bool(upstreams))

    async def _asked(self, task: Task[..., Any], run: Run[Any]) -> tuple[Run[Any], ...]:
        """The runs whose results are for parameters that were not given: each task's last success.

        For a repeated run they are those that it had, as far as they are kept.
        """
        if not task.links.asks:
            return ()
        given = task.signature.bind(run.args, run.kwargs).arguments
        wanted = {asked: parameter for parameter, asked in task.links.asks.items() if parameter not in given}
        found: dict[str, Run[Any]] = {}
        before = None if run.retry_of is None else await self._store.run(run.retry_of)
        for need in () if before is None else before.needs:
            if (kept := await self._store.run(need)) is not None and kept.status is RunStatus.SUCCESS:
                found[kept.task] = kept
        for asked, look in (await self._store.lookback(wanted.keys() - found.keys())).items():
            if look.succeeded is None:
                cure = f"give one, or submit {asked!r}, which it follows"
                raise ArgumentsError(f"argument {wanted[asked]} is the result of {asked!r}, which has none yet: {cure}")
            found[asked] = look.succeeded
        return tuple(found.values())


def _due_us(armed: ArmedTask, how: Submission, now_us: int) -> int:
    """When a run that is submitted so is due.

    Raises:
        ConfigError: after the year 9999.
    """
    if how.at is not None:
        return max(now_us, instant_us(armed, how.at))
    due_us = now_us if how.delay is None else now_us + how.delay // _US
    if due_us > _LAST_US:
        raise ConfigError(f"using(delay={how.delay!r}) would be over after the year 9999: give a shorter one")
    return due_us


def _new(runs: Sequence[Run[Any]], standing: Sequence[Run[Any]]) -> Sequence[Run[Any]]:
    """Those of the runs that were written: earlier ones may stand for others."""
    if standing == runs:
        return runs
    return [run for run, stands in zip(runs, standing, strict=True) if run.id == stands.id]


def _check_readable(run_id: str, calls: Sequence[tuple[tuple[Any, ...], Mapping[str, Any]]]) -> None:
    for args, _kwargs in calls:
        for value in args:
            if isinstance(value, Unstored):
                raise ArgumentsError(f"run {run_id} cannot be repeated: {value.why}")


def _terms(armed: ArmedTask, args: tuple[Any, ...], kwargs: Mapping[str, Any], how: Submission) -> Terms:
    try:
        return call_terms(armed.task, armed.policy, args, kwargs, how)
    except ArgumentsError:
        raise
    except Exception as error:
        raise ArgumentsError(f"task {armed.task.id!r}: no key can be made of these arguments: {error!r}") from error

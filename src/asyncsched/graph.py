"""Dependency graphs: which tasks belong to one flow, and when a run may start for those that it needs. Pure.

The words: a task *needs* its upstreams, and follows them. A *flow* is one run of a root and the runs that come from
it. A *root* is a task whose runs each begin a flow:

* a task that needs nothing;
* a task with a trigger of its own, whatever it needs: that is looked at when it fires, and no flow passes through it;
* a *join*: a task without a trigger whose upstreams belong to the flows of different roots.

Every other task belongs to the flows of the one root that all its upstreams have in common, and runs once in each.

A join has a *side* for each of those roots: the upstreams that belong to it. One flow is ready on its side when
``verdict`` says READY for the side's runs of that flow, so results of two flows of one root never meet. The join runs
once all its sides (with the rules ``any_success`` and ``any_failed``: one of them) have a ready flow that no earlier
run of it has taken, and takes the latest of each side. A flow that is not ready in the end is passed over: the join
waits for the next one, and nothing is skipped. What follows a join belongs to the flow that the join's run begins,
and a task that follows both the join and what is above it is a join again.

A task that is run by hand begins a flow as well: of what is below it, that which needs nothing from elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, NoReturn, assert_never, get_args

from asyncsched.edges import Rule
from asyncsched.errors import ConfigError, DuplicateTask, UnknownTask
from asyncsched.run import RunStatus, SkipReason


@dataclass(frozen=True, slots=True)
class Wait:
    """It depends on upstreams that have not ended."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The run may start."""


@dataclass(frozen=True, slots=True)
class Skip:
    """The run can no longer start."""

    reason: SkipReason


Verdict = Wait | Ready | Skip
WAIT, READY = Wait(), Ready()
_FAILURE, _RULE = Skip(SkipReason.UPSTREAM_FAILED), Skip(SkipReason.RULE)
_DEPENDENCY = Skip(SkipReason.DEPENDENCY)

State = tuple[RunStatus, str | None]
"""Where a run is in its life, and the reason that is recorded with it."""
_NOT_ENDED: State = RunStatus.PENDING, None


def failed(status: RunStatus, reason: str | None) -> bool:
    """Whether a run that ended so is a failure to what needs it: also if it was cancelled, or skipped for one."""
    return (
        status is RunStatus.FAILED
        or status is RunStatus.CANCELLED
        or (status is RunStatus.SKIPPED and reason == SkipReason.UPSTREAM_FAILED)
    )


class Tally(NamedTuple):
    """The upstreams of one run, counted: whoever keeps the counts need not look at all of them at every end.

    waiting: have not ended.
    succeeded: ended with SUCCESS.
    failed: ended, and are a failure as ``failed`` tells.
    skipped: were skipped for a reason other than a failure.
    """

    waiting: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0

    @classmethod
    def of(cls, states: Iterable[State]) -> Tally:
        """The counts of these."""
        waiting = succeeded = failures = skipped = 0
        for status, reason in states:
            if not status.final:
                waiting += 1
            elif status is RunStatus.SUCCESS:
                succeeded += 1
            elif failed(status, reason):
                failures += 1
            else:
                skipped += 1
        return cls(waiting, succeeded, failures, skipped)

    def after(self, status: RunStatus, reason: str | None) -> Tally:
        """The counts once one that was waiting has ended so."""
        _none, succeeded, failures, skipped = Tally.of([(status, reason)])
        return Tally(self.waiting - 1, self.succeeded + succeeded, self.failed + failures, self.skipped + skipped)

    def verdict(self, rule: Rule) -> Verdict:
        """What ``verdict`` says of them."""
        if (rule == "any_success" and self.succeeded) or (rule == "any_failed" and self.failed):
            return READY
        if self.failed and rule in ("all_success", "none_failed"):
            return _FAILURE
        if self.waiting:
            return WAIT
        match rule:
            case "all_success":
                return _RULE if self.skipped else READY
            case "any_success":
                return _FAILURE if self.failed else _RULE
            case "any_failed":
                return _RULE
            case "all_done" | "none_failed":
                return READY
            case _:
                assert_never(rule)


def verdict(rule: Rule, upstreams: Iterable[State]) -> Verdict:
    """What becomes of a run whose upstreams are in these states: as early as nothing to come can change it.

    ============  =======================  =================================  ================================
    rule          READY                    SKIPPED, reason upstream_failed    SKIPPED, reason rule
    ============  =======================  =================================  ================================
    all_success   all succeeded            as soon as one failed              all ended, none failed, one not run
    all_done      all ended
    any_success   as soon as one did       all ended, one failed              all ended, none run
    any_failed    as soon as one did                                          all ended, none failed
    none_failed   all ended, none failed   as soon as one failed
    ============  =======================  =================================  ================================

    *Failed* is FAILED, CANCELLED, or SKIPPED for upstream_failed; *not run* is SKIPPED for any other reason, which
    is nobody's failure. A skip that a failure brought about says so under every rule and passes the failure on: else
    ``none_failed`` below it would run as if all were well. These are the trigger rules of Airflow (one_success and
    one_failed there), with one difference. There ``all_success`` is skipped at once when an upstream was not run,
    so if another one fails it depends on which of the two ended first what becomes of the tasks below. Here it
    waits for the others: the outcome of a flow does not depend on the order of its ends.
    """
    return Tally.of(upstreams).verdict(rule)


class Member(NamedTuple):
    """A task, as its graph sees it.

    needs: the ids of its upstreams.
    own_trigger: whether it has a trigger of its own.
    """

    id: str
    needs: Sequence[str] = ()
    rule: Rule = "all_success"
    own_trigger: bool = False


class Place(NamedTuple):
    """Where a task stands in the graph.

    gate: its upstreams, if it has a trigger of its own, too.
    roots: of a gate: the tasks above it that have a trigger.
    joins: the joins that have it among their upstreams.
    rank: its distance from the tasks that need nothing, the longest way.
    """

    gate: tuple[str, ...]
    roots: tuple[str, ...]
    joins: tuple[str, ...]
    rank: int


class Graph:
    """The tasks and which of them need which. It does not change: another set of tasks is another graph."""

    def __init__(self, members: Iterable[Member] = ()) -> None:
        """Take the members, in any order.

        Raises:
            ConfigError: an unknown id, rule or cycle; the message names it. Also an upstream named twice.
            DuplicateTask: two members with one id.
        """
        self._members: dict[str, Member] = {}
        for member in members:
            if member.id in self._members:
                raise DuplicateTask(f"two tasks have the id {member.id!r}: give one another id=")
            self._members[member.id] = member
        self._followers: dict[str, list[str]] = {}
        for member in self._members.values():
            self._link(member)
        self._order: list[str] = []
        self._sides = self._sort()

    def _link(self, member: Member) -> None:
        if member.rule not in get_args(Rule):
            raise ConfigError(f"task {member.id!r} has rule={member.rule!r}: one of {', '.join(get_args(Rule))}")
        seen = set()
        for need in member.needs:
            if need == member.id:
                raise ConfigError(f"task {need!r} depends on itself: {need} -> {need}")
            if need in seen:
                raise ConfigError(f"task {member.id!r} depends on {need!r} twice: name it once")
            if need not in self._members:
                _refuse_unknown(member.id, need, list(self._members))
            seen.add(need)
            self._followers.setdefault(need, []).append(member.id)

    def _sort(self) -> dict[str, dict[str, list[str]]]:
        """The sides of each member that has upstreams and no trigger, upstreams before what needs them."""
        missing = {member.id: len(member.needs) for member in self._members.values() if member.needs}
        order = [each for each in self._members if each not in missing]
        heads: dict[str, str] = {}  # the root that each member's flow begins with
        found: dict[str, dict[str, list[str]]] = {}
        for each in order:  # grows as it goes
            member = self._members[each]
            heads[each] = each
            if member.needs and not member.own_trigger:
                sides = found[each] = {}
                for need in member.needs:
                    sides.setdefault(heads[need], []).append(need)
                if len(sides) == 1:
                    (heads[each],) = sides
            for follower in self._followers.get(each, ()):
                missing[follower] -= 1
                if not missing[follower]:
                    order.append(follower)
        if len(order) < len(self._members):
            self._refuse_cycle(set(self._members).difference(order))
        self._order = order
        return found

    def _refuse_cycle(self, left: set[str]) -> NoReturn:
        """Name one cycle: each of those ``left`` needs another of them, so going up from any ends in one."""
        path: dict[str, None] = {}
        at = next(each for each in self._members if each in left)
        while at not in path:
            path[at] = None
            at = next(need for need in self._members[at].needs if need in left)
        cycle = list(path)[list(path).index(at) :][::-1]
        inside = set(cycle)
        first = next(each for each in self._members if each in inside)
        turn = cycle.index(first)
        shown = " -> ".join([*cycle[turn:], *cycle[:turn], first])
        raise ConfigError(f"these tasks wait for each other, each for the one before it: {shown}")

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __getitem__(self, task_id: str) -> Member:
        try:
            return self._members[task_id]
        except KeyError:
            raise UnknownTask(f"no task in the graph has the id {task_id!r}") from None

    @property
    def order(self) -> Sequence[str]:
        """All members, upstreams before what needs them."""
        return self._order

    def needs(self, task_id: str) -> Sequence[str]:
        """Its upstreams, as they were given.

        Raises:
            UnknownTask: no member has this id; so for all that take one.
        """
        return self[task_id].needs

    def followers(self, task_id: str) -> Sequence[str]:
        """The tasks that need it themselves, not by way of others; those with their own trigger and joins too."""
        return self._followers.get(self[task_id].id, ())

    def places(self) -> dict[str, Place]:
        """Where each member stands."""
        found: dict[str, Place] = {}
        for each in self._order:
            needs, gate = self._members[each].needs, self._members[each].own_trigger and self._members[each].needs
            joins = tuple(follower for follower in self.followers(each) if self.is_join(follower))
            rank = 1 + max((found[need].rank for need in needs), default=-1)
            roots = tuple(above for above in self.above(each) if self._members[above].own_trigger) if gate else ()
            found[each] = Place(tuple(gate or ()), roots, joins, rank)
        return found

    def above(self, task_id: str) -> list[str]:
        """The tasks that it needs, also by way of others."""
        found = dict.fromkeys(self.needs(task_id))
        reached = list(found)
        for each in reached:  # grows as it goes
            new = [need for need in self._members[each].needs if need not in found]
            found.update(dict.fromkeys(new))
            reached += new
        return reached

    def sides(self, task_id: str) -> Mapping[str, Sequence[str]]:
        """Its upstreams by the root whose flows they belong to; empty for a root that is no join."""
        return self._sides.get(self[task_id].id, {})

    def roots(self, task_id: str) -> frozenset[str]:
        """The roots whose flows reach it: itself if it is one, several if it is a join."""
        return frozenset(self.sides(task_id) or (task_id,))

    def is_join(self, task_id: str) -> bool:
        """Whether its upstreams belong to the flows of different roots."""
        return len(self.sides(task_id)) > 1

    def below(self, start: str) -> list[str]:
        """The tasks that a flow begun by a run of ``start`` consists of besides it, upstreams before what needs them.

        They are those without a trigger of their own all of whose upstreams are ``start`` or among them.
        """
        missing: dict[str, int] = {}
        flow = [self[start].id]
        for each in flow:  # grows as it goes
            for follower in self._followers.get(each, ()):
                member = self._members[follower]
                if member.own_trigger:
                    continue
                missing[follower] = missing.get(follower, len(member.needs)) - 1
                if not missing[follower]:
                    flow.append(follower)
        return flow[1:]


def join_ready(rule: Rule, sides: Iterable[bool]) -> bool:
    """Whether a join runs, given for each side whether it has a ready flow that was not taken yet."""
    return any(sides) if rule in ("any_success", "any_failed") else all(sides)


def latest_ready(rule: Rule, side: Collection[str], flows: Mapping[str, Mapping[str, State]]) -> str | None:
    """The latest flow that is ready on a side of a join; ``None`` if none is.

    Args:
        rule: of the join.
        side: the upstreams that belong to it.
        flows: by id, which grows with time, how those of them ended that have.
    """
    for flow in sorted(flows, reverse=True):
        ended = flows[flow]
        if verdict(rule, [ended.get(upstream, _NOT_ENDED) for upstream in side]) is READY:
            return flow
    return None


def gate_verdict(
    dependency: Literal["ever", "fresh"], since_us: int | None, succeeded_us: Iterable[int | None], *, waiting: bool
) -> Verdict:
    """What becomes of a fire of a task that has both a trigger and upstreams.

    With ``"ever"`` each upstream must have succeeded at some time; what is under way matters only until it has. With
    ``"fresh"`` each must have succeeded anew, and what is under way is waited for, as it may bring newer results.

    Args:
        dependency: the task's option.
        since_us: successes up to this instant are not anew; ``None``: all are.
        succeeded_us: when each upstream succeeded last, ``None`` if it never did.
        waiting: whether runs of upstreams are under way that may still be waited for.
    """
    met = all(
        at_us is not None and (dependency == "ever" or since_us is None or at_us > since_us) for at_us in succeeded_us
    )
    if met and (dependency == "ever" or not waiting):
        return READY
    return WAIT if waiting else _DEPENDENCY


def _refuse_unknown(task_id: str, need: str, known: Sequence[str]) -> NoReturn:
    from difflib import get_close_matches  # half a millisecond to import, and only mistakes need it

    near = [each for each in known if last_part(each) == last_part(need)] or get_close_matches(need, known)
    near = [each for each in near if each != task_id][:3]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "register that task too, or mend the id"
    raise ConfigError(f"task {task_id!r} depends on {need!r}, which is no task's id: {hint}")


def last_part(task_id: str) -> str:
    """What follows the last ``:`` or ``.`` of an id: for a function its own name."""
    return task_id.replace(":", ".").rpartition(".")[2]

"""Why a fire ran or did not run, in words, from the records of its task. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from asyncsched.blackout import blacked_out
from asyncsched.clock import SECOND_US
from asyncsched.duration import format_duration
from asyncsched.evidence import Case, listed
from asyncsched.explanation import Account, WaitsFor
from asyncsched.graph import failed
from asyncsched.overlap import QUEUE_ALL_LIMIT
from asyncsched.phrases import error_words, number_words, wait_words
from asyncsched.policy import Policy
from asyncsched.run import Run, RunStatus, SkipReason
from asyncsched.spread import jittered_us
from asyncsched.waits import waits

_US = timedelta(microseconds=1)
_BACKFILL = "tasks.backfill runs the fires of a past range"


def account(case: Case, run: Run[Any]) -> Account:
    """What became of the run, or of the fires that were skipped."""
    took = run.duration
    late_us = None if run.first_us is None else run.first_us - _instant_us(run)
    waits_for, says, cure = _said(case, run, late_us)
    return Account(
        run=run.id,
        at=case.moment(_instant_us(run)),
        scheduled=run.scheduled_us is not None,
        stands_for=run.stands_for,
        status=run.status,
        says=says,
        reason=run.reason,
        attempt=run.attempt,
        late=None if late_us is None else max(0, late_us) * _US,
        took=took,
        error=None if run.error is None or not run.attempt else error_words(run.error),
        waits_for=waits_for,
        cure=cure,
    )


def _said(case: Case, run: Run[Any], late_us: int | None) -> tuple[WaitsFor | None, str, str | None]:
    """For what it waits, what became of it, and what to do about it."""
    match run.status:
        case RunStatus.PENDING:
            return waits(case, run)
        case RunStatus.RUNNING:
            assert run.started_us is not None
            since = wait_words((case.now_us - run.started_us) * _US)
            return "end", f"running for {since}{_attempt(run)} on {run.node}", None
        case RunStatus.SKIPPED:
            return None, *_skipped(case, run)
        case RunStatus.SUCCESS | RunStatus.FAILED | RunStatus.CANCELLED:
            return None, _ended(case, run, late_us), None


def _ended(case: Case, run: Run[Any], late_us: int | None) -> str:
    parts = []
    if late_us is not None and (run.terms.backfill or not run.needs):
        parts.append("backfilled" if run.terms.backfill else _late(case.policy, run, late_us))
    if run.duration is not None:
        parts.append(f"took {wait_words(run.duration)}{_attempt(run)}")
    else:
        parts.append("had not started")
    if run.stands_for > 1:
        parts.append(f"one run for {number_words(run.stands_for, 'fire')}")
    if run.retry_of is not None:
        parts.append(f"repeats run {run.retry_of}")
    why = error_words(run.error) if run.status is RunStatus.FAILED and run.error is not None else run.reason
    return ", ".join(parts) + (f": {why}" if why else "")


def _late(policy: Policy, run: Run[Any], late_us: int) -> str:
    """How late it started, other than its jitter says, or its delay."""
    spread_us = 0
    if run.scheduled_us is None and run.first_us is not None and run.created_us < run.due_us <= run.first_us:
        late_us = run.first_us - run.due_us
    if run.scheduled_us is not None and policy.jitter_us:
        spread_us = jittered_us(run.task, run.scheduled_us, policy.jitter_us) - run.scheduled_us
    late = "on time" if late_us - spread_us < SECOND_US else f"{wait_words((late_us - spread_us) * _US)} late"
    return late + (f", {wait_words(spread_us * _US)} after its instant by jitter" if spread_us else "")


def _attempt(run: Run[Any]) -> str:
    return "" if run.attempt < 2 else f" in attempt {run.attempt}"


def _instant_us(run: Run[Any]) -> int:
    return run.created_us if run.scheduled_us is None else run.scheduled_us


def _skipped(case: Case, run: Run[Any]) -> tuple[str, str | None]:
    """Why the fires were skipped, and what to do about it."""
    match run.reason:
        case SkipReason.OVERLAP:
            return _overlapped(case, run)
        case SkipReason.MISSED:
            return _missed(case.policy, run)
        case SkipReason.PAUSED:
            return "the task was paused", _BACKFILL
        case SkipReason.BLACKOUT:
            return f"it lay within a blackout{_window(case, run)}", None
        case SkipReason.SKIPPED:
            return "tasks.skip_next had been asked for", "tasks.run_now runs the task at once"
        case SkipReason.UPSTREAM_FAILED:
            return _upstream_failed(case, run)
        case SkipReason.RULE:
            return _ruled_out(case, run)
        case SkipReason.DEPENDENCY:
            return _depended(case, run)
        case SkipReason.COOLDOWN:
            return "an earlier run stood for it: cooldown= starts no other so soon after it", None
        case SkipReason.EXPIRED:
            within = case.policy.expires
            limit = "in time" if within is None else f"within expires='{format_duration(within)}'"
            cure = "more room (max_running=, queues=), or a longer expires="
            return f"it had not started {limit}", cure
        case _:
            return f"{run.reason}", None


def _upstream_failed(case: Case, run: Run[Any]) -> tuple[str, str | None]:
    """Which of its upstreams failed, and how."""
    needed = [case.upstreams[need] for need in run.needs if need in case.upstreams]
    wrong = [each for each in needed if failed(each.status, each.reason)]
    if not wrong:
        cause = None if run.error is None else run.error.__cause__
        return "what it needs had failed" + ("" if cause is None else f": {error_words(cause)}"), None
    says = f"it needs {listed([f'{each.task}, which {_failure(each)}' for each in wrong])}"
    return says, f"tasks.explain({wrong[0].task!r}) tells more; rule='all_done' runs whatever became of it"


def _failure(run: Run[Any]) -> str:
    match run.status:
        case RunStatus.CANCELLED:
            return f"was cancelled: {run.reason}"
        case RunStatus.SKIPPED:
            return "was skipped, for it needs another that failed"
        case _:
            return "failed" + ("" if run.error is None else f": {error_words(run.error)}")


def _ruled_out(case: Case, run: Run[Any]) -> tuple[str, str | None]:
    """Why its rule could no longer hold."""
    rule = case.links.rule if run.edges is None else run.edges.rule
    needed = [case.upstreams[need] for need in run.needs if need in case.upstreams]
    skipped = [f"{each.task} ({each.reason})" for each in needed if each.status is RunStatus.SKIPPED]
    match rule:
        case "any_failed":
            return "rule='any_failed' runs only if one of its upstreams failed, and none did", None
        case "any_success":
            return "rule='any_success' runs only if one of its upstreams succeeded, and none ran", None
        case _:
            which = listed(skipped) or "one of them"
            return f"rule={rule!r} asks that all of its upstreams ran, and {which} was skipped", None


def _depended(case: Case, run: Run[Any]) -> tuple[str, str | None]:
    """Which of the tasks on which it depends had not succeeded in time."""
    before_us = run.finished_us or run.created_us
    since_us = None
    if case.links.dependency == "fresh":
        earlier = (each.scheduled_us for each in case.runs if each.scheduled_us is not None)
        since_us = max((at_us for at_us in earlier if at_us < _instant_us(run)), default=None)
    lacking = [task for task, at_us in case.succeeded.items() if not _within(at_us, since_us, before_us)]
    lacking = lacking or list(case.succeeded)
    asked = "since its previous fire" if case.links.dependency == "fresh" else "yet"
    says = f"it depends on {listed(lacking) or 'others'}, which had not succeeded {asked}"
    return says, f"tasks.explain({lacking[0]!r}) tells why" if lacking else None


def _within(at_us: int | None, since_us: int | None, before_us: int) -> bool:
    return at_us is not None and at_us <= before_us and (since_us is None or at_us > since_us)


def _overlapped(case: Case, run: Run[Any]) -> tuple[str, str | None]:
    earlier = in_the_way(case.runs, run)
    who = "an earlier run" if earlier is None else case.name(earlier)
    match case.policy.overlap:
        case "queue_one":
            cure = f"overlap='queue_all' lets up to {QUEUE_ALL_LIMIT:,} fires wait"
            return f"{who} had not ended, and another one waited already", cure
        case "queue_all":
            return f"{who} had not ended, and {QUEUE_ALL_LIMIT:,} waited already", None
        case _:
            cure = "overlap='queue_one' waits for its end, 'allow' runs both at once"
            return f"{who} had not ended", cure


def in_the_way(runs: Sequence[Run[Any]], skip: Run[Any]) -> Run[Any] | None:
    """The run that was under way when the fire was skipped; ``None`` if it is no longer on record."""
    at_us = skip.created_us
    there = [
        run
        for run in runs
        if run.status is not RunStatus.SKIPPED
        and not run.terms.backfill
        and run.created_us <= at_us
        and (run.finished_us is None or run.finished_us >= at_us)
    ]
    return min(there, key=lambda run: run.id, default=None)


def _missed(policy: Policy, run: Run[Any]) -> tuple[str, str | None]:
    late_us = run.created_us - _instant_us(run)
    late = f"it was looked at {wait_words(late_us * _US)} late (the program was down, asleep or blocked)"
    if policy.grace is not None and late_us * _US > policy.grace:
        grace = format_duration(policy.grace)
        return f"{late}, which is more than grace='{grace}'", f"a longer grace=; {_BACKFILL}"
    match policy.missed:
        case "skip":
            return f"{late}, and missed='skip' runs no late fire", "missed='latest' makes one run for all of them"
        case "all":
            cure = f"a greater missed_limit=; {_BACKFILL}"
            return f"{late}, and more than missed_limit={policy.missed_limit} had been missed", cure
        case _:
            return late, _BACKFILL


def _window(case: Case, run: Run[Any]) -> str:
    """Which window it was, if it still stands."""
    at_us, zone = _instant_us(run), case.zone.key
    found = [str(window) for window in case.policy.blackout if blacked_out((window,), at_us, zone)]
    return f" ({found[0]})" if found else ""

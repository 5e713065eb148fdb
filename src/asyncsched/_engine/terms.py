"""On which terms the runs of a task wait: what its policy says, and what keys make of the arguments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from asyncsched.deadlines import bounds_of
from asyncsched.limits import Debounce, Idempotency, Once, Unique, limit_key, unique_key
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.run import NO_TERMS, Terms
from asyncsched.submission import Keys, Submission, keys_of
from asyncsched.task import Task

_US = timedelta(microseconds=1)
_NOW = Submission()


def fire_terms(task: Task[..., Any], policy: Policy) -> Terms:
    """The terms of the runs of its fires, which are all called alike, under a policy that may not be its own.

    A fire has an instant of its own: it waits for no ``debounce``.
    """
    if policy is DEFAULT_POLICY:
        return NO_TERMS
    once = policy.once
    return _terms(task, policy, _NOW, task.fire_keys, None if isinstance(once, Debounce) else once)


def common_terms(task: Task[..., Any], policy: Policy, how: Submission) -> Terms | None:
    """The terms of all runs that are submitted so; ``None`` if they depend on the arguments."""
    if policy.key is not None or not isinstance(policy.unique, bool):
        return None
    return call_terms(task, policy, (), {}, how)


def alone(terms: Terms) -> bool:
    """Whether runs with these terms are written whatever others there are."""
    return terms is NO_TERMS or (terms.limit_key is None and terms.once is None and terms.idempotency is None)


def call_terms(
    task: Task[..., Any], policy: Policy, args: tuple[Any, ...], kwargs: Mapping[str, Any], how: Submission
) -> Terms:
    """The terms of a run that is submitted with these arguments.

    Raises:
        ArgumentsError: a key cannot be made of them.
    """
    if policy is DEFAULT_POLICY and how == _NOW:
        return NO_TERMS
    once: Once | None
    keys = keys_of(policy, task.signature, args, kwargs)
    if how.unique is not None:
        keys, once = keys._replace(unique=how.unique), _unique(how.unique_for)
    else:
        once = _by_hand(policy) if how.by_hand else policy.once
    terms = _terms(task, policy, how, keys, once)
    if how.idempotency is None:
        return terms
    key, keep_us = how.idempotency
    return terms._replace(idempotency=Idempotency(unique_key(task.id, key), keep_us))


def _terms(task: Task[..., Any], policy: Policy, how: Submission, keys: Keys, once: Once | None) -> Terms:
    limited = task.id if keys.limit is None else limit_key(task.id, keys.limit)
    once_key = None
    if once is not None:
        once_key = unique_key(task.id, keys.unique or "") if isinstance(once, Unique) else limited
    return Terms(
        policy.priority if how.priority is None else how.priority,
        policy.queue if how.queue is None else how.queue,
        None if policy.limit is None and policy.rate is None else limited,
        policy.limit,
        policy.rate,
        once,
        once_key,
        bounds_of(policy),
    )


def _by_hand(policy: Policy) -> Once | None:
    """One live run is all that remains of what makes one of several where somebody wants just this run."""
    return Unique() if policy.unique else None


def _unique(keep: timedelta | None) -> Once:
    return Unique(0 if keep is None else keep // _US)

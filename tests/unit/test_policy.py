"""The policy of a task: what its options mean, and which are refused."""

from datetime import timedelta
from typing import Any

import pytest

from asyncsched.blackout import Blackout
from asyncsched.errors import ConfigError
from asyncsched.limits import Cooldown, Debounce, Rate
from asyncsched.policy import DEFAULT_POLICY, Policy
from asyncsched.retry import NO_RETRY, Retry

SECOND = 1_000_000


def policy(**options: Any) -> Policy:
    return Policy.of(options)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        ({}, None),
        ({"max_running": 3}, 3),
        ({"overlap": "allow", "max_running": 3}, 3),
        ({"overlap": "queue_one"}, 1),
        ({"overlap": "queue_all", "max_running": 1}, 1),
        ({"overlap": "cancel_previous"}, 1),
        ({"missed": "all"}, 1),
        ({"missed": "all", "overlap": "queue_all"}, 1),
        ({"missed": "all", "overlap": "allow"}, None),
    ],
)
def test_how_many_runs_there_may_be_at_once(options: dict[str, Any], limit: int | None) -> None:
    assert policy(**options).limit == limit


def test_limits_in_time_are_kept_as_what_they_mean() -> None:
    rules = policy(run_timeout="1h", expires="10s", jitter="30s", max_runs=5, blackout=["02:00-04:00"], warn_failures=3)
    assert (rules.run_timeout_us, rules.expires, rules.jitter_us) == (
        3_600 * SECOND,
        timedelta(seconds=10),
        30 * SECOND,
    )
    assert (rules.max_runs, rules.blackout, rules.warn_failures) == (5, (Blackout("02:00", "04:00"),), 3)
    assert (DEFAULT_POLICY.run_timeout_us, DEFAULT_POLICY.jitter_us, DEFAULT_POLICY.blackout) == (None, 0, ())
    keyed = policy(rate="10/1m", debounce="5s", key="customer")
    assert (keyed.rate, keyed.debounce, keyed.key) == (Rate(10, 60 * SECOND), Debounce(5 * SECOND), "customer")
    assert policy(cooldown="1m").cooldown == Cooldown(60 * SECOND)
    assert policy(run_timeout=None, expires=None, jitter=None, blackout=None, max_runs=None, rate=None, debounce=None,
                  cooldown=None, key=None, warn_not_started=None, warn_longer=None, warn_failures=None,
                  max_running=None) == DEFAULT_POLICY  # fmt: skip


def test_no_options_are_the_defaults() -> None:
    assert Policy.of({}) is DEFAULT_POLICY
    assert (DEFAULT_POLICY.missed, DEFAULT_POLICY.overlap, DEFAULT_POLICY.retry) == ("latest", "skip", NO_RETRY)
    assert (DEFAULT_POLICY.missed_limit, DEFAULT_POLICY.grace, DEFAULT_POLICY.timeout_us) == (100, None, None)


def test_options_are_kept_as_what_they_mean() -> None:
    rules = policy(
        grace="2h", timeout="1.5s", retry=2, priority=-3, immediate=True, history_limit=0, anchor="completion"
    )
    assert (rules.grace, rules.timeout, rules.timeout_us) == (timedelta(hours=2), timedelta(seconds=1.5), 1_500_000)
    assert (rules.retry, rules.priority, rules.immediate) == (Retry(attempts=3), -3, True)
    assert policy(grace=None, timeout=None, retry=None) == DEFAULT_POLICY


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"missed": "run"}, "missed='run': one of 'latest', 'skip', 'all'"),
        ({"missed": None}, "missed=None"),
        ({"overlap": True}, "overlap=True: one of 'skip', 'allow'"),
        ({"anchor": ["grid"]}, "anchor=.*one of 'grid', 'completion'"),
        ({"missed_limit": -1}, "missed_limit=-1: a whole number from 0 on"),
        ({"missed_limit": True}, "missed_limit=True"),
        ({"history_limit": 1.0}, "history_limit=1.0"),
        ({"history_limit": None}, "history_limit=None"),
        ({"priority": "high"}, "priority='high'"),
        ({"priority": 2**31}, "priority=2147483648: a whole number up to 2147483647"),
        ({"queue": "half \ud800"}, "the name of a queue"),
        ({"immediate": 1}, "immediate=1: True or False"),
        ({"grace": 5}, "grace=5"),
        ({"grace": timedelta(-1)}, "grace=.*zero or more"),
        ({"timeout": "0s"}, "timeout='0s'.*more than zero"),
        ({"timeout": 10}, "timeout=10: give a timedelta or a text"),
        ({"retry": "3"}, "retry='3'"),
        ({"max_running": 0}, "max_running=0: a whole number from 1 on, or None for no limit"),
        ({"max_runs": 0}, "max_runs=0: a whole number from 1 on, or None for no limit"),
        ({"warn_failures": True}, "warn_failures=True: .*None for no warning"),
        ({"run_timeout": "0s"}, "run_timeout='0s'.*more than zero"),
        ({"expires": 5}, "expires=5"),
        ({"jitter": "-1s"}, "jitter='-1s'"),
        ({"warn_not_started": "0s"}, "warn_not_started='0s'.*more than zero"),
        ({"warn_longer": "soon"}, "warn_longer='soon'"),
        ({"blackout": "night"}, "blackout='night'"),
        ({"blackout": 5}, "blackout=5"),
        ({"blackout": ["02:00-04:00", 5]}, "blackout=5"),
        ({"rate": "often"}, "rate='often'"),
        ({"debounce": 5}, "debounce=5"),
        ({"cooldown": "0s"}, "cooldown='0s'.*more than zero"),
        ({"overlap": "queue_all", "max_running": 2}, "'queue_all' runs one at a time, so not max_running=2"),
        ({"overlap": "cancel_previous", "max_running": 2}, "leave max_running= out"),
        ({"debounce": "1s", "cooldown": "1s"}, "give one of them"),
        ({"key": "customer"}, "key='customer'.*give also one of max_running, rate"),
    ],
)
def test_a_wrong_option_is_refused_by_its_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Policy.of(options)

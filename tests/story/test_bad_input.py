"""A wrong argument fails where it was written: what was given, what would be right, and which function it is for."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any

import pytest

from asyncsched import Registry, Retry, Scheduler, Task
from asyncsched.errors import ArgumentsError, AsyncschedError, CallerError, ConfigError

Decorate = Callable[[Registry], Callable[[Any], Any]]


async def works() -> None: ...


def needs(number: int, *, unit: str) -> None: ...


# What is written, for which function, what the message quotes, and what it says would be right.
TABLE: dict[str, tuple[Decorate, Any, str, str]] = {
    "an interval without a unit": (lambda r: r.every("5"), works, "'5'", "numbers with their units"),
    "an interval in words": (lambda r: r.every("soon"), works, "'soon'", "'5s', '1h30m'"),
    "an interval of nothing": (lambda r: r.every("0s"), works, "'0s'", "more than zero"),
    "a negative interval": (lambda r: r.every(minutes=-5), works, "'-5m'", "more than zero"),
    "an interval in years": (lambda r: r.every("200 years"), works, "'200 years'", "'2 days'"),
    "a bare number": (lambda r: r.every(5), works, "5", "a timedelta or a text such as"),
    "no interval": (lambda r: r.every(), works, "@every()", "give '5s', a timedelta, or seconds=5"),
    "two intervals": (lambda r: r.every("5s", minutes=1), works, "'5s' and minutes", "one or the other"),
    "a part that is no number": (lambda r: r.every(seconds="5"), works, "seconds='5'", "a number"),
    "a start that is no datetime": (lambda r: r.every("5s", start="noon"), works, "start='noon'", "give a datetime"),
    "an hour 25": (lambda r: r.at("25:00"), works, "'25:00'", "00:00 to 23:59:59"),
    "a time of a watch": (lambda r: r.at("7pm"), works, "'7pm'", "HH:MM"),
    "a bad second time": (lambda r: r.at("09:00", "14:60"), works, "'14:60'", "HH:MM"),
    "an hour as a number": (lambda r: r.at(14), works, "14", "HH:MM"),
    "a time with an offset": (lambda r: r.at(time(14, tzinfo=UTC)), works, "timezone.utc", "HH:MM"),
    "an instant as a time of day": (lambda r: r.at(datetime(2030, 1, 1, 9)), works, "2030, 1, 1", "when(Once(...))"),
    "a weekday that is none": (lambda r: r.at("09:00", days="moonday"), works, "'moonday'", "SUN-SAT"),
    "an hour 25 in a cron line": (lambda r: r.cron("0 25 * * *"), works, "hour 25", "0-23"),
    "too few fields": (lambda r: r.cron("* * * *"), works, "has 4 fields", "5 are allowed"),
    "a day that never comes": (lambda r: r.cron("0 0 30 2 *"), works, "'30', month '2'", "ever matches"),
    "an unknown nickname": (lambda r: r.cron("@reboot"), works, "'@reboot'", "@daily"),
    "a cron line that is no text": (lambda r: r.cron(5), works, "5", "a text such as"),
    "a sentence with a typing error": (lambda r: r.when("every mondey at 9am"), works, "'mondey'", "here could stand"),
    "a number as a trigger": (lambda r: r.when(5), works, "5", "a Trigger, its text, a timedelta"),
    "a bad line in a list": (lambda r: r.when(["daily", "0 25 * * *"]), works, "hour 25", "0-23"),
    "an unknown zone": (lambda r: r.every("5s", tz="Mars/Base"), works, "'Mars/Base'", "'Europe/Berlin'"),
    "a zone without a name": (
        lambda r: r.every("5s", tz=timezone(timedelta(hours=1))), works, "timezone", "'Europe/Berlin'"
    ),
    "a zone that is a number": (lambda r: r.every("5s", tz=1), works, "1", "'Europe/Berlin'"),
    "retries as a text": (lambda r: r.every("5s", retry="3"), works, "retry='3'", "Retry(...)"),
    "negative retries": (lambda r: r.every("5s", retry=-1), works, "retry=-1", "from 0 on"),
    "a timeout as a number": (lambda r: r.every("5s", timeout=5), works, "timeout=5", "'5s'"),
    "a timeout without a unit": (lambda r: r.every("5s", timeout="5"), works, "timeout='5'", "'5s'"),
    "a timeout of nothing": (lambda r: r.every("5s", timeout="0s"), works, "timeout='0s'", "more than zero"),
    "an unknown missed policy": (lambda r: r.every("5s", missed="last"), works, "missed='last'", "'latest', 'skip'"),
    "a negative missed_limit": (lambda r: r.every("5s", missed_limit=-1), works, "missed_limit=-1", "from 0 on"),
    "an unknown overlap": (lambda r: r.every("5s", overlap="queue"), works, "overlap='queue'", "'skip', 'allow'"),
    "a grace in words": (lambda r: r.every("5s", grace="a while"), works, "grace='a while'", "'1h30m'"),
    "a negative grace": (lambda r: r.every("5s", grace=timedelta(-1)), works, "grace=datetime", "zero or more"),
    "immediate as a text": (lambda r: r.every("5s", immediate="yes"), works, "immediate='yes'", "True or False"),
    "an unknown anchor": (lambda r: r.every("5s", anchor="start"), works, "anchor='start'", "'grid', 'completion'"),
    "completion without every": (lambda r: r.at("09:00", anchor="completion"), works, "'completion'", "needs every="),
    "a priority in words": (lambda r: r.every("5s", priority="high"), works, "priority='high'", "a whole number"),
    "half a history": (lambda r: r.every("5s", history_limit=0.5), works, "history_limit=0.5", "a whole number"),
    "an id with a slash": (lambda r: r.every("5s", id="a/b"), works, "'a/b'", "without white space, '/' or '~'"),
    "an empty id": (lambda r: r.every("5s", id=""), works, "''", "1 to 200 characters"),
    "an id that is a number": (lambda r: r.every("5s", id=7), works, "id=7", "a text"),
    "an id and a name": (lambda r: r.every("5s", id="a", name="b"), works, "id='a'", "one or the other"),
    "an option with a typing error": (lambda r: r.every("5s", retrys=3), works, "'retrys'", "did you mean 'retry'?"),
    "an option that there is not": (lambda r: r.every("5s", colour="red"), works, "'colour'", "known are aliases,"),
    "two triggers": (lambda r: r.every("5s", cron="* * * * *"), works, "cron=", "a task has one trigger"),
    "a missing argument": (lambda r: r.every("5s"), needs, "'number'", "give args= or kwargs="),
    "a missing keyword": (lambda r: r.every("5s", args=[1]), needs, "'unit'", "give args= or kwargs="),
    "an argument too many": (lambda r: r.every("5s", args=[1]), works, "too many positional", "the function takes ()"),
    "an unknown keyword": (lambda r: r.every("5s", kwargs={"x": 1}), works, "'x'", "the function takes ()"),
    "arguments that are no list": (lambda r: r.every("5s", args="ab"), needs, "args='ab'", "a list of arguments"),
    "keywords that are no mapping": (lambda r: r.every("5s", kwargs=[1]), needs, "kwargs=[1]", "a mapping"),
    "a text for tags": (lambda r: r.every("5s", tags="mail"), works, "tags='mail'", "a list of texts"),
    "a tag that is no text": (lambda r: r.every("5s", tags=[[]]), works, "tags=[[]]", "is no text"),
    "metadata in words": (lambda r: r.every("5s", metadata="mine"), works, "metadata='mine'", "a mapping"),
    "an unknown executor": (lambda r: r.every("5s", executor="fork"), works, "executor='fork'", "'loop'"),
    "a coroutine in a thread": (lambda r: r.every("5s", executor="thread"), works, "'thread'", "runs on the loop"),
    "a wrong option of a bare task": (lambda r: r.task(timout="5s"), works, "'timout'", "did you mean 'timeout'?"),
}  # fmt: skip


@pytest.mark.parametrize("case", TABLE)
def test_a_wrong_argument_fails_at_the_decorator(case: str) -> None:
    decorate, function, given, right = TABLE[case]
    registry = Registry()
    with pytest.raises(ConfigError) as caught:
        decorate(registry)(function)
    message = str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert given in message
    assert right in message
    assert re.match(r"@(every|at|cron|when|task)(\(.*\))?: ", message)
    assert message.endswith(f", test_bad_input.py:{function.__code__.co_firstlineno}")
    assert len(message) < 400
    assert "\n" not in message
    assert len(registry) == 0


def test_the_table_is_long() -> None:
    assert len(TABLE) >= 40


@pytest.mark.parametrize("decorator", ["every", "at", "cron", "when"])
def test_a_decorator_without_its_brackets_says_so(decorator: str) -> None:
    with pytest.raises(ConfigError) as caught:
        getattr(Registry(), decorator)(works)
    line = works.__code__.co_firstlineno
    assert re.fullmatch(
        rf'@{decorator}: say when in brackets, as in @{decorator}\(".+"\), test_bad_input\.py:{line}', str(caught.value)
    )


def test_one_function_with_two_decorators_is_told_what_to_do() -> None:
    registry = Registry()

    def twice() -> None: ...

    registry.every("5s")(twice)
    with pytest.raises(ConfigError, match=r"two tasks have the id '.*twice'.*all its times in one when\(\[\.\.\.\]\)"):
        registry.at("09:00")(twice)


@pytest.mark.parametrize("nameless", [functools.partial(works), lambda: None], ids=["partial", "lambda"])
def test_what_has_no_name_needs_an_id(nameless: Any) -> None:
    with pytest.raises(ConfigError, match="has no name of its own: give the task an id="):
        Registry().every("5s")(nameless)


@pytest.mark.parametrize("function", [5, None, "works", [works]])
def test_what_is_no_function_is_refused(function: Any) -> None:
    with pytest.raises(ConfigError, match="is not a function"):
        Registry().every("5s")(function)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"every": "5s", "at": "09:00"}, "every= and at=: give one of them"),
        ({"every": 5}, "every=5: give a duration such as '5m'"),
        ({"every": {}}, "an interval is missing"),
        ({"every": {"minute": 5}}, "unknown part 'minute' of an interval: weeks, days, hours, minutes"),
        ({"every": {"minutes": "5"}}, "minutes='5' of an interval: a number"),
        ({"at": []}, r"at=\[\]: give one time of day or more"),
        ({"cron": ["* * * * *"]}, r"cron=\['\* \* \* \* \*'\]: give a cron line"),
        ({"run_at": "tomorrow"}, "run_at='tomorrow': give a datetime"),
        ({"run_at": date(2026, 1, 1)}, r"run_at=datetime.date\(2026, 1, 1\): give a datetime"),
        ({"trigger": 5}, "5 is no trigger"),
        ({"retrys": 1}, "unknown option 'retrys': did you mean 'retry'"),
    ],
)
def test_the_constructor_is_as_strict(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Task(works, **options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"attempts": 0}, r"attempts=0.*from 1 on"),
        ({"attempts": True}, r"attempts=True.*from 1 on"),
        ({"wait": 10}, "wait=10: give a timedelta or a text"),
        ({"wait": "10"}, "wait='10' is not a duration"),
        ({"cap": "-1s"}, "cap='-1s' is not a duration"),
        ({"factor": 0.5}, "factor=0.5.*at least 1"),
        ({"factor": float("nan")}, "factor=nan.*at least 1"),
        ({"factor": "2"}, "factor='2'.*at least 1"),
        ({"on": "OSError"}, "on='OSError'.*an exception class"),
        ({"on": ()}, r"on=\(\).*an exception class"),
    ],
)
def test_a_retry_checks_its_own(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Retry(**options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"store": "mysql://x"}, "store='mysql://x': give 'memory://', 'sqlite:///jobs.db', 'postgresql://"),
        ({"store": "postgresql+asyncpg://h/app"}, "give 'postgresql://' in the place of 'postgresql.asyncpg://'"),
        ({"store": "sqlite+aiosqlite:///a.db"}, "give 'sqlite://' in the place of 'sqlite.aiosqlite://'"),
        ({"store": "valkey://h/0"}, "give 'redis://' in the place of 'valkey://'"),
        ({"tz": "Mars/Base"}, "unknown time zone 'Mars/Base'"),
        ({"shutdown_timeout": 5}, "shutdown_timeout=5: give a timedelta or a text"),
        ({"shutdown_timeout": "5"}, "shutdown_timeout='5' is not a duration"),
        ({"threads": 0}, "threads=0: a whole number from 1 on"),
        ({"processes": 0}, "processes=0: a whole number from 1 on"),
    ],
)
def test_a_scheduler_checks_its_own(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Scheduler(registry=Registry(), **options)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://shop:secret@db/app",
        "mysql://shop:se:cr@et/secret@db/app",
        "postgresql+asyncpg://shop:secret@db/app",
        "postgresql:/shop:secret@db/app",
        "shop:secret@db/app",
        "valkey://:secret@cache",
        "mysql://db/app?user=shop&password=secret",
    ],
)
def test_a_store_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match=r"store='.*\*\*\*") as refused:
        Scheduler(url, registry=Registry())
    assert [part for part in ("secret", "cr@", "se:") if part in str(refused.value).partition(": give")[0]] == []


def test_whose_fault_it_is_can_be_told_by_type() -> None:
    assert issubclass(ConfigError, CallerError)
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ArgumentsError, CallerError)
    assert issubclass(ArgumentsError, TypeError)
    assert issubclass(CallerError, AsyncschedError)


def test_a_naive_start_and_a_moment_of_long_ago_are_fine() -> None:
    Registry().every("5s", start=datetime(1971, 1, 1), grace=timedelta(0), history_limit=0, missed_limit=0)(works)

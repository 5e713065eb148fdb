"""Who is told what: subscriptions and callbacks on events."""

import asyncio
import dataclasses
import logging
import pickle
from dataclasses import dataclass

import pytest

from asyncsched import events as kinds
from asyncsched._engine.bus import Events, Subscription
from asyncsched.events import (
    CallbackFailed,
    Event,
    FireSkipped,
    RunEnded,
    RunStarted,
    TaskAdded,
    TaskEvent,
    TaskRemoved,
)
from asyncsched.run import Run


def added(task: str, at_us: int = 0) -> TaskAdded:
    return TaskAdded(at_us=at_us, task=task)


async def taken(subscription: Subscription) -> list[Event]:
    subscription.cancel()
    return [event async for event in subscription]


# --- events


def test_every_event_is_a_frozen_value_with_its_instant() -> None:
    found = [kind for kind in vars(kinds).values() if isinstance(kind, type) and issubclass(kind, Event)]
    assert len(found) >= 12
    for kind in found:
        assert dataclasses.is_dataclass(kind)
        assert kind.__doc__
        assert "at_us" in {field.name for field in dataclasses.fields(kind)}
    with pytest.raises(dataclasses.FrozenInstanceError):
        added("a").task = "b"  # type: ignore[misc]


def test_events_are_equal_if_their_kinds_and_values_are() -> None:
    assert added("a") == added("a") != added("b")
    assert added("a") != TaskRemoved(at_us=0, task="a")
    assert {added("a"), added("a"), added("b")} == {added("a"), added("b")}
    assert repr(added("a", 7)) == "TaskAdded(at_us=7, task='a')"
    assert pickle.loads(pickle.dumps(added("a"))) == added("a")


def test_what_happens_to_a_task_tells_which() -> None:
    run: Run[None] = Run(id="r", task="t", created_us=0, due_us=0)
    for event in (added("t"), FireSkipped(at_us=0, task="t", run=run), RunEnded(at_us=0, task="t", run=run)):
        assert isinstance(event, TaskEvent)
        assert event.task == "t"


# --- subscriptions


async def test_a_subscription_gets_what_is_told_from_now_on_in_order() -> None:
    bus = Events()
    bus.tell(added("before"))
    subscription = bus.subscribe()
    told = [added("a"), TaskRemoved(at_us=1, task="a"), added("b")]
    for event in told:
        bus.tell(event)
    assert await taken(subscription) == told


async def test_a_subscription_gets_the_kinds_and_the_task_that_it_wants() -> None:
    bus = Events()
    by_kind = bus.subscribe([TaskRemoved, RunStarted])
    by_task = bus.subscribe(task="b")
    both = bus.subscribe({TaskAdded}, task="b")
    failed = CallbackFailed(at_us=0, error=ValueError())
    told = [added("a"), added("b"), TaskRemoved(at_us=0, task="a"), TaskRemoved(at_us=0, task="b"), failed]
    for event in told:
        bus.tell(event)
    assert await taken(by_kind) == told[2:4]
    assert await taken(by_task) == [told[1], told[3]]
    assert await taken(both) == [told[1]]


async def test_a_subscription_that_is_not_read_drops_the_newest_and_counts_them() -> None:
    bus = Events()
    subscription = bus.subscribe(size=3)
    for number in range(10):
        bus.tell(added("t", number))
    assert subscription.dropped == 7
    assert [(await anext(subscription)).at_us for _ in range(2)] == [0, 1]
    bus.tell(added("t", 10))
    bus.tell(added("t", 11))
    bus.tell(added("t", 12))
    assert subscription.dropped == 8
    assert [event.at_us for event in await taken(subscription)] == [2, 10, 11]


async def test_an_event_that_is_not_wanted_is_not_dropped_either() -> None:
    bus = Events()
    subscription = bus.subscribe([TaskRemoved], size=0)
    bus.tell(added("t"))
    assert subscription.dropped == 0
    bus.tell(TaskRemoved(at_us=0, task="t"))
    assert subscription.dropped == 1
    subscription.cancel()


async def test_who_waits_for_an_event_is_woken_by_it() -> None:
    bus = Events()
    subscription = bus.subscribe()
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    assert not waiting.done()
    bus.tell(added("a"))
    bus.tell(added("b"))
    assert await waiting == added("a")
    assert await taken(subscription) == [added("b")]


async def test_an_event_that_nobody_waited_for_long_enough_is_not_lost() -> None:
    bus = Events()
    subscription = bus.subscribe()
    waiting = asyncio.ensure_future(anext(subscription))
    await asyncio.sleep(0)
    waiting.cancel()
    bus.tell(added("a"))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await anext(subscription) == added("a")


async def test_two_who_read_one_subscription_share_its_events() -> None:
    bus = Events()
    subscription = bus.subscribe()
    readers = [asyncio.ensure_future(anext(subscription)) for _ in range(2)]
    await asyncio.sleep(0)
    bus.tell(added("a"))
    bus.tell(added("b"))
    assert await asyncio.gather(*readers) == [added("a"), added("b")]
    late = [asyncio.ensure_future(anext(subscription)) for _ in range(2)]
    await asyncio.sleep(0)
    subscription.cancel()
    ends = await asyncio.gather(*late, return_exceptions=True)
    assert [type(end) for end in ends] == [StopAsyncIteration, StopAsyncIteration]


async def test_a_cancelled_subscription_ends_after_what_it_has_taken() -> None:
    bus = Events()
    with bus.subscribe() as subscription:
        bus.tell(added("a"))
        assert bus.hears(TaskAdded)
    assert not bus.hears(TaskAdded)
    bus.tell(added("b"))
    subscription.cancel()
    assert [event async for event in subscription] == [added("a")]
    with pytest.raises(StopAsyncIteration):
        await anext(subscription)


async def test_cancelling_wakes_who_waits() -> None:
    subscription = Events().subscribe()
    waiting = asyncio.ensure_future(anext(subscription, None))
    await asyncio.sleep(0)
    subscription.cancel()
    assert await waiting is None


async def test_a_stream_begins_with_its_iteration_and_ends_with_it() -> None:
    bus = Events()
    stream = bus.stream([TaskAdded])
    assert not bus.hears(TaskAdded)
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    bus.tell(TaskRemoved(at_us=0, task="a"))
    bus.tell(added("a"))
    assert await waiting == added("a")
    assert bus.hears(TaskAdded)
    await stream.aclose()
    assert not bus.hears(TaskAdded)


# --- callbacks


def test_callbacks_are_called_at_once_and_in_their_order() -> None:
    bus, calls = Events(), []
    bus.on([TaskAdded], lambda event: calls.append(("first", event)))
    bus.on({TaskEvent}, lambda event: calls.append(("second", event)), task="a")
    bus.tell(added("a"))
    bus.tell(added("b"))
    bus.tell(TaskRemoved(at_us=0, task="a"))
    assert calls == [
        ("first", added("a")),
        ("second", added("a")),
        ("first", added("b")),
        ("second", TaskRemoved(at_us=0, task="a")),
    ]


def test_a_cancelled_callback_is_called_no_more() -> None:
    bus, calls = Events(), []
    callback = bus.on([Event], calls.append)
    bus.tell(added("a"))
    callback.cancel()
    callback.cancel()
    bus.tell(added("b"))
    assert calls == [added("a")]
    assert not bus.hears(TaskAdded)


async def test_who_is_cancelled_while_an_event_is_told_does_not_get_it_any_more() -> None:
    bus, calls = Events(), []
    bus.on([Event], lambda _event: (callback.cancel(), subscription.cancel()))
    callback = bus.on([Event], calls.append)
    subscription = bus.subscribe()
    bus.tell(added("a"))
    assert calls == []
    assert await taken(subscription) == []


def test_who_begins_to_listen_while_an_event_is_told_gets_the_next_one() -> None:
    bus, calls = Events(), []
    beginning = bus.on([Event], lambda _event: (beginning.cancel(), bus.on([Event], calls.append)))
    bus.tell(added("a"))
    bus.tell(added("b"))
    assert calls == [added("b")]


def test_a_callback_that_raises_is_logged_and_told_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    bus, failures, calls, error = Events(), [], [], ValueError("no")

    def fails(event: Event) -> None:
        raise error

    bus.on([CallbackFailed], failures.append)
    bus.on([TaskAdded], fails)
    bus.on([Event], calls.append)
    with caplog.at_level(logging.ERROR, "asyncsched.engine"):
        bus.tell(added("a", 7))
    assert failures == [CallbackFailed(at_us=7, error=error)]
    assert added("a", 7) in calls
    assert [(record.message, record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        ("a callback on TaskAdded raised", error)
    ]


def test_a_callback_that_raises_on_failures_too_does_not_go_round_in_circles(caplog: pytest.LogCaptureFixture) -> None:
    bus, calls = Events(), []

    def fails(event: Event) -> None:
        calls.append(type(event))
        raise ValueError

    bus.on([Event], fails)
    bus.tell(added("a"))
    assert calls == [TaskAdded, CallbackFailed]
    assert len(caplog.records) == 2


# --- mistakes


@dataclass
class Mine:
    at_us: int = 0


@pytest.mark.parametrize("wrong", [[Mine], ["RunEnded"], [added("a")], [RunEnded, None], RunEnded, 5])
def test_what_is_no_kind_of_event_is_refused(wrong: object) -> None:
    bus = Events()
    with pytest.raises(TypeError):
        bus.subscribe(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        bus.on(wrong, lambda _event: None)  # type: ignore[arg-type]
    assert not bus.hears(TaskAdded)


def test_a_user_s_own_kind_of_event_is_told_as_ours_are() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Rang(Event):
        bell: str

    bus, calls = Events(), []
    bus.on([Rang], calls.append)
    bus.tell(Rang(at_us=0, bell="big"))
    assert calls == [Rang(at_us=0, bell="big")]

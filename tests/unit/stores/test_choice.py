"""Which of the runs that are ready a node gets: as many as it may have, of what it serves, and suspects alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.stores._durable.choice import Choice
from asyncsched.stores._durable.lost import SUSPECT
from asyncsched.stores._durable.orders import Claim


class Ready(NamedTuple):
    queue: str = "default"
    group: str | None = None
    task: str = "work"
    lost: int = 0


PLAIN, POISON = Ready(), Ready(lost=SUSPECT)


def of(
    limit: int = 10,
    queues: dict[str, int] | None = None,
    groups: dict[str, int] | None = None,
    serves: Callable[[str], bool] = lambda _task: True,
) -> Choice:
    return Choice(Claim("owner", "node", limit, queues, groups, serves))


def test_as_many_are_chosen_as_it_may_have_and_it_is_said_whether_there_are_more() -> None:
    choice = of(2)
    assert choice.choose([PLAIN] * 2) == ([PLAIN] * 2, False)
    assert choice.limit == 0
    assert choice.choose([PLAIN]) == ([], True)


def test_a_queue_or_group_without_room_ends_the_look_and_is_not_looked_at_again() -> None:
    choice = of(10, {"a": 1, "b": 5}, {"g": 1})
    here = [Ready("a"), Ready("a"), Ready("b")]
    assert choice.choose(here) == (here[:1], False)
    assert choice.queues == ["b"]
    there = [Ready("b", "g"), Ready("b", "h"), Ready("b", "g")]
    assert choice.choose(there) == (there[:2], False)
    assert choice.full == ["g"]


def test_what_others_had_claimed_leaves_its_room_to_those_behind() -> None:
    choice = of(1, {"a": 1}, {"g": 1})
    assert choice.choose([Ready("a", "g")])[0]
    assert (choice.limit, choice.queues, choice.full) == (0, [], ["g"])
    choice.take("a", "g", -1)
    assert (choice.limit, choice.queues, choice.full) == (1, ["a"], [])


def test_tasks_of_others_are_passed_over_from_the_next_look_on() -> None:
    choice = of(serves=lambda task: task == "work")
    alien = Ready(task="theirs")
    assert choice.choose([PLAIN, alien, PLAIN]) == ([PLAIN], False)
    assert choice.others == {"theirs"}
    with pytest.raises(ValueError, match="no text"):
        choice.choose([alien])


def test_a_suspect_is_started_by_itself() -> None:
    choice = of()
    assert choice.choose([PLAIN, POISON, PLAIN]) == ([PLAIN], True)
    assert choice.choose([POISON, PLAIN]) == ([], True)
    alone = of()
    assert alone.doubts([POISON, PLAIN])
    assert alone.choose([POISON, PLAIN]) == ([POISON], True)


def test_a_node_that_runs_a_suspect_passes_over_the_others() -> None:
    choice = of()
    choice.wary = True
    assert choice.choose([POISON, PLAIN]) == ([], False)
    assert not choice.doubts([POISON])
    assert choice.choose([PLAIN]) == ([PLAIN], False)
    assert not choice.doubts([POISON])


READY = st.builds(
    Ready,
    st.sampled_from(["a", "b"]),
    st.sampled_from([None, "g", "h"]),
    st.sampled_from(["work", "theirs"]),
    st.integers(0, SUSPECT),
)


@given(st.lists(READY, max_size=12), st.integers(0, 5), st.integers(0, 3), st.integers(0, 3))
def test_whatever_is_ready_nothing_is_chosen_beyond_what_may_be(
    ready: list[Ready], limit: int, of_queue: int, of_group: int
) -> None:
    choice = of(limit, {"a": of_queue, "b": 9}, {"g": of_group}, lambda task: task == "work")
    chosen, more = choice.choose(ready)
    assert chosen == ready[: len(chosen)], "nobody is passed over within a look"
    assert len(chosen) <= limit
    assert sum(one.queue == "a" for one in chosen) <= of_queue
    assert sum(one.group == "g" for one in chosen) <= of_group
    assert all(one.task == "work" for one in chosen)
    assert len(chosen) == 1 or not any(one.lost == SUSPECT for one in chosen)
    assert choice.limit == limit - len(chosen)
    if more:
        assert len(chosen) == limit or any(one.lost == SUSPECT for one in ready[: len(chosen) + 1])

"""What becomes of a run whose node does not run it any more."""

from __future__ import annotations

import pytest

from asyncsched.again import load_error
from asyncsched.run import Run, RunStatus
from asyncsched.stores._durable.lost import LOST_LIMIT, let_go
from asyncsched.stores._durable.rows import row_of
from asyncsched.values import Values

ROW = row_of(Run("r1", "work", 0, 0), Values(None))._replace(status="RUNNING", token=4, attempt=2, node="n")


@pytest.mark.parametrize("lost", [None, 1, LOST_LIMIT - 1])
def test_it_waits_for_another_node_and_the_attempt_does_not_count(lost: int | None) -> None:
    after = let_go(ROW, 7, None, lost)
    assert (after.status, after.token, after.attempt, after.node, after.due_at) == ("PENDING", 5, 1, None, 7)


def test_told_to_stop_it_has_stopped_whatever_it_has_lost() -> None:
    after = let_go(ROW, 7, "by hand", LOST_LIMIT)
    assert (after.status, after.reason, after.token, after.finished_at) == ("CANCELLED", "by hand", 5, 7)


def test_lost_too_often_it_is_given_up_and_says_so() -> None:
    after = let_go(ROW, 7, None, LOST_LIMIT)
    assert (after.status, after.reason, after.finished_at) == (RunStatus.FAILED.value, "lost", 7)
    assert "given up: 3 processes died" in str(load_error(after.error, "r1"))

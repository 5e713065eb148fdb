"""Whether a submit is a run of its own, decided from what is known of the earlier one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.limits import Cooldown, Debounce, Once, Unique
from asyncsched.merge import merge, merged_reason, stands_until_us
from asyncsched.retry import NO_RETRY, Retry
from asyncsched.run import Cancelled, Raised, Run, Settled, SkipReason, Succeeded, Terms, settle

RETRY = Retry(attempts=2, wait="1h")
ENDS = {
    "succeeded": (Succeeded(1), NO_RETRY),
    "failed": (Raised(ValueError()), NO_RETRY),
    "to be tried again": (Raised(ValueError()), RETRY),
}


def a_run(once: Once | None = None, due_us: int = 0) -> Run[Any]:
    return Run("r", "t", 0, due_us, terms=Terms(once=once, once_key=None if once is None else "k"))


def earlier(how: str, due_us: int = 0) -> Run[Any]:
    """A run that was made at 0, due then, and ended at 10 if it has."""
    run = a_run(due_us=due_us)
    if how in ("cancelled", "skipped"):
        status = settle(Cancelled("not wanted"), 0, NO_RETRY, 10)
        run.apply(status if how == "cancelled" else Settled(run.status.SKIPPED, 10, reason="expired"))
    elif how != "waiting":
        run.start("n", 5)
        if how != "running":
            run.apply(settle(ENDS[how][0], 1, ENDS[how][1], 10))
    return run


ALL = ["waiting", "running", *ENDS, "cancelled", "skipped"]
# What stands for the key at instant 20, by what the earlier run has come to.
TABLE: list[tuple[Once, dict[str, str]]] = [
    (Unique(), {"waiting": "same", "running": "same", "to be tried again": "same"}),
    (Unique(11), {"waiting": "same", "running": "same", "to be tried again": "same", "succeeded": "same"}),
    (Unique(10), {"waiting": "same", "running": "same", "to be tried again": "same"}),
    (Cooldown(21), dict.fromkeys(("waiting", "running", *ENDS), "same")),
    (Cooldown(20), {}),
    (Debounce(5), {}),
]


@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize(("once", "verdicts"), TABLE, ids=[str(once) for once, _ in TABLE])
def test_what_becomes_of_a_submit(once: Once, verdicts: dict[str, str], how: str) -> None:
    assert merge(a_run(once), earlier(how), 20) == verdicts.get(how, "new")


@pytest.mark.parametrize("once", [Unique(9), Cooldown(9), Debounce(9), None])
def test_the_first_of_its_key_is_a_run_of_its_own(once: Once | None) -> None:
    assert merge(a_run(once), None, 0) == "new"


@pytest.mark.parametrize("how", ALL)
def test_only_a_run_that_is_not_due_and_has_not_begun_is_moved(how: str) -> None:
    for due_us, verdict in ((21, "moved" if how == "waiting" else "new"), (20, "new")):
        assert merge(a_run(Debounce(5)), earlier(how, due_us), 20) == verdict


@settings(max_examples=1_000)
@given(st.sampled_from([Unique(0), Unique(7), Cooldown(7), Debounce(7)]), st.sampled_from(ALL[2:]), st.integers(10, 40))
def test_an_ended_run_is_forgotten_once_it_stands_for_nothing_any_more(once: Once, how: str, later_us: int) -> None:
    run = earlier(how)
    run.terms = a_run(once).terms
    if run.status.final and later_us >= stands_until_us(run, 10):
        assert merge(a_run(once), run, later_us) == "new"


def test_a_fire_in_place_of_which_another_run_stands_has_a_reason() -> None:
    assert merged_reason(Cooldown(1)) is SkipReason.COOLDOWN
    assert merged_reason(Unique()) is SkipReason.OVERLAP

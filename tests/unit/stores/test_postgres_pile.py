"""When a node at PostgreSQL says that what nobody needs piles up there, and when that this is over."""

from __future__ import annotations

from asyncsched.stores._postgres.pile import PILE, Holder, Look, Pile

DUMP = Holder("process 7 (pg_dump, user shop)", "2026-01-01 02:00:00 UTC", "SELECT pg_terminate_backend(7)", "100")
REPORT = Holder("process 8 (report, user shop)", "", "SELECT pg_terminate_backend(8)", "101")


def test_who_holds_on_to_many_rows_at_two_looks_is_named_once() -> None:
    pile = Pile()
    assert pile.judge(Look(PILE, 1, [DUMP])) is None
    told = f"{DUMP.who}, since {DUMP.since}: {DUMP.cure}"
    assert pile.judge(Look(PILE + 7, 1, [DUMP, REPORT])) == (PILE + 7, [told])
    assert pile.judge(Look(2 * PILE, 2, [DUMP, REPORT])) is None


def test_it_is_over_when_the_server_has_cleared_away_what_was_held() -> None:
    pile = Pile()
    looks = [Look(PILE, 1, [REPORT]), Look(PILE, 2, [REPORT]), Look(PILE, 2, []), Look(PILE, 3, []), Look(9, 4, [])]
    told = (PILE, [f"{REPORT.who}: {REPORT.cure}"])
    assert [pile.judge(look) for look in looks] == [None, told, None, (0, ()), None]


def test_it_is_over_when_there_are_few_again_and_told_anew_when_there_are_many() -> None:
    pile = Pile()
    for _ in range(2):
        assert pile.judge(Look(PILE, 1, [DUMP])) is None
        assert pile.judge(Look(PILE, 1, [DUMP])) is not None
        assert pile.judge(Look(PILE - 1, 1, ())) == (0, ())


def test_one_short_transaction_after_another_is_nobody_to_be_named() -> None:
    pile = Pile()
    for number in range(20):
        assert pile.judge(Look(PILE, number, [DUMP._replace(xid=str(number))])) is None


def test_a_server_that_does_not_clear_away_is_told_of_after_a_while() -> None:
    pile = Pile()
    found = [pile.judge(Look(PILE, 3, ())) for _ in range(18)]
    assert found == [None] * 15 + [(PILE, [])] + [None] * 2
    assert pile.judge(Look(PILE, 4, ())) == (0, ())


def test_a_server_that_clears_away_now_and_then_is_none() -> None:
    pile = Pile()
    assert [pile.judge(Look(PILE, number // 4, ())) for number in range(40)] == [None] * 40

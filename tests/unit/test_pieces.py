"""A dictionary in pieces."""

from asyncsched.stores._pieces import LAST, Pieces


def test_what_is_put_in_is_found_again_until_it_is_taken_out() -> None:
    pieces: Pieces[int] = Pieces()
    for number in range(1_000):
        key = f"k{number}"
        pieces[hash(key) & LAST][key] = number
    assert [pieces.get(f"k{number}") for number in range(1_000)] == list(range(1_000))
    assert sorted(pieces.values()) == list(range(1_000))
    del pieces[hash("k7") & LAST]["k7"]
    assert (pieces.get("k7"), pieces.get("never")) == (None, None)


def test_no_piece_holds_more_than_a_fraction() -> None:
    pieces: Pieces[None] = Pieces()
    for number in range(10_000):
        key = str(number)
        pieces[hash(key) & LAST][key] = None
    assert max(map(len, pieces)) < 200

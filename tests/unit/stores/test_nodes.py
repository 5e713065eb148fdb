"""Who is taken for dead: whoever holds no lock, or gives no sign of life for as long as his lease."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.errors import ConfigError
from asyncsched.stores._sqlite.neighbours import Neighbours
from asyncsched.stores._sqlite.nodes import LEASE_US, NodeLock, Silence, bury, expired, sign_of, silence, vanished
from asyncsched.stores.sqlite import SQLiteStore, store_at

SECOND = 1_000_000
SIGN = f"{1:020d} {3 * SECOND:011d}".encode()


def looks(*looks: tuple[bytes, float]) -> Silence:
    """What is known after these looks: at a sign, at an instant in seconds."""
    found = None
    for sign, at_s in looks:
        found = silence(found, sign, int(at_s * SECOND))
    assert found is not None
    return found


def test_a_lease_is_over_when_the_same_sign_has_stood_for_as_long() -> None:
    assert not expired(looks((SIGN, 0), (SIGN, 1), (SIGN, 2), (SIGN, 2.9)))
    assert expired(looks((SIGN, 0), (SIGN, 1), (SIGN, 2), (SIGN, 3)))


def test_another_sign_begins_it_anew() -> None:
    other = SIGN.replace(b"1", b"2", 1)
    assert not expired(looks((SIGN, 0), (SIGN, 2), (other, 2.5), (other, 4.5), (other, 5.4)))


def test_time_in_which_nobody_looked_counts_little() -> None:
    assert not expired(looks((SIGN, 0), (SIGN, 1_000)))
    assert expired(looks((SIGN, 0), (SIGN, 1_000), (SIGN, 1_001)))


@pytest.mark.parametrize("sign", [b"", b"7", b"7 ", b"7 soon", b"\xff\xff 1"[:2]])
def test_a_sign_that_says_nothing_of_a_lease_never_expires(sign: bytes) -> None:
    assert not expired(looks(*((sign, at_s) for at_s in range(100))))


@given(st.lists(st.floats(0, 100), min_size=2, max_size=20))
def test_nobody_is_taken_for_dead_before_his_lease_is_over(instants: list[float]) -> None:
    ordered = sorted(instants)
    if ordered[-1] - ordered[0] < 3 - 1e-3:
        assert not expired(looks(*((SIGN, at_s) for at_s in ordered)))


def test_a_lock_gives_signs_of_life_of_which_each_is_another_one(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    lock = NodeLock(path, "n1", 4)
    lock.take()
    try:
        first = sign_of(path, "n1")
        lock.renew()
        lock.renew()
        assert first != sign_of(path, "n1")
        (file,) = tmp_path.iterdir()
        assert file.read_bytes()[1:] == lock.sign
        assert lock.sign.endswith(b" 00000000004")
    finally:
        lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_renewed_no_more_often_than_need_be(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    lock = NodeLock(path, "n1", LEASE_US)
    lock.take()
    first = lock.sign
    lock.renew()
    assert lock.sign == first
    lock.release()


def test_a_node_is_gone_when_its_process_has_ended(tmp_path: Path) -> None:
    path = str(tmp_path / "jobs.db")
    lock = NodeLock(path, "n1")
    lock.take()
    assert not vanished(path, "n1")
    lock.vanish()
    assert vanished(path, "n1")
    bury(path, "n1")
    assert list(tmp_path.iterdir()) == []
    assert vanished(path, "n1")


@pytest.mark.parametrize(
    ("lease", "us"), [("3s", 3 * SECOND), (timedelta(seconds=20), 20 * SECOND), ("1d", 86_400 * SECOND)]
)
def test_the_lease_is_an_option_of_the_store(lease: str | timedelta, us: int) -> None:
    assert SQLiteStore("jobs.db", lease=lease)._lease_us == us


def test_the_lease_may_stand_in_the_url() -> None:
    assert store_at("sqlite:///jobs.db?lease=5s")._lease_us == 5 * SECOND
    assert store_at("sqlite:///jobs.db")._lease_us == LEASE_US


@pytest.mark.parametrize("lease", ["2.9s", "2d", "0s", "soon"])
def test_a_lease_that_is_none_is_refused(lease: str) -> None:
    with pytest.raises(ConfigError, match="lease"):
        SQLiteStore("jobs.db", lease=lease)


def test_what_others_wrote_before_the_first_look_and_then_went_is_asked_for_once(tmp_path: Path) -> None:
    path, heard = str(tmp_path / "jobs.db"), list[str]()
    lock = NodeLock(path, "n1")
    neighbours = Neighbours(path, lambda: lock, lambda: 0, lambda: heard.append("changed"), heard.clear)
    lock.take()
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("CREATE TABLE asyncsched_nodes (id TEXT)")
            db.execute("INSERT INTO asyncsched_nodes VALUES ('n1')")
            neighbours._sweep_us = 2**62  # nothing to be handed back: this file has no runs
            neighbours.look(db)
            neighbours.look(db)
        assert heard == ["changed"]
    finally:
        lock.release()

"""The lock that one process of a group has, whatever becomes of the others."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncsched._engine.host import HostLock, stands_by

if sys.platform == "win32":
    pytest.skip("there is no such lock", allow_module_level=True)

import fcntl

# Says whether it got the lock, then does what it is told: try once more, release, fork a child, or end.
MEMBER = """
import os, sys
from asyncsched._engine.host import HostLock

lock = HostLock({tasks})
print(lock.take(), flush=True)
for line in sys.stdin:
    match line.strip():
        case "take":
            print(lock.take(), flush=True)
        case "release":
            print(lock.release(), flush=True)
        case "fork":
            lives, tells = os.pipe()
            child = os.fork()
            if not child:
                os.close(0)
                os.write(tells, b"!")
                os.read({pipe}, 1)
                os._exit(0)
            os.read(lives, 1)
            print(child, flush=True)
"""


class Member:
    """A process of the group."""

    def __init__(self, *tasks: str, pipe: int = -1) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", MEMBER.format(tasks=list(tasks), pipe=pipe)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[pipe] if pipe >= 0 else [],
        )
        self.first = self.answer()

    def answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, word: str) -> str:
        assert self.process.stdin is not None
        print(word, file=self.process.stdin, flush=True)
        return self.answer()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def member() -> Iterator[Callable[..., Member]]:
    members: list[Member] = []

    def start(*tasks: str, pipe: int = -1) -> Member:
        members.append(Member(*tasks, pipe=pipe))
        return members[-1]

    yield start
    for one in members:
        one.end()


@pytest.fixture
def lock() -> Iterator[HostLock]:
    lock = HostLock(["a"])
    yield lock
    lock.release()


def test_one_of_a_group_has_it_and_another_when_that_is_killed(member: Callable[..., Member], temporary: Path) -> None:
    first, second, third = member("a", "b"), member("b", "a"), member("a")
    assert (first.first, second.first, third.first) == ("True", "False", "True")
    assert second.ask("take") == "False"
    first.end()
    assert second.ask("take") == second.ask("take") == "True"
    assert len(list(temporary.iterdir())) == 2


def test_who_releases_it_leaves_nothing_behind(member: Callable[..., Member], temporary: Path) -> None:
    first, second = member("a"), member("a")
    first.ask("release")
    assert list(temporary.iterdir()) == []
    assert second.ask("take") == "True"
    assert first.ask("take") == "False"
    assert len(list(temporary.iterdir())) == 1


def test_a_forked_child_does_not_keep_it(member: Callable[..., Member]) -> None:
    reading, writing = os.pipe()
    try:
        first, second = member("a", pipe=reading), member("a")
        child = int(first.ask("fork"))
        assert second.ask("take") == "False"
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        os.kill(child, 0)
        assert second.ask("take") == "True"
    finally:
        os.close(writing)  # the child ends
        os.close(reading)


def test_schedulers_of_one_process_do_not_compete(lock: HostLock) -> None:
    other = HostLock(["a"])
    assert (lock.take(), other.take()) == (True, True)
    other.release()
    assert (other.held, lock.held, lock.take()) == (False, True, True)


def test_it_can_be_had_again(lock: HostLock, temporary: Path) -> None:
    assert lock.take()
    (file,) = temporary.iterdir()
    lock.release()
    lock.release()
    assert lock.take()
    assert list(temporary.iterdir()) == [file]


def test_a_file_of_a_killed_process_is_no_lock(lock: HostLock, temporary: Path) -> None:
    assert lock.take()
    (file,) = temporary.iterdir()
    lock.release()
    file.write_text("left behind")
    assert lock.take()


def test_a_lock_on_a_file_that_was_just_taken_away_is_none(
    lock: HostLock, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(fd: int, how: int) -> None:
        (file,) = temporary.iterdir()
        file.unlink()
        flock(fd, how)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", late)
        assert not lock.take()
    assert lock.take()


def test_who_releases_it_does_not_take_away_the_file_of_another(member: Callable[..., Member], temporary: Path) -> None:
    first = member("a")
    (file,) = temporary.iterdir()
    file.unlink()  # somebody tidied up
    assert member("a").first == "True"
    first.ask("release")
    assert file.exists()


def test_who_waits_keeps_the_file_young(member: Callable[..., Member], temporary: Path) -> None:
    member("a")
    (file,) = temporary.iterdir()
    os.utime(file, (0, 0))
    assert member("a").first == "False"
    assert file.stat().st_mtime > 1e9


def test_where_there_can_be_no_lock_every_process_fires_and_says_so(
    lock: HostLock, temporary: Path, caplog: pytest.LogCaptureFixture
) -> None:
    temporary.rmdir()
    with caplog.at_level(logging.WARNING, "asyncsched"):
        assert not stands_by(lock)
    (record,) = caplog.records
    assert "each of them fires: no lock can be had: [Errno 2] No such file" in record.getMessage()


def test_a_link_in_its_place_is_not_followed(lock: HostLock, temporary: Path) -> None:
    assert lock.take()
    (file,) = temporary.iterdir()
    lock.release()
    file.symlink_to(temporary / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        lock.take()
    assert not (temporary / "elsewhere").exists()


def test_a_file_of_another_user_is_refused(lock: HostLock, temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: -1)
    with pytest.raises(PermissionError, match="belongs to another user"):
        lock.take()
    assert not lock.held

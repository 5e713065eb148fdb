"""Which process of a host fires: one that holds a lock of the system; the others try for it, now and then.

The system lets go of the lock when its process ends, however it ends, so nobody has to be told.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection
from itertools import count
from pathlib import Path

from asyncsched._engine.bus import warn
from asyncsched._engine.timer import Timer
from asyncsched._heap import Wakeup
from asyncsched.clock import SECOND_US

if sys.platform != "win32":
    import fcntl

# A process that stands by tries for the lock this often: it takes over within a second of the other's end.
_TRY_US = SECOND_US // 2


class HostLock:
    """A lock that one process has of all those which one server started.

    Those processes have the user, the parent, the arguments and the folder in common, and serve the same tasks.
    Schedulers of one process do not compete: each has a lock of its own.
    """

    def __init__(self, tasks: Collection[str]) -> None:
        self._tasks = sorted(tasks)
        self._path: Path | None = None
        self._fd = -1

    @property
    def held(self) -> bool:
        """Whether this process has the lock."""
        return self._fd >= 0

    def take(self) -> bool:
        """Take the lock if nobody has it; whether it is ours.

        Raises:
            OSError: there can be no lock, on this system or in its folder for temporary files.
        """
        if self._path is None:
            self._path = self._free_path()
            _LOCKS.add(self)
        if not self.held:
            self._fd = _locked(self._path)
        return self.held

    def release(self) -> None:
        """Let another process have the lock. Nothing happens if it is not ours."""
        _LOCKS.discard(self)
        path, self._path = self._path, None
        if path is not None and self.held:
            with contextlib.suppress(OSError):
                if _is_file(self._fd, path):
                    path.unlink()
            self.forget()

    def forget(self) -> None:
        """Close the descriptor; the lock is free unless another process has inherited it."""
        if self.held:
            os.close(self._fd)
            self._fd = -1

    def _free_path(self) -> Path:
        """The same in every process of the group; another one for each scheduler of this process."""
        if sys.platform == "win32":
            raise OSError("Windows has no such lock")
        taken = {lock._path for lock in _LOCKS}
        import hashlib  # 5 ms to import in all, and many programs never ask
        import json
        import tempfile

        group = [os.getuid(), os.getppid(), str(Path.cwd()), sys.argv, self._tasks]
        names = (hashlib.sha256(json.dumps([*group, number]).encode()).hexdigest()[:24] for number in count())
        paths = (Path(tempfile.gettempdir(), f"asyncsched-{name}.lock") for name in names)
        return next(path for path in paths if path not in taken)


_LOCKS: set[HostLock] = set()


def _forget_all() -> None:
    # A forked child inherits the descriptor, and with it the lock: it would hold it after this process was killed.
    for lock in _LOCKS:
        lock.forget()
    _LOCKS.clear()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_all)


def _locked(path: Path) -> int:
    """A descriptor of the locked file, -1 if another has the lock. What a killed process left behind is no lock."""
    if sys.platform == "win32":
        raise OSError("Windows has no such lock")
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    ours = False
    try:
        if os.fstat(fd).st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to another user")
        # Whoever waits keeps the file young: what tidies up old temporary files must not take it away.
        os.utime(fd)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder takes the file away: a lock on what has no name any more is none.
            ours = _is_file(fd, path)
    finally:
        if not ours:
            os.close(fd)
    return fd if ours else -1


def _is_file(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def stands_by(lock: HostLock) -> bool:
    """Whether another process has the lock. Where there can be none, every process fires, and this one says so."""
    try:
        if lock.take():
            return False
    except OSError as error:
        warn("if other processes of this host serve the same tasks, each of them fires: no lock can be had: %s", error)
        return False
    warn(
        "another process of this host fires the tasks; this one (pid %d) stands by: it runs what is submitted to it, "
        "and takes over when the other ends. A store that the processes share lets all of them work; "
        "once_per_host=False lets each of them fire",
        os.getpid(),
    )
    return True


class Standby(Wakeup):
    """Tries for the lock until it is ours, then calls ``took_over``, once. Without a lock it has nothing to do."""

    __slots__ = ("_lock", "_now_us", "_timer", "_took_over", "_troubled")

    def __init__(
        self, lock: HostLock | None, timer: Timer, now_us: Callable[[], int], took_over: Callable[[], None]
    ) -> None:
        super().__init__()
        self._lock = lock
        self._timer = timer
        self._now_us = now_us
        self._took_over = took_over
        self._troubled = False

    def begin(self) -> bool:
        """Whether another process fires; then it is tried again and again."""
        if self._lock is None or not stands_by(self._lock):
            return False
        self._wait()
        return True

    def end(self) -> None:
        """Try no more."""
        self._timer.drop(self)

    def leave(self) -> None:
        """Let another process fire."""
        if self._lock is not None:
            self._lock.release()

    def jumped(self) -> None:
        """The clock was set: a try that would come at an instant of the old clock comes soon all the same."""
        if self.due_us is not None:
            self._wait()

    def _wait(self) -> None:
        self._timer.set(self, self._now_us() + _TRY_US)

    def ring(self) -> None:
        assert self._lock is not None
        self.due_us = None
        try:
            ours = self._lock.take()
        except OSError as error:  # such as no descriptor to be had: another process may well be firing
            ours = False
            if not self._troubled:
                self._troubled = True
                warn("this process stands by and cannot try to take over: %s", error)
        if ours:
            self._took_over()
        else:
            self._wait()

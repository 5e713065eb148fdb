"""Plain functions that need a processor of their own, in worker processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from asyncsched.context import current_run
from asyncsched.errors import ArgumentsError, MisuseError, ProcessDied
from asyncsched.executors._base import Executor
from asyncsched.executors._child import START, Answer, Errand, Place, end_group, packed, receive, send, unpacked
from asyncsched.executors._crew import Crew
from asyncsched.naming import check_importable
from asyncsched.run import Run

# A process takes 0.3 s to start, and keeps what its functions have imported.
_IDLE_S = 60.0
# What an idle process may take to leave, for what its functions registered with atexit.
_FAREWELL_S = 1.0


class ProcessExecutor(Executor):
    """Calls the function in one of at most ``processes`` worker processes, default one for each processor.

    The function is named to the process, which imports it; arguments and results are pickled. A cancelled call
    ends with its process, which is killed with all that it has started in its group. If this process ends, however
    it does, its workers end too.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._processes = processes or os.cpu_count() or 1
        self._crew: Crew | None = None
        self._mine = threading.local()

    async def call(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        crew = self._crew
        if crew is None or crew.loop is not asyncio.get_running_loop():
            crew = self._crew = Crew(self._processes, _IDLE_S, "asyncsched process", leave=self._leave)
        run = _run()
        job = _Job(_place(func), run, args, dict(kwargs))
        try:
            answer: Answer = await crew.call(self._ask, (job,), {})
        except asyncio.CancelledError:
            job.cancel()
            raise
        if run is not None and answer.notes is not None:
            run.notes = answer.notes
        if answer.error is not None:
            raise answer.error
        return answer.result

    @property
    def busy(self) -> int:
        return 0 if self._crew is None else self._crew.waited_for + self._crew.lost

    async def close(self) -> None:
        crew, self._crew = self._crew, None
        if crew is not None:
            await crew.close(patient=True)

    # Each thread of the crew has a process, from its first call to its own end.

    def _ask(self, job: _Job) -> Answer:
        errand = packed(Errand(job.place, job.packed()))
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is None or worker.gone():
            worker = self._mine.worker = _Worker()
        if not job.begin(worker):
            return Answer()
        try:
            return Answer(*unpacked(worker.ask(errand)))
        except EOFError:
            raise ProcessDied(str(job.place), returncode=worker.wait()) from None
        finally:
            job.end()

    def _leave(self) -> None:
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is not None:
            worker.leave()


class _Job:
    """A call, and the process that it is in."""

    def __init__(self, place: Place, run: Run[Any] | None, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.place = place
        self._contents = (run, args, kwargs)
        self._lock = threading.Lock()
        self._cancelled = False
        self._worker: _Worker | None = None

    def packed(self) -> bytes:
        """Run and arguments, to be sent.

        Raises:
            ArgumentsError: they cannot be.
        """
        try:
            return packed(self._contents)
        except Exception as error:
            raise ArgumentsError(
                f"the arguments of {self.place} cannot be sent to another process: {error}; give what can be pickled"
            ) from error

    def begin(self, worker: _Worker) -> bool:
        """The worker is at it; whether somebody still waits for it."""
        with self._lock:
            self._worker = None if self._cancelled else worker
            return not self._cancelled

    def end(self) -> None:
        """The worker is free for others."""
        with self._lock:
            self._worker = None

    def cancel(self) -> None:
        """Kill the worker that is at it, or let none begin."""
        with self._lock:
            self._cancelled = True
            if self._worker is not None:
                self._worker.kill()


class _Worker:
    """A worker process, as its thread sees it."""

    def __init__(self) -> None:
        # A session of its own: Ctrl-C in the terminal is for the scheduler, and the group can be killed as one.
        self._process = subprocess.Popen(
            [sys.executable, "-c", START, *sys.path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._killed = False

    def ask(self, errand: bytes) -> bytes:
        """The answer.

        Raises:
            EOFError: it died.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            send(cast("Any", self._process.stdin), errand)
            return receive(cast("Any", self._process.stdout))
        except OSError as error:
            raise EOFError from error

    def kill(self) -> None:
        """End it now, with all that it has started."""
        self._killed = True
        if self._process.returncode is None:
            end_group(self._process.pid)

    def gone(self) -> bool:
        """Whether it can be asked no more."""
        if self._killed or self._process.poll() is not None:
            self.wait()
            return True
        return False

    def wait(self) -> int:
        """How it ended, once it has."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not read by the one that died
                    pipe.close()
        return self._process.wait()

    def leave(self) -> None:
        """Let it end by itself, or kill it."""
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout=_FAREWELL_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self.wait()


def _run() -> Run[Any] | None:
    try:
        return current_run()
    except MisuseError:
        return None


def _place(func: Callable[..., Any]) -> Place:
    """Where a worker process finds ``func``.

    Raises:
        ConfigError: nowhere.
    """
    check_importable(func)
    main: dict[str, Any] = {}
    if func.__module__ == "__main__":
        main = {"sys_argv": sys.argv}
        module = sys.modules["__main__"]
        if spec := getattr(module, "__spec__", None):
            main["init_main_from_name"] = spec.name
        else:
            main["init_main_from_path"] = os.path.abspath(str(module.__file__))  # noqa: PTH100 - as multiprocessing
    return Place(func.__module__, func.__qualname__, main)

"""The inside of a worker process: it calls functions by their names, as the process that started it asks.

The two speak pickle, over pipes that nobody else holds; nothing of it is stored anywhere.
"""

from __future__ import annotations

import copyreg
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cache, reduce
from importlib import import_module
from queue import SimpleQueue
from typing import Any, BinaryIO, NamedTuple

from asyncsched.context import enter_run
from asyncsched.errors import ConfigError
from asyncsched.run import Run
from asyncsched.task import Task

START = "import sys; sys.path[:] = sys.argv[1:]; from asyncsched.executors._child import serve; serve()"
"""The program of a worker process; its arguments are the ``sys.path`` of the process that starts it."""


class Place(NamedTuple):
    """Where another process finds a function; ``main`` says how ``multiprocessing`` loads the main module there."""

    module: str
    name: str
    main: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


class Errand(NamedTuple):
    """A call as it is asked for. The arguments stay packed until the main module is there, if they need it."""

    place: Place
    packed: bytes


class Answer(NamedTuple):
    """What came of it: a result or what was raised, and what the function noted on its run."""

    result: Any = None
    error: BaseException | None = None
    notes: dict[str, Any] | None = None


# --- what goes through the pipes


# Of a run is sent what its function may ask for; the rest is the scheduler's.
_MADE = ("id", "task", "created_us", "due_us", "scheduled_us", "stands_for", "terms")
_LIVED = ("status", "attempt", "token", "node", "started_us", "retry_of", "notes")


def _reduced(run: Run[Any]) -> tuple[Any, ...]:
    return _run, tuple({name: getattr(run, name) for name in names} for names in (_MADE, _LIVED))


def _run(made: Mapping[str, Any], lived: Mapping[str, Any]) -> Run[Any]:
    run: Run[Any] = Run(**made)
    for name, value in lived.items():
        setattr(run, name, value)
    return run


def packed(value: object) -> bytes:
    """``value`` as bytes."""
    import pickle  # with multiprocessing it takes 4 ms to import, and few programs have worker processes

    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = {**copyreg.dispatch_table, Run: _reduced}
    pickler.dump(value)
    return buffer.getvalue()


def unpacked(data: bytes) -> Any:
    """What was ``packed``."""
    import multiprocessing  # noqa: F401 - from then on the main module is known here by the name that it has there
    import pickle

    return pickle.loads(data)


def send(pipe: BinaryIO, data: bytes) -> None:
    """Write a message."""
    pipe.write(len(data).to_bytes(8))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> bytes:
    """Read a message.

    Raises:
        EOFError: the other end is gone.
    """
    head = pipe.read(8)
    data = pipe.read(int.from_bytes(head))
    if len(head) < 8 or len(data) < int.from_bytes(head):
        raise EOFError("the other end is gone")
    return data


# --- in the worker process


class _Main:
    loading = False
    """The program's main module is being loaded."""


def refuse_in_child() -> None:
    """Refuse to go on where a worker process only loads the program's main module.

    Raises:
        ConfigError: it does.
    """
    if _Main.loading:
        raise ConfigError(
            "executor='process' loads the program's main module once more, in a worker process, to find the function: "
            "put what starts the scheduler under `if __name__ == '__main__':`, or the function into another module"
        )


class _Reader(threading.Thread):
    """Reads errands; when nobody asks any more, ends the process, also from within a function."""

    def __init__(self, pipe: BinaryIO) -> None:
        super().__init__(name="asyncsched errands", daemon=True)
        self._pipe = pipe
        self.errands: SimpleQueue[bytes | None] = SimpleQueue()
        self.open = 0
        """Errands that were asked for and have not been answered: at most one."""

    def run(self) -> None:
        try:
            while True:
                errand = receive(self._pipe)
                self.open = 1
                self.errands.put(errand)
        except EOFError:
            if self.open:
                end_group(os.getpid())
                os._exit(1)
            self.errands.put(None)


def serve() -> None:
    """Answer errands until nobody asks any more."""
    sys.argv[1:] = []
    errands, answers = _pipes()
    reader = _Reader(errands)
    reader.start()
    while (data := reader.errands.get()) is not None:
        answer = _answer(Errand(*unpacked(data)))
        reader.open = 0
        send(answers, answer)


def _pipes() -> tuple[BinaryIO, BinaryIO]:
    """Whence errands come and where answers go: standard input and output, which functions do not get to see.

    What they print goes where errors go; they read nothing.
    """
    pipes = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    try:
        os.dup2(2, 1)
    except OSError:  # a daemon without standard error
        os.dup2(null, 1)
    os.close(null)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    return pipes


def _answer(errand: Errand) -> bytes:
    place = Place(*errand.place)
    run: Run[Any] | None = None
    result, raised = None, None
    try:
        function = _find(place)
        run, args, kwargs = _unpickler()(io.BytesIO(errand.packed), place.main).load()
        if run is not None:
            enter_run(run)
        result = function(*args, **kwargs)
    # Whatever is raised belongs to the run that asked.
    except BaseException as error:
        raised = _told(error)
    notes = None if run is None else run.notes
    try:
        return packed(Answer(result, raised, notes))
    except Exception as error:
        return packed(Answer(error=TypeError(f"what {place} gave cannot be sent to another process: {error}")))


@cache
def _unpickler() -> Any:
    import pickle

    class Unpickler(pickle.Unpickler):
        """Loads the program's main module if something of it was sent."""

        def __init__(self, file: BinaryIO, main: dict[str, Any]) -> None:
            super().__init__(file)
            self._main = main

        def find_class(self, module: str, name: str, /) -> Any:
            if module == "__main__":
                _load_main(self._main)
            return super().find_class(module, name)

    return Unpickler


def _find(place: Place) -> Any:
    if place.module == "__main__":
        _load_main(place.main)
    try:
        found: Any = reduce(getattr, place.name.split("."), import_module(place.module))
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"a worker process does not find {place}: executor='process' needs a function at the top of a module that "
            f"can be imported there ({error})"
        ) from error
    return _undecorated(found)


def _undecorated(found: Any) -> Any:
    """The function of the task that ``found`` is or wraps, since a task takes the name of its function."""
    inner = found
    while not isinstance(inner, Task):
        inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            return found
    return inner.__wrapped__


def _load_main(main: dict[str, Any]) -> None:
    from multiprocessing import spawn

    _Main.loading = True
    try:
        spawn.prepare(main)
    finally:
        _Main.loading = False


def _told(error: BaseException) -> BaseException:
    """``error`` with its traceback as a note, since no traceback can be sent; a likeness if it cannot be sent."""
    inner = error.__traceback__ and error.__traceback__.tb_next
    text = "".join(traceback.format_exception(error.with_traceback(inner)))
    try:
        if type(unpacked(packed(error))) is not type(error):
            raise TypeError
    except Exception:
        error = RuntimeError(f"{type(error).__qualname__}: {error}")
    error.add_note(f"in the worker process:\n{text}")
    return error


def end_group(pid: int) -> None:
    """Kill the process, and its group where there are any and it leads one."""
    with suppress(ProcessLookupError, PermissionError):
        if hasattr(os, "killpg") and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)
        else:
            os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))

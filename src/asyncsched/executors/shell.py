"""A program of the operating system, as a task's function."""

from __future__ import annotations

import asyncio
import codecs
import os
import shlex
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError, ShellFailed
from asyncsched.executors._base import hold_still

OUTPUT_LIMIT = 1 << 20
"""So many bytes are kept of each of the two outputs, the last ones."""
_KILL = getattr(signal, "SIGKILL", signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a program gave.

    left_out: how many bytes are missing at the beginning of the two outputs, which keep 1 MiB each.
    """

    returncode: int
    stdout: str
    stderr: str
    left_out: int = 0


@dataclass(frozen=True)
class Shell:
    """A function that runs a program and gives what it printed: ``Task(func=Shell("ls -l"), every="1m", id="ls")``.

    A text is a command line for ``/bin/sh``; a list is a program and its arguments, and no shell sees it.
    ``cwd``, ``env`` and the meaning of ``stdin`` are those of ``subprocess.run``, but without ``stdin`` the program
    reads nothing, and not the terminal.

    Cancelling it, or its task's ``timeout``, ends the program and all that it started in its process group: by
    SIGTERM, and after ``grace`` by SIGKILL.

    Args:
        check: whether an exit status other than 0 raises ``ShellFailed``.
        encoding: of the outputs, where what cannot be decoded is shown as U+FFFD, and of a text as ``stdin``.
        grace: what a cancelled program may still take, in real time also in tests. A scheduler that is left waits
            at most 5 s for it.

    Raises:
        ConfigError: an argument is wrong.
    """

    command: str | Sequence[str]
    _: KW_ONLY
    cwd: str | Path | None = None
    env: Mapping[str, str] | None = field(default=None, hash=False)
    stdin: str | bytes | None = None
    check: bool = True
    encoding: str = "utf-8"
    grace: timedelta | str = "500ms"

    def __post_init__(self) -> None:
        given: object = self.command
        words = [given] if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
        if not words or not all(isinstance(word, str) for word in words) or not "".join(words[:1]).strip():
            raise ConfigError(
                f"Shell({self.command!r}): a command line such as 'ls -l', or a list such as ['ls', '-l']"
            )
        if not isinstance(self.command, str):
            object.__setattr__(self, "command", tuple(words))
        try:
            codecs.lookup(self.encoding)
        except (LookupError, TypeError):
            raise ConfigError(f"encoding={self.encoding!r}: there is none of this name; try 'utf-8'") from None
        object.__setattr__(self, "grace", as_duration("grace", self.grace, zero=True))

    async def __call__(self) -> Finished:
        """Run it.

        Raises:
            ShellFailed: it ended with another exit status than 0, or by a signal.
            OSError: it could not be started.
        """
        loop = asyncio.get_running_loop()
        go_on = hold_still(loop, lambda: True)
        try:
            return self._judge(await self._run(loop))
        finally:
            go_on()

    async def _run(self, loop: asyncio.AbstractEventLoop) -> _Child:
        """The program, at its end."""
        assert isinstance(self.grace, timedelta)
        grace_s = self.grace.total_seconds()
        starting = loop.create_task(self._start(loop))
        cancelled: list[asyncio.CancelledError] = []
        while not starting.done():
            try:  # asyncio may wait for ever for a program that was cancelled between its start and its pipes
                await asyncio.wait([starting])
            except asyncio.CancelledError as error:
                cancelled.append(error)
        child = starting.result()
        try:
            if cancelled:
                raise cancelled[0]
            child.write(self.stdin.encode(self.encoding) if isinstance(self.stdin, str) else self.stdin)
            await asyncio.shield(child.gone)
        except BaseException:
            await child.end(0 if len(cancelled) > 1 else grace_s)
            raise
        finally:
            child.transport.close()
        return child

    async def _start(self, loop: asyncio.AbstractEventLoop) -> _Child:
        # A session of its own: Ctrl-C in the terminal is for the scheduler, and the group can be ended as one.
        how: dict[str, Any] = {"cwd": self.cwd, "env": self.env, "start_new_session": True}
        how["stdin"] = subprocess.DEVNULL if self.stdin is None else subprocess.PIPE
        if isinstance(self.command, str):
            _, child = await loop.subprocess_shell(_Child, self.command, **how)
        else:
            _, child = await loop.subprocess_exec(_Child, *self.command, **how)
        return child

    def _judge(self, child: _Child) -> Finished:
        returncode = child.transport.get_returncode()
        assert returncode is not None
        stdout, stderr = (output.read().decode(self.encoding, "replace") for output in child.outputs.values())
        left_out = sum(output.left_out for output in child.outputs.values())
        if returncode and self.check:
            command = self.command if isinstance(self.command, str) else shlex.join(self.command)
            raise ShellFailed(command, returncode=returncode, stdout=stdout, stderr=stderr)
        return Finished(returncode, stdout, stderr, left_out)


class _Output:
    """The last bytes of an output."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self.left_out = 0

    def feed(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)
        while self._size - len(self._parts[0]) >= OUTPUT_LIMIT:
            self._forget(len(self._parts.popleft()))

    def read(self) -> bytes:
        whole = b"".join(self._parts)
        self._forget(max(0, len(whole) - OUTPUT_LIMIT))
        return whole[-OUTPUT_LIMIT:]

    def _forget(self, count: int) -> None:
        self._size -= count
        self.left_out += count


class _Child(asyncio.SubprocessProtocol):
    """A program that runs: what it writes, when it is gone, and how it is ended."""

    transport: asyncio.SubprocessTransport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._exited = self._forced = False
        self.outputs = {1: _Output(), 2: _Output()}
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """It has exited, and nobody writes to its outputs any more, unless it was forced."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self.outputs[fd].feed(data)

    def process_exited(self) -> None:
        self._exited = True
        if self._forced:
            self._set_gone()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._set_gone()

    def write(self, data: bytes | None) -> None:
        """Write ``data`` to its standard input, and end that."""
        if data is not None:
            pipe: Any = self.transport.get_pipe_transport(0)
            pipe.write(data)
            pipe.close()

    async def end(self, grace_s: float) -> None:
        """Return once it and its group are ended. If this is cancelled, they are killed at once."""
        # Real seconds, also where the loop's are virtual: the program lives by the machine's clock.
        deadline = threading.Timer(grace_s, self._force)
        deadline.daemon = True
        deadline.start()
        self._signal(signal.SIGTERM)
        try:
            await asyncio.shield(self.gone)
        finally:
            deadline.cancel()
            self._signal(_KILL)  # who has let go of the outputs may still be there
            self.transport.close()

    def _force(self) -> None:
        """End it now. In the thread of the deadline."""
        self._signal(_KILL)
        with suppress(RuntimeError):  # the loop was closed
            self._loop.call_soon_threadsafe(self._wait_no_more)

    def _wait_no_more(self) -> None:
        # A process that left the group may hold the outputs for ever.
        self._forced = True
        if self._exited:
            self._set_gone()

    def _set_gone(self) -> None:
        if not self.gone.done():
            self.gone.set_result(None)

    def _signal(self, number: int) -> None:
        """Send a signal to its group; where the system has none, to itself."""
        with suppress(ProcessLookupError, PermissionError):
            if hasattr(os, "killpg"):
                os.killpg(self.transport.get_pid(), number)
            else:
                self.transport.send_signal(number)

"""Everything that asyncsched raises, split first by whose fault it is.

    AsyncschedError
    ├── CallerError                 what was asked cannot be: the message says what would be right
    │   ├── ConfigError             (ValueError) a wrong argument, found where it was given
    │   │   ├── TriggerError        a trigger that cannot be: field, text and allowed range
    │   │   ├── DurationError       a text that is no duration
    │   │   ├── TimeZoneError       an unknown zone, or a system zone that has no name
    │   │   └── DuplicateTask       two tasks with one id
    │   ├── UnknownTask             (LookupError) no task has this id
    │   ├── UnknownRun              (LookupError) no run has this id
    │   ├── ArgumentsError          (TypeError) arguments that do not fit the function's signature
    │   └── MisuseError             (RuntimeError) a call at the wrong moment: entering twice, too early
    ├── WorldError                  what we stand on failed; it may work later
    │   ├── StoreError              the store cannot be reached, or refuses
    │   ├── ShellFailed             a program ended with another exit status than 0, or by a signal
    │   ├── ProcessDied             a worker process died before it gave a result
    │   └── MissingExtra            (ImportError) a part that is not installed, and the command that mends it
    └── RunError                    what `await run` raises when there is no result
        ├── RunFailed               the function raised, and its own exception is not at hand
        ├── RunSkipped              the fire was skipped; `.reason` tells why
        │   └── UpstreamFailed      a run that it needs failed; that one's error is the `__cause__`
        └── RunCancelled            the run was cancelled

``await run`` raises the function's own exception wherever it is at hand.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence


class AsyncschedError(Exception):
    """The root of all errors of this library."""


class CallerError(AsyncschedError):
    """What was asked cannot be done; asking again will not help."""


class ConfigError(CallerError, ValueError):
    """A wrong argument: what was given, and what would be right."""


class TriggerError(ConfigError):
    """A trigger that cannot be. The message names the field, the offending text and the allowed range."""


class DurationError(ConfigError):
    """A text that is no duration."""


class TimeZoneError(ConfigError):
    """An unknown time zone, or a system zone without a name."""


class DuplicateTask(ConfigError):
    """Two tasks with one id."""


class UnknownTask(CallerError, LookupError):
    """No task has this id."""


class UnknownRun(CallerError, LookupError):
    """No run has this id."""


class UnknownNode(CallerError, LookupError):
    """No node at the store has this id or name, or several have the name."""


class ArgumentsError(CallerError, TypeError):
    """Arguments that do not fit the function's signature. The message names the parameter."""


class MisuseError(CallerError, RuntimeError):
    """A call at the wrong moment or from the wrong place. The message says what to do instead."""


class WorldError(AsyncschedError):
    """What this program stands on failed; the same call may work later."""


class StoreError(WorldError):
    """The store cannot be reached, or refuses."""


class ShellFailed(WorldError):
    """A program ended with another exit status than 0, or by a signal: then ``returncode`` is minus its number."""

    def __init__(self, command: str, *, returncode: int, stdout: str, stderr: str) -> None:
        last = (stderr.strip() or stdout.strip()).rpartition("\n")[2]
        super().__init__(f"{command!r} ended {how_ended(returncode)}{last and ': '}{last[-200:]}")
        self.returncode = returncode
        self.stdout = stdout
        self.stderr = stderr


class ProcessDied(WorldError):
    """A worker process died before it gave a result; ``returncode`` is as ``subprocess`` tells it."""

    def __init__(self, what: str, *, returncode: int) -> None:
        super().__init__(f"the worker process that called {what} died {how_ended(returncode)}")
        self.returncode = returncode


def how_ended(returncode: int) -> str:
    """How a process ended, in words: ``with exit status 3``, ``by SIGKILL``."""
    if returncode >= 0:
        return f"with exit status {returncode}"
    known = {member.value: member.name for member in signal.Signals}
    return f"by {known.get(-returncode, f'signal {-returncode}')}"


class MissingExtra(WorldError, ImportError):
    """A part of the library that is not installed. The message is the command that installs it."""


class RunError(AsyncschedError):
    """What ``await run`` raises when the run ended without a result."""

    def __init__(self, message: str, *, run_id: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.run_id = run_id
        self.reason = reason


class RunFailed(RunError):
    """The run's function raised, and its own exception is not at hand here."""


class RunSkipped(RunError):
    """The fire was skipped and never ran; ``reason`` is the recorded reason."""


class UpstreamFailed(RunSkipped):
    """The run never ran because a run that it needs failed; that one's error is the ``__cause__``, where it is at hand.

    ``upstreams`` holds the ids of the runs that failed. One of them may have been skipped for the same reason: its
    own error is then an ``UpstreamFailed`` too, so the chain of causes leads to where it began.
    """

    def __init__(
        self, message: str, *, run_id: str, upstreams: Sequence[str], cause: BaseException | None = None
    ) -> None:
        super().__init__(message, run_id=run_id, reason="upstream_failed")
        self.upstreams = tuple(upstreams)
        self.__cause__ = cause


class RunCancelled(RunError):
    """The run was cancelled before it had a result."""

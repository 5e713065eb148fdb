"""Where the calling code is: the run that it is part of."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Annotated, Any

from asyncsched.errors import MisuseError
from asyncsched.run import Run


class Injected:
    """Marks, within ``Annotated``, a parameter that the scheduler fills in."""


RunContext = Annotated[Run[Any], Injected()]
"""The type of a parameter that is given the run that the call is part of, as ``current_run()`` gives it."""

_current: ContextVar[Run[Any]] = ContextVar("asyncsched_current_run")


def current_run() -> Run[Any]:
    """The run that the calling code is part of, on the loop and in worker threads alike.

    Raises:
        MisuseError: the code was not called by a scheduler.
    """
    try:
        return _current.get()
    except LookupError:
        raise MisuseError("current_run() is for code that a scheduler runs: nothing is running here") from None


enter_run = _current.set
"""Let ``current_run()`` be this run from here on in this context. For runners."""

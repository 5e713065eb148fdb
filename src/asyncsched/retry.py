"""Whether to try again, and how long to wait first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from asyncsched.duration import as_duration, format_duration
from asyncsched.errors import AsyncschedError, ConfigError
from asyncsched.spread import spread_us

_FOREVER = timedelta(days=3650)
# A microsecond that has grown so much is longer than any timedelta: past every cap.
_ENDLESS = 1e20
_US = timedelta(microseconds=1)
_ATTEMPTS = 3

RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class RetryAfter(AsyncschedError):
    """Raised by a task's function: the attempt failed, and the next one is wanted ``delay`` from now.

    It counts as an attempt like any failure, so a run of which this was the last one has failed with it. The delay
    is taken as it is, instead of the policy's wait, cap and jitter, up to ten years; ``on=`` is not asked.
    """

    def __init__(self, delay: timedelta | str) -> None:
        """Ask for the next attempt after ``delay``, a timedelta or its text such as ``"10s"``.

        Raises:
            DurationError: it is no duration of zero or more.
        """
        super().__init__(delay)  # as given: a copy in another process is made from it
        self.delay = as_duration("delay", delay, zero=True)

    def __str__(self) -> str:
        return f"to be tried again after {format_duration(self.delay)}"


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a run is tried, and how long it waits between its attempts.

    ``Retry(attempts=4, wait="1s", factor=2, cap="60s")`` tries four times in all and waits 1, 2, 4 s between.

    attempts: tries in all, at least 1; 1 is no retry. ``None``: 3, or with ``stop_after`` as many as it has time for.
    wait: the wait before the second attempt, a timedelta or ``"10s"``; each later one is ``factor`` times longer.
    factor: at least 1; 1 is a constant wait.
    cap: the longest wait, before jitter; ``None`` is ten years, so that no wait overflows the calendar.
    jitter: makes each wait longer by a part of this, fixed by the run and the attempt, so that runs that failed
        together are not tried again together: a number from 0 to 1 is a share of the wait, else a duration.
    on: what is tried again: exception classes, or a function of the exception; ``None`` is every ``Exception``.
        Other exceptions end the run at once. A timeout counts as ``TimeoutError``.
    stop_after: no attempt begins later than this after the first one began.
    step: each later wait is longer by this, too: ``wait="1s", step="1s"`` waits 1, 2, 3 s.
    """

    attempts: int | None = None
    wait: timedelta | str = timedelta(0)
    factor: float = 1.0
    cap: timedelta | str | None = None
    jitter: float | timedelta | str = 0.0
    on: RetryOn | None = None
    stop_after: timedelta | str | None = None
    step: timedelta | str = timedelta(0)

    def __post_init__(self) -> None:
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float) or not self.factor >= 1:
            raise ConfigError(f"Retry(factor={self.factor!r}): at least 1, so that waits never shrink")
        stop_after = None if self.stop_after is None else as_duration("stop_after", self.stop_after)
        found = {
            "wait": as_duration("wait", self.wait, zero=True),
            "cap": _FOREVER if self.cap is None else as_duration("cap", self.cap, zero=True),
            "jitter": _jitter(self.jitter),
            "on": _kinds(self.on),
            "stop_after": stop_after,
            "step": as_duration("step", self.step, zero=True),
            "attempts": _ATTEMPTS if self.attempts is None and stop_after is None else self.attempts,
        }
        for name, value in found.items():
            object.__setattr__(self, name, value)
        self._check_attempts()

    def _check_attempts(self) -> None:
        if self.attempts is None:
            if not self.wait or not self.cap:
                cure = "give attempts=, or a wait, so that it is not tried again without a pause"
                raise ConfigError(f"Retry(stop_after={self.stop_after!s}) without a wait: {cure}")
        elif isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ConfigError(f"Retry(attempts={self.attempts!r}): tries in all, a whole number from 1 on")

    @classmethod
    def of(cls, value: Retry | int | None) -> Retry:
        """``value`` as a Retry: a whole number is that many immediate tries after the first; ``None`` is none."""
        match value:
            case Retry():
                return value
            case None:
                return NO_RETRY
            case bool():
                pass
            case int() if value >= 0:
                return cls(attempts=value + 1)
        raise ConfigError(f"retry={value!r}: a Retry(...), or how many more tries follow the first at once, from 0 on")

    def delay_us(self, attempt: int, error: BaseException, *, key: str = "", elapsed_us: int = 0) -> int | None:
        """Microseconds to wait after ``attempt`` (from 1) ended in ``error``; ``None`` if it was the last.

        Args:
            attempt: how many attempts there have been.
            error: what the last one raised; gets a note if ``on`` fails over it.
            key: fixes the jitter: the run's id.
            elapsed_us: how long ago the first attempt began.
        """
        if self.attempts is not None and attempt >= self.attempts:
            return None
        if isinstance(error, RetryAfter):
            delay_us = min(error.delay, _FOREVER) // _US
        elif self._covers(error):
            delay_us = self._wait_us(attempt)
            delay_us += spread_us(self._jitter_us(delay_us), key, attempt)
        else:
            return None
        late = isinstance(self.stop_after, timedelta) and elapsed_us + delay_us > self.stop_after // _US
        return None if late else delay_us

    def _wait_us(self, attempt: int) -> int:
        assert isinstance(self.wait, timedelta)
        assert isinstance(self.cap, timedelta)
        assert isinstance(self.step, timedelta)
        try:
            grown = min(float(self.factor) ** (attempt - 1), _ENDLESS)
        except OverflowError:
            grown = _ENDLESS
        return min(int(self.wait // _US * grown) + self.step // _US * (attempt - 1), self.cap // _US)

    def _jitter_us(self, wait_us: int) -> int:
        if isinstance(self.jitter, timedelta):
            return self.jitter // _US
        assert not isinstance(self.jitter, str)
        return int(wait_us * self.jitter)

    def _covers(self, error: BaseException) -> bool:
        if isinstance(self.on, type | tuple):
            return isinstance(error, self.on)
        assert self.on is not None
        if not isinstance(error, Exception):  # SystemExit and its like are not the function's own
            return False
        try:
            return bool(self.on(error))
        except Exception as failure:
            error.add_note(f"not tried again: retry's on={self.on!r} raised {failure!r}")
            return False


def _jitter(value: float | timedelta | str) -> float | timedelta:
    if isinstance(value, timedelta | str):
        return min(as_duration("jitter", value, zero=True), _FOREVER)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"Retry(jitter={value!r}): a share of the wait from 0 to 1, or a duration such as '5s'")
    return value


def _kinds(on: RetryOn | None) -> RetryOn:
    if on is None:
        return (Exception,)
    if callable(on) and not isinstance(on, type):
        return on
    kinds = on if isinstance(on, tuple) else (on,)
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ConfigError(f"Retry(on={on!r}): an exception class, a tuple of them, or a function of the exception")
    return kinds


NO_RETRY = Retry(attempts=1)

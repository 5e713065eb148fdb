"""Whether to try again, and how long to wait first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError

_FOREVER = timedelta(days=3650)
# A microsecond that has grown so much is longer than any timedelta: past every cap.
_ENDLESS = 1e20


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a run is tried, and how long it waits between its attempts.

    ``Retry(attempts=4, wait="1s", factor=2, cap="60s")`` tries four times in all and waits 1, 2, 4 s between.

    attempts: tries in all, at least 1; 1 is no retry.
    wait: the wait before the second attempt, a timedelta or ``"10s"``; each later one is ``factor`` times longer.
    factor: at least 1; 1 is a constant wait.
    cap: the longest wait; by default ten years, so that no wait overflows the calendar.
    on: what is tried again; other exceptions end the run at once. A timeout counts as ``TimeoutError``.
    """

    attempts: int = 3
    wait: timedelta | str = timedelta(0)
    factor: float = 1.0
    cap: timedelta | str = _FOREVER
    on: type[BaseException] | tuple[type[BaseException], ...] = Exception

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or self.attempts < 1:
            raise ConfigError(f"Retry(attempts={self.attempts!r}): tries in all, a whole number from 1 on")
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float) or not self.factor >= 1:
            raise ConfigError(f"Retry(factor={self.factor!r}): at least 1, so that waits never shrink")
        kinds = self.on if isinstance(self.on, tuple) else (self.on,)
        if not kinds or not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
            raise ConfigError(f"Retry(on={self.on!r}): an exception class or a tuple of them")
        object.__setattr__(self, "wait", as_duration("wait", self.wait, zero=True))
        object.__setattr__(self, "cap", as_duration("cap", self.cap, zero=True))
        object.__setattr__(self, "on", kinds)

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

    def delay_us(self, attempt: int, error: BaseException) -> int | None:
        """Microseconds to wait after ``attempt`` (from 1) ended in ``error``; ``None`` if it was the last."""
        assert isinstance(self.wait, timedelta)
        assert isinstance(self.cap, timedelta)
        if attempt >= self.attempts or not isinstance(error, self.on):
            return None
        wait_us, cap_us = self.wait // _US, self.cap // _US
        try:
            grown = min(float(self.factor) ** (attempt - 1), _ENDLESS)
        except OverflowError:
            grown = _ENDLESS
        return min(int(wait_us * grown), cap_us)


_US = timedelta(microseconds=1)
NO_RETRY = Retry(attempts=1)

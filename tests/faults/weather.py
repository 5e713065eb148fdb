"""What befell the workers at a store, and by when they owe what they owed meanwhile. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

SECOND_US = 1_000_000
# The instants of a node are those of its store, as it reckons them.
CLOCKS_US = 100_000
SLOW = "slow machine"


class Trouble(NamedTuple):
    """What was done to some workers, or to all of them (none named), from when to when."""

    kind: str
    workers: frozenset[str]
    from_us: int
    until_us: int

    @property
    def passing(self) -> bool:
        """Whether nobody can have been taken for dead for that."""
        return self.kind == SLOW and self.until_us - self.from_us < 2 * SECOND_US

    def __str__(self) -> str:
        who = ", ".join(sorted(self.workers)) or "all"
        return f"{self.kind} of {who} from {self.from_us} for {(self.until_us - self.from_us) / SECOND_US:.3f} s"


class Bounds(NamedTuple):
    """How late something may begin: in calm times, and after trouble."""

    calm_us: int
    recovery_us: int


LOOSE = Bounds(60 * SECOND_US, 60 * SECOND_US)
"""Where time is not judged: what took longer than that has another reason."""


@dataclass(frozen=True)
class Weather:
    """By when something has to come that was owed at an instant."""

    troubles: Sequence[Trouble]
    bounds: Bounds

    def calm(self, owed_us: int) -> bool:
        """Whether nobody is in trouble or still recovers."""
        until_us = owed_us + self.bounds.calm_us
        return not any(one.from_us <= until_us and owed_us <= self._over_us(one) for one in self.troubles)

    def deadline_us(self, owed_us: int) -> int:
        """By when. What is owed in trouble has to come when it has been over for the time of a recovery."""
        if self.calm(owed_us):
            return owed_us + self.bounds.calm_us
        latest_us = owed_us + self.bounds.recovery_us
        for trouble in sorted(self.troubles, key=lambda one: one.from_us):
            if trouble.from_us <= latest_us and self._over_us(trouble) >= owed_us:
                latest_us = max(latest_us, self._over_us(trouble))
        return latest_us + self.bounds.calm_us

    def _over_us(self, trouble: Trouble) -> int:
        return trouble.until_us + (SECOND_US if trouble.passing else self.bounds.recovery_us)


def slowness(strained: Sequence[tuple[int, int]]) -> list[Trouble]:
    """The troubles that the machine itself was: where it was slow again and again, for a tenth of a second in all."""
    found: list[Trouble] = []
    slow_us = 0
    for start_us, end_us in sorted(strained):
        last = found[-1] if found else None
        if last is None or start_us - last.until_us > SECOND_US:
            if found and slow_us < SECOND_US // 10:
                found.pop()
            found.append(Trouble(SLOW, frozenset(), start_us, end_us))
            slow_us = 0
        else:
            found[-1] = last._replace(until_us=max(last.until_us, end_us))
        slow_us += end_us - start_us
    if found and slow_us < SECOND_US // 10:
        found.pop()
    return found

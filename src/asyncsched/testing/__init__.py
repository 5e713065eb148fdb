"""Tests on virtual time: a loop that jumps, a clock that can be set, and ``datetime.now()`` that follows."""

from asyncsched.testing._clock import VirtualClock
from asyncsched.testing._deadlock import Deadlock
from asyncsched.testing._loop import VirtualLoop, run
from asyncsched.testing._stage import Stage, virtual
from asyncsched.testing._travel import Travel

__all__ = ["Deadlock", "Stage", "Travel", "VirtualClock", "VirtualLoop", "run", "virtual"]

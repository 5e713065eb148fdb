"""How far a node may rely on its own lease, and what it does where it may not."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sized
from datetime import timedelta

from asyncsched.clock import SECOND_US
from asyncsched.duration import as_duration
from asyncsched.errors import ConfigError, StoreError
from asyncsched.stores._base import Notice
from asyncsched.stores._durable.known import KnownRuns

log = logging.getLogger("asyncsched.stores")

# So long before the others take it for dead a node stops what it runs: to stop takes time, too.
_MARGIN_US = 2 * SECOND_US
# A node that asks for its lease and hears nothing asks anew, on another connection, after this at the least.
_LEAST_ANSWER_US = 2 * SECOND_US
STALL_LIMIT = "10m"
_LEAST_STALL_US, _MOST_STALL_US = SECOND_US, 86_400 * SECOND_US


FORGOTTEN = (
    "%s: the server has forgotten what it had acknowledged, as after a failover or a restart from an older "
    "file: fires and runs of the last moments may be done again, or be lost"
)


def trusted_us(lease_us: int) -> int:
    """For how long, from when it asked, a node may rely on a lease that was given: some less than that is."""
    return lease_us - min(_MARGIN_US, lease_us // 4)


def answer_us(lease_us: int) -> int:
    """How long a node waits for the answer when it renews its lease: so that there is time for another try."""
    return max(_LEAST_ANSWER_US, lease_us // 4)


def stall_limit_us_of(stall_limit: timedelta | str) -> int:
    """For how long a program's loop may hang before its node gives its lease up, in microseconds.

    Raises:
        ConfigError: it is no such time.
    """
    given_us = as_duration("stall_limit", stall_limit) // timedelta(microseconds=1)
    if not _LEAST_STALL_US <= given_us <= _MOST_STALL_US:
        raise ConfigError(f"stall_limit={stall_limit!r}: from '1s' to '1d', such as '{STALL_LIMIT}'")
    return given_us


class StallWatch:
    """Whether the program's loop hangs for so long that its runs are better done elsewhere.

    limit_us: how long that is. on_loop: lets the program's loop call something, from another thread.
    renew: called on the loop when it is there again after that, so that the lease is renewed at once.
    """

    def __init__(self, limit_us: int, on_loop: Callable[[Callable[[], None]], None], renew: Callable[[], None]) -> None:
        self._limit_us = limit_us
        self._on_loop = on_loop
        self._renew = renew
        self._stalled = False
        self._asked_us: int | None = None
        """Since when the loop has not answered; ``None``: it has."""

    def stalls(self, now_us: int) -> bool:
        """Whether it does; the loop is asked, so that it is known the next time."""
        since_us = self._asked_us
        if since_us is None:
            since_us = self._asked_us = now_us
            self._on_loop(self._answered)
        stalled, self._stalled = self._stalled, now_us - since_us >= self._limit_us
        if self._stalled and not stalled:
            limit_s = self._limit_us / SECOND_US
            log.error("the event loop hangs for longer than stall_limit (%.0f s): the lease is given up", limit_s)
        return self._stalled

    def _answered(self) -> None:
        self._asked_us = None
        if self._stalled:
            self._renew()


class LeaseHolder:
    """What a node at a server does where it may not rely on its lease, and where it may again."""

    hint: Callable[[], None]
    heed: Callable[[Notice], None]
    _known: KnownRuns
    _in_doubt = False
    """Whether others may take this node for dead, as it could not renew its lease for so long."""
    _unsure = False
    """Whether the store may say of runs that they are under way here of which this node does not know that."""
    _doubtful: frozenset[tuple[str, int]] = frozenset()
    """The ends, by run and token, that may have counted without this node's being told."""

    @abstractmethod
    def _look_at_lease(self) -> None:
        """Renew the lease at once, or find out that there is none any more."""

    async def _take_leave(self, leave: Callable[[], Awaitable[object]]) -> None:
        """Leave; once more if that fails, as on a connection that has died since it was last used.

        Raises:
            StoreError: it has failed again.
        """
        try:
            await leave()
        except StoreError as error:
            log.debug("to leave is tried once more: %s", error)
            await leave()

    def _doubted(self) -> None:
        """Give up what runs here, before another node may run it: nobody can be asked whether one does.

        What has ended, and is only to be told, is not given up: that counts if no other node has begun it anew.
        """
        self._in_doubt = True
        lost = self._known.lose(but={run_id for run_id, _token in self._doubtful})
        if lost:
            self._unsure = True  # if this is still a node when the store answers, they are handed back
            self.heed(Notice({}, lost))
        self.hint()  # who is idle is to know it, too

    def _trusted(self) -> None:
        """Go on: the lease was renewed."""
        self._in_doubt = False
        self.hint()

    def _claimable(self, limit: int) -> int:
        """How many runs may be claimed: none as long as the lease is in doubt."""
        if not self._in_doubt:
            return limit
        self._look_at_lease()
        return 0

    def _check_trust(self, claimed: Sized) -> None:
        """Nothing, unless runs were claimed by a lease that has come into doubt meanwhile.

        Raises:
            StoreError: so it is; they are handed back.
        """
        if self._in_doubt and claimed:
            raise StoreError("the lease of this node ran out while runs were claimed: they are handed back")

"""What runs are called: UUIDs that sort as they were made."""

from __future__ import annotations

from random import Random


class RunIds:
    """Makes UUIDs of version 7 that sort as they were made: on one node also within a millisecond.

    A millisecond begins at a random place from which its ids are counted, as RFC 9562 section 6.2 allows; while the
    clock stands or is set back, the last millisecond goes on. Clock and randomness are given, so that a replay makes
    the same ids.
    """

    __slots__ = ("_head", "_millisecond", "_random", "_tail")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._millisecond = -1
        self._head = ""
        self._tail = 0

    def make(self, now_us: int) -> str:
        """An id that is greater, as a text and as a number, than all before."""
        tail = self._tail + 1
        if now_us // 1000 > self._millisecond or tail >> 48:
            tail = self._begin(max(now_us // 1000, self._millisecond + 1))
        self._tail = tail
        return f"{self._head}{tail:012x}"

    def _begin(self, millisecond: int) -> int:
        """Settle all but the last 48 bits of the ids of this millisecond; where their count begins."""
        self._millisecond = millisecond
        # 12 and 14 bits beside the version and the variant, and 47 of the 48 that are counted: so many are left.
        bits = self._random.getrandbits(73)
        head = (millisecond & 0xFFFF_FFFF_FFFF) << 32 | 0x7 << 28 | bits >> 61 << 16 | 0b10 << 14 | bits >> 47 & 0x3FFF
        text = f"{head:020x}"
        self._head = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:]}-"
        return bits & (1 << 47) - 1

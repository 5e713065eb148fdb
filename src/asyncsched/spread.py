"""Numbers that look random and are fixed: the same on every node, in every process, in every replay."""

from __future__ import annotations


def spread_us(width_us: int, key: str, number: int) -> int:
    """From 0 up to ``width_us``, not included, evenly spread over keys and numbers; 0 where the width is 0."""
    from hashlib import blake2b  # 1 ms to import, and most programs spread nothing

    # Not hash(), which differs from process to process.
    digest = blake2b(f"{number}:{key}".encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") * width_us >> 64


def jittered_us(task: str, scheduled_us: int, jitter_us: int) -> int:
    """When the fire at ``scheduled_us`` starts: later by 0 up to ``jitter_us``, not included.

    The same for a task and an instant wherever it is asked. Fires keep their order however close they are; two of
    them closer than the jitter may start together.
    """
    if not jitter_us:
        return scheduled_us
    # Whole multiples of the jitter are moved by a number of their own, which puts none behind the next one; what
    # lies between two of them keeps its share of their distance, wherever they were moved to.
    cell, past_us = divmod(scheduled_us, jitter_us)
    moved_us = spread_us(jitter_us, task, cell)
    if past_us:
        moved_us += (spread_us(jitter_us, task, cell + 1) - moved_us) * past_us // jitter_us
    return scheduled_us + moved_us

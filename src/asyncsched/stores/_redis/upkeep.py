"""What is no longer kept, forgotten in small pieces."""

from __future__ import annotations

from asyncsched.stores._durable.orders import Limits
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import ENDED, count_said, stand_said
from asyncsched.stores._redis.wire import Unit as Changes
from asyncsched.stores._upkeep import Pruned


async def prune(link: Link, now_us: int, limits: Limits, most: int, after: int) -> tuple[Pruned, int]:
    """Look at up to ``most`` ended runs behind the place ``after``; and behind which to go on."""
    keys = await _forget_keys(link, now_us, most)
    await _forget_standing(link, now_us, most)
    never_us = limits.never_us(now_us)
    if never_us is None:
        return Pruned(0, keys, keys >= most), 0
    (found,) = await link.ask(("ZRANGEBYSCORE", "ended", f"({after}", "+inf", "WITHSCORES", "LIMIT", 0, most))
    ended = [(run_id, int(float(place))) for run_id, place in _pairs(found)]
    said = await link.ask(*(("HMGET", f"r:{run_id}", "task", "finished_at") for run_id, _place in ended))
    past, last_us = [], 0
    for (run_id, _place), (task, finished) in zip(ended, said, strict=True):
        last_us = count_said(finished)
        before_us = limits.before_us(task or "", now_us)
        if before_us is not None and finished is not None and last_us < before_us:
            past.append(("forget", run_id, task))
    done = await link.carry_out([Changes([], past)])
    answer = done.answers[0] or []
    over = len(ended) < most or last_us >= never_us
    runs = sum(1 for forgotten in answer if forgotten == 1)
    return Pruned(runs, keys, not over or keys >= most), 0 if over else ended[-1][1]


def _pairs(found: list[object]) -> list[tuple[str, str]]:
    """Members and scores; newer clients pair them themselves."""
    if found and isinstance(found[0], list | tuple):
        return [(str(one[0]), str(one[1])) for one in found]  # type: ignore[index]
    return [(str(member), str(score)) for member, score in zip(found[::2], found[1::2], strict=True)]


async def _forget_keys(link: Link, now_us: int, most: int) -> int:
    """Forget up to so many idempotency keys that are past their time and whose run has ended; how many."""
    (keys,) = await link.ask(("ZRANGEBYSCORE", "idem", "-inf", now_us, "LIMIT", 0, most))
    texts = await link.ask(*(("GET", f"i:{key}") for key in keys))
    stand = [stand_said(text) for text in texts]
    states = await link.ask(*(("HGET", f"r:{'' if one is None else one[0]}", "state") for one in stand))
    units = [
        Changes([("text", f"i:{key}", text)], [("call", "DEL", f"i:{key}"), ("call", "ZREM", "idem", key)])
        for key, text, state in zip(keys, texts, states, strict=True)
        if state in (None, ENDED)
    ]
    done = await link.carry_out(units)
    return sum(answer is not None for answer in done.answers)


async def _forget_standing(link: Link, now_us: int, most: int) -> None:
    """Forget up to so many runs that have ended and stand for their keys no more."""
    (keys,) = await link.ask(("ZRANGEBYSCORE", "standing", "-inf", now_us, "LIMIT", 0, most))
    texts = await link.ask(*(("GET", f"s:{key}") for key in keys))
    units = []
    for key, text in zip(keys, texts, strict=True):
        changes: list[tuple[str, ...]] = [("call", "ZREM", "standing", key)]
        if text is not None and ((said := stand_said(text)) is None or said[1] is not None):
            changes.append(("call", "DEL", f"s:{key}"))
        units.append(Changes([("text", f"s:{key}", text)], changes))
    if units:
        await link.carry_out(units)

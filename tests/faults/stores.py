"""Memory stores that are slow, or that fail now and then."""

from __future__ import annotations

import abc
import asyncio
import inspect
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from asyncsched.errors import StoreError
from asyncsched.stores import MemoryStore, Store


class Around(Store):
    """Forwards each verb to a memory store of its own, after ``before`` and ahead of ``after``."""

    def __init__(self) -> None:
        self.inner = MemoryStore()

    async def before(self, verb: str) -> None: ...

    async def after(self, verb: str) -> None: ...


def _forward(verb: str) -> Callable[..., Any]:
    if not inspect.iscoroutinefunction(getattr(Store, verb)):
        return lambda self, *args: getattr(self.inner, verb)(*args)

    async def answer(self: Around, *args: Any) -> Any:
        await self.before(verb)
        found = await getattr(self.inner, verb)(*args)
        await self.after(verb)
        return found

    return answer


for _verb in Store.__abstractmethods__:
    setattr(Around, _verb, _forward(_verb))
abc.update_abstractmethods(Around)


class SlowStore(Around):
    """Needs a turn of the loop before and after each verb, so that whoever asks can be cancelled there."""

    async def before(self, verb: str) -> None:
        await asyncio.sleep(0)

    async def after(self, verb: str) -> None:
        await asyncio.sleep(0)


class FlakyStore(Around):
    """Raises instead of answering, as often as ``rate`` says, the same each time for the same seed.

    ``failed`` counts that by verb; ``spared`` are the verbs that always answer.
    """

    answers_at_once = True

    def __init__(self, seed: int, rate: float, spared: tuple[str, ...] = ("open", "reconcile", "close")) -> None:
        super().__init__()
        self.failed: Counter[str] = Counter()
        self.rate = rate
        self.spared = spared
        self._random = Random(seed)

    async def before(self, verb: str) -> None:
        if verb not in self.spared and self._random.random() < self.rate:
            self.failed[verb] += 1
            raise StoreError(f"the store blipped at {verb}")


class SlowFlakyStore(FlakyStore):
    answers_at_once = False

    async def before(self, verb: str) -> None:
        await super().before(verb)
        await asyncio.sleep(0)

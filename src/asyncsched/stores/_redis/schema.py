"""How the keys of a namespace came to be: the steps that it has seen, by which a library knows whether it may use it.

There is nothing to be made before it is used, as there is for tables: a step says what older libraries may do.
"""

from __future__ import annotations

import json
from typing import Final

from asyncsched.errors import StoreError
from asyncsched.stores._durable.steps import Applied, Step, wrong_steps
from asyncsched.stores._redis.link import Link
from asyncsched.stores._redis.records import json_said

STEPS: Final = (Step("0001 tasks, runs, history", "0.1.0", 1, ()),)
_KEY = "steps"


async def take_up(link: Link) -> None:
    """Note in the namespace the steps that it has not seen, mostly none.

    Raises:
        StoreError: it has seen one that this version of the library cannot work with.
    """
    (said,) = await link.ask(("HVALS", _KEY))
    applied = sorted(one for text in said if (one := _applied(text)) is not None)
    if wrong := wrong_steps(STEPS, applied):
        raise StoreError(f"{link.address}: {wrong}")
    seen = {one.number for one in applied}
    for number, step in enumerate(STEPS, 1):
        if number not in seen:
            await link.ask(
                ("HSET", _KEY, number, json.dumps([number, step.name, step.checksum, step.since, step.least]))
            )


def _applied(text: str) -> Applied | None:
    said = json_said(text)
    kinds = (int, str, str, str, int)
    if not isinstance(said, list) or [type(one) for one in said] != list(kinds):
        return None  # whoever can write there may have written anything: it stops nobody
    return Applied(*said)

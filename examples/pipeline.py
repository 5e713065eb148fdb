"""Extract, transform in a thread, load, report: each starts when what it needs has ended."""

from __future__ import annotations

import asyncio
import json

from asyncsched import Registry, Scheduler, result_of

ROWS = ["tea,3", "milk,1", "bread,2", "tea,4"]

scheduler = Scheduler(registry=Registry())


@scheduler.every("1m", immediate=True)
async def extract() -> list[str]:
    """A slow source, read without blocking anybody."""
    await asyncio.sleep(0.2)
    return ROWS


@scheduler.after(extract)
def transform(rows: list[str] = result_of(extract)) -> dict[str, int]:
    """A plain function: it runs in a thread."""
    sold: dict[str, int] = {}
    for row in rows:
        name, _, count = row.partition(",")
        sold[name] = sold.get(name, 0) + int(count)
    return sold


@scheduler.after(transform, retry=2)
async def load(sold: dict[str, int] = result_of(transform)) -> str:
    """A sink that may fail; that is tried again, and what is above is not repeated."""
    await asyncio.sleep(0.1)
    return json.dumps(sold)


@scheduler.after(load)
async def report(rows: list[str] = result_of(extract), loaded: str = result_of(load)) -> None:
    """What needs several gets the results of one flow."""
    print(f"{len(rows)} rows became {loaded}")


async def main() -> None:
    """One flow, from its first run to its last."""
    async with scheduler:
        await (await report.next_run())


if __name__ == "__main__":
    asyncio.run(main())

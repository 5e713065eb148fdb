"""A diamond with a branch that fails: who is skipped for it, who runs all the same, and who cleans up."""

from __future__ import annotations

import asyncio

from asyncsched import Registry, Scheduler, UpstreamFailed, result_of

scheduler = Scheduler(registry=Registry())


@scheduler.task
async def order(number: int) -> int:
    """The top of the diamond."""
    return number


@scheduler.after(order)
async def invoice(number: int = result_of(order)) -> str:
    """The branch that goes well."""
    return f"invoice {number}"


@scheduler.after(order, retry=1)
async def ship(number: int = result_of(order)) -> str:
    """The branch that fails, twice."""
    raise ConnectionError(f"no courier takes parcel {number}")


@scheduler.after(invoice, ship)
async def thank() -> None:
    """The bottom: it needs both, so it is skipped."""
    print("thank you")


@scheduler.after(ship, rule="any_failed")
async def call_the_warehouse(number: int = result_of(order)) -> None:
    """It runs because a branch has failed."""
    print(f"the warehouse hears of order {number}")


@scheduler.after(thank, call_the_warehouse, rule="all_done")
async def close() -> None:
    """It runs in any case, when all is over."""
    print("the order is closed")


async def main() -> None:
    """One flow, and what became of each run of it."""
    async with scheduler:
        first = await order.submit(17)
        await (await close.next_run())
        for run in sorted(await scheduler.runs.list(), key=lambda run: run.id):  # as they were made
            assert run.flow == first.id
            print(f"{run.task.partition(':')[2]:20} {run.status} {run.reason or ''}".rstrip())
            if isinstance(run.error, UpstreamFailed):
                print(f"{'':20} because of {run.error.__cause__!r}")


if __name__ == "__main__":
    asyncio.run(main())

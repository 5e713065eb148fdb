"""Tasks without decorators: every, at and run_at, with dependencies and results, each a plain value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from asyncsched import Registry, Scheduler, Task


def add(left: int, right: int) -> int:
    """A plain function; it runs in a worker thread."""
    total = left + right
    print(f"{left} + {right} = {total}")
    return total


async def greet(name: str) -> str:
    """A coroutine function; it runs on the event loop."""
    greeting = f"good afternoon, {name}"
    print(greeting)
    return greeting


async def remind() -> None:
    """What is to be done once."""
    print("ten seconds have passed since this program was started")


def double(dep_add: int) -> int:
    """Runs whenever ``add`` has succeeded, and is given that result: its parameter is called so."""
    return 2 * dep_add


async def summarise(dep_add: int, dep_double: int) -> None:
    """Has a time of its own, and runs if both have succeeded by then."""
    print(f"the last sum is {dep_add}, doubled {dep_double}")


adding = Task(every={"seconds": 5}, func=add, args=(10, 20))
greeting = Task(at="14:30", func=greet, kwargs={"name": "Alan"}, tz="Europe/London")
reminding = Task(run_at=datetime.now(UTC) + timedelta(seconds=10), func=remind)

doubling = Task(func=double, depends_on=[adding.id])
summing = Task(at="14:31", func=summarise, depends_on=[adding.id, doubling.id], tz="Europe/London")

scheduler = Scheduler(registry=Registry())
scheduler.register(adding)
scheduler.register(greeting)
scheduler.register(reminding)
scheduler.register(doubling)
scheduler.register(summing)

if __name__ == "__main__":
    scheduler.run()

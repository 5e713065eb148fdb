"""Tasks without decorators: every, at and run_at, each a plain value that is registered."""

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


adding = Task(every={"seconds": 5}, func=add, args=(10, 20))
greeting = Task(at="14:30", func=greet, kwargs={"name": "Alan"}, tz="Europe/London")
reminding = Task(run_at=datetime.now(UTC) + timedelta(seconds=10), func=remind)

scheduler = Scheduler(registry=Registry())
scheduler.register(adding)
scheduler.register(greeting)
scheduler.register(reminding)

if __name__ == "__main__":
    scheduler.run()

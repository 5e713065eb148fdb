"""Cron lines with seconds: six fields, seconds first."""

from __future__ import annotations

from asyncsched import Registry, Scheduler, current_run

scheduler = Scheduler(registry=Registry(), tz="UTC")


@scheduler.cron("*/10 * * * * *")
async def every_ten_seconds() -> None:
    """At :00, :10, :20, :30, :40, :50 of every minute."""
    print(f"every ten seconds     {current_run().scheduled_for:%H:%M:%S}")


@scheduler.cron("1/7 * * * * *")
async def from_one_every_seven() -> None:
    """At :01, :08, :15 ... :57, and at :01 of the next minute again: the step starts anew with each minute."""
    print(f"from 1 every seventh  {current_run().scheduled_for:%H:%M:%S}")


if __name__ == "__main__":
    scheduler.run()

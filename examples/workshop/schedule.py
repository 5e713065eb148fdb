"""When the workshop does it. Serve it with ``asyncsched run workshop.schedule:scheduler``.

The folder comes from the environment variable WORKSHOP, by default ``./workshop``: ``parts`` in it is where the
STL files lie, ``results`` and ``backups`` are made.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from asyncsched import Registry, Scheduler
from workshop import tasks
from workshop.tasks import BackedUp, Cleaned, Computed

HOME = Path(os.environ.get("WORKSHOP", "workshop"))

scheduler = Scheduler(registry=Registry(), tz="Europe/Berlin")


@scheduler.at("02:30", id="compute")
def compute() -> Computed:
    """At night, when nobody draws. Plain functions run in a worker thread, so the loop stays free."""
    return tasks.compute(HOME / "parts", HOME / "results")


@scheduler.every("6h", id="backup", retry=2)
def backup() -> BackedUp:
    """Four times a day; a week's worth is kept."""
    return tasks.backup(HOME / "parts", HOME / "backups", keep=28)


@scheduler.cron("0 4 * * sun", id="clean")
def clean() -> Cleaned:
    """On Sunday mornings."""
    return tasks.clean(HOME / "results", older_than=timedelta(days=30))

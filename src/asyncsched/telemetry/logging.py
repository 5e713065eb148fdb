"""Which run a log record belongs to, however runs interleave."""

from __future__ import annotations

import logging

from asyncsched.context import current_run
from asyncsched.errors import MisuseError


class RunFields(logging.Filter):
    """Gives every record that a run logs the fields ``task run attempt scheduled_for node``.

    Put it on a handler, and other libraries' records get them too. Outside runs the fields are ``None``:

        handler = logging.StreamHandler()
        handler.addFilter(RunFields())
        handler.setFormatter(logging.Formatter("%(task)s %(run)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields. Every record passes."""
        try:
            run = current_run()
        except MisuseError:
            fields = dict.fromkeys(("task", "run", "attempt", "scheduled_for", "node"))
        else:
            fields = {
                "task": run.task,
                "run": run.id,
                "attempt": run.attempt,
                "scheduled_for": run.scheduled_for,
                "node": run.node,
            }
        for name, value in fields.items():
            # The engine's own records about a run are logged outside of it, and name it themselves.
            if value is not None or not hasattr(record, name):
                setattr(record, name, value)
        return True

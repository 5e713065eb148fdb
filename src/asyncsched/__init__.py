"""asyncsched: cron, intervals and background jobs for asyncio."""

import logging

from asyncsched.context import RunContext, current_run
from asyncsched.errors import AsyncschedError
from asyncsched.executors import Shell, from_thread
from asyncsched.registry import Registry, default_registry
from asyncsched.retry import Retry
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task

# The library configures no logging; without this Python prints warnings of programs that did not either.
logging.getLogger("asyncsched").addHandler(logging.NullHandler())

every = default_registry.every
at = default_registry.at
cron = default_registry.cron
when = default_registry.when
task = default_registry.task

__version__ = "0.1.0"

__all__ = [
    "AsyncschedError",
    "Registry",
    "Retry",
    "Run",
    "RunContext",
    "RunStatus",
    "Scheduler",
    "Shell",
    "Task",
    "at",
    "cron",
    "current_run",
    "every",
    "from_thread",
    "task",
    "when",
]

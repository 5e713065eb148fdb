"""asyncsched: cron, intervals and background jobs for asyncio."""

import logging

from asyncsched.blackout import Blackout
from asyncsched.context import RunContext, current_run
from asyncsched.edges import Rule
from asyncsched.errors import AsyncschedError, UpstreamFailed
from asyncsched.executors import Shell, from_thread
from asyncsched.middleware import CallNext
from asyncsched.registry import Registry, default_registry
from asyncsched.resource import Depends, injected
from asyncsched.results import result_of
from asyncsched.retry import Retry, RetryAfter
from asyncsched.run import Run, RunStatus
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task
from asyncsched.transaction import Transaction
from asyncsched.version import VERSION

# The library configures no logging; without this Python prints warnings of programs that did not either.
logging.getLogger("asyncsched").addHandler(logging.NullHandler())

every = default_registry.every
at = default_registry.at
cron = default_registry.cron
when = default_registry.when
after = default_registry.after
task = default_registry.task

__version__ = VERSION

__all__ = [
    "AsyncschedError",
    "Blackout",
    "CallNext",
    "Depends",
    "Registry",
    "Retry",
    "RetryAfter",
    "Rule",
    "Run",
    "RunContext",
    "RunStatus",
    "Scheduler",
    "Shell",
    "Task",
    "Transaction",
    "UpstreamFailed",
    "after",
    "at",
    "cron",
    "current_run",
    "every",
    "from_thread",
    "injected",
    "result_of",
    "task",
    "when",
]

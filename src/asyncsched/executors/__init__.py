"""Executors: how a function is called."""

from asyncsched.executors._base import Abandoned, Executor, hold_still
from asyncsched.executors._child import refuse_in_child
from asyncsched.executors.loop import LoopExecutor
from asyncsched.executors.process import ProcessExecutor
from asyncsched.executors.shell import Finished, Shell
from asyncsched.executors.thread import ThreadExecutor, from_thread

__all__ = [
    "Abandoned",
    "Executor",
    "Finished",
    "LoopExecutor",
    "ProcessExecutor",
    "Shell",
    "ThreadExecutor",
    "from_thread",
    "hold_still",
    "refuse_in_child",
]

"""Executors: how a function is called."""

from asyncsched.executors._base import Executor
from asyncsched.executors.loop import LoopExecutor
from asyncsched.executors.thread import ThreadExecutor

__all__ = ["Executor", "LoopExecutor", "ThreadExecutor"]

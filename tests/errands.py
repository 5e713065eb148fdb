"""Functions for worker processes, which must be able to import them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from asyncsched import Registry, current_run

registry = Registry()


def square(number: int) -> int:
    return number * number


def pid(*_args: object) -> int:
    return os.getpid()


def who(key: str = "", value: object = None) -> tuple[str, int, bool]:
    run = current_run()
    run.set(key, value)
    return run.id, run.attempt, run.args == ()


def raises() -> NoReturn:
    raise ValueError("a wrong value")


class Demanding(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, *, why: str) -> None:
        super().__init__(why)


def raises_what_cannot_be_sent() -> NoReturn:
    raise Demanding(why="so")


def gives_what_cannot_be_sent() -> object:
    return lambda: None


def leaves() -> NoReturn:
    sys.exit(3)


def dies(returncode: int) -> None:
    if returncode < 0:
        os.kill(os.getpid(), -returncode)
    os._exit(returncode)


def sleeps(note: Path) -> None:
    """Write down this process and one that it has started, and sleep."""
    child = subprocess.Popen(["sleep", "60"])
    part = note.with_suffix(".part")
    part.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    part.rename(note)
    time.sleep(60)


@registry.task(executor="process")
def cube(number: int) -> int:
    """A task has the name of its function."""
    return number**3


class Tools:
    """Functions in a class are found by their whole name."""

    @staticmethod
    def twice(value: Any) -> Any:
        return value + value


def alive(number: int) -> bool:
    """Whether there is a process of this number that has not ended; a zombie is there, too."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True

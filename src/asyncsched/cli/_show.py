"""What is printed: names, JSON, and the screen they are put on."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from asyncsched.phrases import moment_words

Part = str | tuple[str, str]
"""A text, or a text and its style."""


class Screen(Console):
    """Standard output, a line at a time, nothing wrapped or guessed at.

    Colours on a terminal only, and not where ``NO_COLOR`` is set.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def say(self, *parts: Part) -> None:
        """One line of these parts."""
        line = Text.assemble(*parts)
        line.rstrip()
        self.print(line)

    def on_broken_pipe(self) -> None:
        # `| head` has read enough. What only looks may end as it likes; a scheduler serves on, unread.
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: object) -> None:
    """``value`` as JSON on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def short_names(ids: Iterable[str]) -> Mapping[str, str]:
    """What to call the tasks of these ids: without their module, where that leaves them apart."""
    known = list(ids)
    short = [name.partition(":")[2] or name for name in known]
    return {name: cut if short.count(cut) == 1 else name for name, cut in zip(known, short, strict=True)}


def second_words(moment: datetime) -> str:
    """``Mon 23 Nov 2026 09:00:00 CET``, to the second."""
    return moment_words(moment.replace(microsecond=0))


def fire_json(at: datetime, **more: Any) -> dict[str, Any]:
    """One fire: its local time with offset, and the instant in UTC."""
    return {"at": at.isoformat(), "utc": at.astimezone(UTC).isoformat().replace("+00:00", "Z")} | more

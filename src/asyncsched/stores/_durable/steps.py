"""Steps of a schema: one file each, applied once."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_HEAD = re.compile(r"-- (\d{4} [^'\n]+)\n-- since ([\w.]+), usable by libraries that know step (\d+)\n")


class Step(NamedTuple):
    """One change of the schema, in single statements.

    since: the version of the library that brought it.
    least: the last step that a library must know to use a file that has seen this one.
    """

    name: str
    since: str
    least: int
    statements: tuple[str, ...]

    @property
    def checksum(self) -> str:
        """Tells whether what was applied under this name is what the library has."""
        return hashlib.sha256("\n".join(self.statements).encode()).hexdigest()[:16]


class Applied(NamedTuple):
    """A step that a file has seen; ``since`` and ``least`` are ``None`` where that was not yet written down."""

    number: int
    name: str
    checksum: str
    since: str | None
    least: int | None


def read_step(text: str) -> Step:
    """The step that a file says: its head in the first two lines, then statements; lines of ``--`` are comments."""
    head = _HEAD.match(text)
    if head is None:
        raise ValueError(f"a step begins with its name and since when it is, not with {text[:80]!r}")
    return Step(head[1], head[2], int(head[3]), tuple(_statements(text)))


def _statements(text: str) -> Iterator[str]:
    statement = ""
    for line in text.splitlines():
        if line.startswith("--") or not (statement or line.strip()):
            continue
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement.rstrip().removesuffix(";")
            statement = ""
    if statement.strip():
        raise ValueError(f"the last statement of a step is not complete: {statement!r}")


def wrong_steps(steps: Sequence[Step], applied: Sequence[Applied]) -> str | None:
    """Why a library that has these steps cannot use a schema that has seen those that were applied."""
    for one, step in zip(applied, steps, strict=False):
        if (one.name, one.checksum) != (step.name, step.checksum) and one.number <= len(steps):
            return f"its schema is not that of asyncsched: step {one.name!r} differs from {step.name!r} here"
    last = len(steps)
    unusable = [one for one in applied if one.number > last and (one.least is None or one.least > last)]
    if not unusable:
        return None
    name, since = unusable[-1].name, unusable[-1].since
    cure = "the version that wrote it" if since is None else f"version {since}"
    return (
        f"its schema is newer than this version of asyncsched: it has seen step {name!r}, and the last one known here "
        f"is {steps[-1].name!r}. Install {cure}, or a later one"
    )

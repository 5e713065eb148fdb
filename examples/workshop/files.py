"""Files that appear whole or not at all, dated by the same clock that fires the tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

DRAFT = ".partial"


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A draft beside ``path`` to write to; it becomes ``path`` when the block ends well, else it is removed.

    Nobody ever reads half a file. The date is set from ``datetime.now``: under a virtual clock the files of
    a year are a year apart.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}{DRAFT}")
    try:
        yield draft
        now = datetime.now(UTC).timestamp()
        os.utime(draft, (now, now))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

"""What bears the id of a task and must bear another one when the task is renamed: keys and terms. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from asyncsched.backfill import BACKFILL_KEY
from asyncsched.run import NO_TERMS, Terms


def renamed_key(key: str | None, before: str, task: str) -> str | None:
    """The key of a limit, or of what stands for submits, as the task has it that had the id ``before``.

    Keys are the id itself, or the id and a separator that no id has, or that after the mark of a backfill.
    """
    if key is None:
        return None
    mark = BACKFILL_KEY if key.startswith(BACKFILL_KEY) else ""
    rest = key.removeprefix(mark)
    if rest == before or rest.startswith((f"{before}/", f"{before}~")):
        return mark + task + rest[len(before) :]
    return key


def renamed_terms(terms: Terms, before: str, task: str) -> Terms:
    """The terms of a run of the task that had the id ``before``."""
    if terms is NO_TERMS:
        return terms
    given = terms.idempotency
    return terms._replace(
        limit_key=renamed_key(terms.limit_key, before, task),
        once_key=renamed_key(terms.once_key, before, task),
        idempotency=given and given._replace(key=renamed_key(given.key, before, task) or given.key),
    )


def renamed_names(names: Mapping[str, str], before: str, task: str) -> dict[str, str]:
    """What is kept by task, by today's id."""
    return {task if name == before else name: value for name, value in names.items()}

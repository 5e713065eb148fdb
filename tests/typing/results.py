"""What type checkers see of ``result_of``. Never run: mypy and pyright read it, and must agree.

A line with ``type: ignore`` is a mistake that both must find; an ignore that is not needed is an error itself.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from typing import Any, assert_type

from asyncsched import Run, Task, every, task
from asyncsched.results import result_of


@every("5s")
async def extract(limit: int = 3) -> list[int]:
    return [limit]


@task
def transform(rows: list[int] = result_of(extract)) -> int:
    return sum(rows)


@task
async def report(total: int = result_of(transform), rows: list[int] = result_of(extract)) -> None: ...


@task
async def mistaken(total: str = result_of(transform)) -> None: ...  # type: ignore[assignment]


async def undecorated() -> None: ...


async def results_have_the_types_of_their_runs() -> None:
    assert_type(result_of(extract), list[int])
    assert_type(result_of(transform), int)
    assert_type(result_of(report), None)
    rows = await extract.submit()
    assert_type(result_of(rows), list[int])
    total = await transform.submit(result_of(rows))
    assert_type(total, Run[int])
    await transform.submit(result_of(total))  # type: ignore[arg-type]
    result_of(undecorated)  # type: ignore[call-overload]
    result_of("app:extract")  # type: ignore[call-overload]
    some: Task[..., Any] = extract
    number: int = result_of(some)
    del number

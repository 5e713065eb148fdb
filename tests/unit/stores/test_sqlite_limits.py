"""How large and how deep what is stored may be, and who is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler, current_run
from asyncsched.errors import ArgumentsError, ConfigError
from asyncsched.stores.sqlite import SQLiteStore, store_at
from asyncsched.values import VALUE_LIMIT, Unstored


def registry() -> Registry:
    registry = Registry()

    @registry.task(id="echo")
    async def echo(value: Any, more: Any = None) -> Any:
        return value

    @registry.task(id="grow")
    async def grow(size: int) -> str:
        return "x" * size

    @registry.task(id="note")
    async def note(value: int) -> int:
        run = current_run()
        if value == 0:
            run.set("large", "x" * VALUE_LIMIT)
        elif value == 1:
            run.set("half", "\ud800")
        else:
            run.set(("no", "text"), run)  # type: ignore[arg-type]
        return value

    return registry


async def read_again(path: Path, run_id: str) -> Any:
    async with Scheduler(f"sqlite:///{path}", registry=registry(), queues=[]) as scheduler:
        return await scheduler.runs.get(run_id)


async def test_arguments_that_are_too_large_are_refused_by_parameter_and_size(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tasks = registry()
    with caplog.at_level(logging.DEBUG):
        async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}", registry=tasks) as scheduler:
            with pytest.raises(ArgumentsError, match=r"argument more takes 70,002 bytes, .* may take 65,536: store"):
                await tasks["echo"].submit(1, more="s" * 70_000)
            deep: Any = []
            for _ in range(40):
                deep = [deep]
            with pytest.raises(ArgumentsError, match=r"argument value=.* nested more than 32 deep"):
                await tasks["echo"].submit(deep)
            assert await scheduler.runs.list() == []
            assert await (await tasks["echo"].submit("secret")) == "secret"
    assert "ssss" not in caplog.text
    assert "secret" not in caplog.text


async def test_the_limit_is_an_option(tmp_path: Path) -> None:
    tasks = registry()
    async with Scheduler(f"sqlite:///{tmp_path / 'jobs.db'}?max_value_size=200000", registry=tasks):
        assert len(await (await tasks["echo"].submit("x" * 150_000))) == 150_000
    async with Scheduler(SQLiteStore(tmp_path / "jobs.db", max_value_size=100), registry=tasks):
        with pytest.raises(ArgumentsError, match="may take 100:"):
            await tasks["echo"].submit("x" * 150)


@pytest.mark.parametrize("size", [0, -1, True, "64K", None])
def test_a_limit_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(ConfigError, match=r"max_value_size=.*a whole number of bytes"):
        SQLiteStore("jobs.db", max_value_size=size)


@pytest.mark.parametrize("option", ["max_value_size=64K", "max_value_size=", "max_value_size=0", "network=yes"])
def test_options_that_are_none_are_refused_in_a_url_too(option: str) -> None:
    with pytest.raises(ConfigError, match=option.partition("=")[0]):
        store_at(f"sqlite:///jobs.db?{option}")


async def test_a_result_that_is_too_large_is_a_success_that_says_so(tmp_path: Path) -> None:
    path, tasks = tmp_path / "jobs.db", registry()
    async with Scheduler(f"sqlite:///{path}", registry=tasks):
        run = await tasks["grow"].submit(70_000)
        assert len(await run) == 70_000  # here it is at hand
        run_id = run.id
    del run
    found = await read_again(path, run_id)
    assert (found.status, type(found.result)) == ("SUCCESS", Unstored)
    assert "it takes 70,002 bytes" in found.result.why


@pytest.mark.parametrize("value", range(3))
async def test_notes_that_cannot_be_kept_hinder_nothing(tmp_path: Path, value: int) -> None:
    path, tasks = tmp_path / "jobs.db", registry()
    async with Scheduler(f"sqlite:///{path}", registry=tasks):
        run = await tasks["note"].submit(value)
        assert await run == value
        run_id = run.id
    del run
    found = await read_again(path, run_id)
    assert found.status == "SUCCESS"
    assert list(found.notes) == ["notes that could not be kept"]


async def test_a_result_with_half_a_character_hinders_nothing(tmp_path: Path) -> None:
    path, tasks = tmp_path / "jobs.db", Registry()

    @tasks.task(id="half")
    async def half() -> str:
        return "\ud800"

    async with Scheduler(f"sqlite:///{path}", registry=tasks):
        run = await half.submit()
        assert await run == "\ud800"
        run_id = run.id
    del run
    assert isinstance((await read_again(path, run_id)).result, Unstored)

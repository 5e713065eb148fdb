"""``asyncsched why``: what a process can know that serves nothing."""

from __future__ import annotations

import json
import re

import pytest

KEPT = """
import asyncio
from datetime import UTC, datetime, timedelta
from asyncsched import Registry, Scheduler
from asyncsched.stores import MemoryStore

class Shared(MemoryStore):
    shared = True

    def __str__(self):
        return "shared memory"

registry = Registry()
scheduler = Scheduler(Shared(), registry=registry, tz="UTC")

@registry.every("1h", immediate=True)
async def report():
    raise ValueError("the printer is on fire")

@registry.task
async def unknown(): ...

async def main():
    async with scheduler:
        registry.forget("app:unknown")
        while not [run for run in await scheduler.runs.list() if run.status.final]:
            await asyncio.sleep(0.001)
"""


def test_it_tells_the_instants_and_honestly_that_it_knows_no_more(command) -> None:
    done = command("why", "app", "backup")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "app:backup: every day at 02:30"
    assert [line.split()[0] for line in lines[1:]] == ["been"] * 3 + ["coming"] * 3 + ["unknown"]
    assert all(" 02:30:00 " in line or " 03:00:00 " in line for line in lines[1:7])
    assert lines[7] == (
        "  unknown    what became of its fires: memory keeps that within the program that serves it"
        " -> print(await scheduler.tasks.explain('app:backup')) there"
    )


def test_what_was_due_when_an_interval_was_started_nobody_knows(command) -> None:
    found = json.loads(command("why", "app:scheduler", "app:fetch", "--json").out)
    assert (found["task"], found["recorded"], found["store"], found["been"]) == ("app:fetch", False, "memory", [])
    assert len(found["coming"]) == 3
    assert (found["live"], found["recent"]) == ([], [])


def test_a_task_without_a_trigger_says_so(command) -> None:
    found = json.loads(command("why", "app", "send_mail", "--json").out)
    assert [note["kind"] for note in found["notes"]] == ["submitted"]
    assert found["next_fire"] is None
    assert "it has no trigger: it runs when it is submitted" in command("why", "app", "send_mail").out


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bakup", "asyncsched: no task 'bakup': did you mean backup?\n"),
        ("app:fetsh", "asyncsched: no task 'app:fetsh': did you mean app:fetch?\n"),
        ("qqq", "asyncsched: no task 'qqq'; there are: app:backup, app:fetch, app:half, app:send_mail\n"),
    ],
)
def test_an_unknown_task_is_answered_with_near_names(command, name: str, words: str) -> None:
    done = command("why", "app", name)
    assert (done.code, done.out, done.err) == (2, "", words)


def test_a_store_that_others_use_too_is_asked(command, here) -> None:
    (here / "app.py").write_text(KEPT + "\nasyncio.run(main())\n", encoding="utf-8")
    done = command("why", "app", "report")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0] == "app:report: every hour"
    assert re.fullmatch(r"  FAILED .*: on time, took \d+ ms: ValueError: the printer is on fire", lines[-1])
    found = json.loads(command("why", "app", "report", "-n", "1", "--json").out)
    assert (found["recorded"], found["store"], len(found["recent"])) == (True, "shared memory", 1)


def test_of_a_task_that_the_store_does_not_know_the_declaration_is_told(command, here) -> None:
    (here / "app.py").write_text(KEPT, encoding="utf-8")
    found = json.loads(command("why", "app", "unknown", "--json").out)
    assert (found["recorded"], [note["kind"] for note in found["notes"]]) == (False, ["submitted"])

"""A process dies at each of the named points (F2): what the others find is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from asyncsched.crash_points import POINTS, VARIABLE, asked_for
from asyncsched.errors import ConfigError

from .crew import LONG, Crew, pause, seeded, wait_until

ROUNDS = 25 if LONG else 1
# These come once in the life of a process; the others as often as it works.
ONCE = ("migrate", "rescue", "leave", "drain")


def let_one_die(crew: Crew, point: str, random: Random) -> None:
    """A worker comes, and dies at the point; that it is reached needs others, sometimes."""
    name, _, _rest = point.partition("-")
    if name == "rescue":
        crew.dies(crew.start("produce", f"mid-task:{random.randint(1, 9)}"))
    beside = crew.start("produce") if name == "hint" else None
    if beside is not None:
        wait_until(lambda: crew.ready(beside), 30, "a second worker")
    count = 1 if name in ONCE else random.randint(1, 12)
    dying = crew.start("produce", f"{point}:{count}")
    if name in ("leave", "drain"):
        wait_until(lambda: crew.ready(dying), 30, "a worker that is to leave")
        pause(random, 0.05, 0.2)
        crew.mark("stop", "enough")
    crew.dies(dying)
    if beside is not None:
        crew.kill(beside)
    for file in ("stop", "enough"):
        (crew.folder / file).unlink(missing_ok=True)


@pytest.mark.timeout(1200 if LONG else 150)
@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_lost_or_doubled_where_a_process_dies_at(point: str, tmp_path: Path) -> None:
    random = seeded(point)
    rounds, files = (1, ROUNDS) if point.startswith("migrate") else (ROUNDS, 1)
    for number in range(files):
        with Crew(tmp_path / str(number)) as crew:
            if not point.startswith("migrate"):
                crew.declare()
            for _ in range(rounds):
                let_one_die(crew, point, random)
            crew.drain()
            assert crew.judge() == []
            assert len(crew.deaths) >= rounds


def identities(crash_at: str | None) -> str:
    """What a new process says about the functions at points: which of them are still the ones that were written."""
    text = (
        "from asyncsched.stores._sqlite.tasks import fire\n"
        "from asyncsched.stores._sqlite.threads import DatabaseThread as D\n"
        "from asyncsched._engine.runner import Runner\n"
        "print([hasattr(one, '__wrapped__') for one in (fire, D._transact, Runner.start, Runner._execute)])"
    )
    environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
    environ |= {} if crash_at is None else {VARIABLE: crash_at}
    return subprocess.run(
        [sys.executable, "-c", text], env=environ, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("crash_at", "wrapped"),
    [
        (None, [False, False, False, False]),
        ("fire-before-commit", [True, False, False, False]),
        ("fire-after-commit:3", [True, True, False, False]),
        ("before-start", [False, False, True, False]),
        ("mid-task", [False, False, False, True]),
    ],
)
def test_only_the_point_that_is_asked_for_is_there(crash_at: str | None, wrapped: list[bool]) -> None:
    assert identities(crash_at) == str(wrapped)


def test_a_point_is_asked_for_by_name_and_count() -> None:
    assert asked_for(None) == asked_for("") == (None, 0)
    assert asked_for("hint") == ("hint", 1)
    assert asked_for("claim-after-commit:25") == ("claim-after-commit", 25)


@pytest.mark.parametrize("text", ["nowhere", "hint:0", "hint:-1", "hint:x", ":2"])
def test_a_point_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="ASYNCSCHED_CRASH_AT="):
        asked_for(text)

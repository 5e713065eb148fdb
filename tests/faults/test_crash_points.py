"""A process dies at each of the named points (F2): what the others find is whole."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from asyncsched.crash_points import POINTS, VARIABLE, asked_for
from asyncsched.errors import ConfigError

from .crew import LONG, Crew, pause, seeded, wait_until
from .grounds import SHARED, Ground, ground_of

ROUNDS = 25 if LONG else 1
# These come once in the life of a process; the others as often as it works.
ONCE = ("migrate", "rescue", "leave", "drain")
MIGRATE = tuple(point for point in POINTS if point.startswith("migrate"))
AT_ONCE = 3


def points_of(kind: str) -> list[str]:
    """The points that there are at such a store: Redis has no tables to be made."""
    return [point for point in POINTS if kind != "redis" or point not in MIGRATE]


# At a server what a dead process ran is safe only when its lease is over: there each point has its turn in one store.
CELLS = [(kind, point) for kind in (SHARED if LONG else ("sqlite",)) for point in points_of(kind)]


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


@pytest.mark.timeout(2400 if LONG else 300)
@pytest.mark.parametrize(("kind", "point"), CELLS)
def test_nothing_is_lost_or_doubled_where_a_process_dies_at(kind: str, point: str, tmp_path: Path) -> None:
    random = seeded(point)
    rounds, files = (1, ROUNDS) if point.startswith("migrate") else (ROUNDS, 1)
    died = 0
    for number in range(files):
        folder = tmp_path / str(number)
        folder.mkdir()
        with Crew(folder, ground_of(kind, folder)) as crew:
            if not point.startswith("migrate"):
                crew.declare()
            for _ in range(rounds):
                let_one_die(crew, point, random)
            crew.drain(patience_s=600 if LONG else 60)
            assert crew.judge() == []
            died += crew.died_at[point]
    assert died == ROUNDS, "the point was not reached as often as it was to be"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_nothing_is_lost_or_doubled_where_processes_die_at_one_point_after_another(kind: str, tmp_path: Path) -> None:
    random, ground = seeded("points"), ground_of(kind, tmp_path)
    with Crew(tmp_path / "crew", ground) as crew:
        for point in points_of(kind):
            if point in MIGRATE:
                crew.dies(crew.start("produce", point))
        crew.declare()
        let_them_die(crew, ground, random)
        crew.drain(patience_s=120)
        assert crew.judge() == []
        assert crew.died_at == Counter(points_of(kind))


def let_them_die(crew: Crew, ground: Ground, random: Random) -> None:
    """One worker dies at each of the points, some of them side by side; those that rescue others come last."""
    busy = [point for point in points_of(ground.kind) if point not in MIGRATE and point.partition("-")[0] not in ONCE]
    while busy:
        names = [crew.start("produce", f"{point}:{random.randint(1, 5)}") for point in busy[:AT_ONCE]]
        del busy[:AT_ONCE]
        for name in names:
            crew.dies(name)
    for point in ("leave-before-commit", "leave-after-commit", "drain"):
        let_one_die(crew, point, random)
    for point in ("rescue-before-commit", "rescue-after-commit"):
        crew.dies(crew.start("produce", point))


def identities(crash_at: str | None) -> str:
    """What a new process says about the functions at points: which of them are not the ones that were written."""
    text = (
        "from asyncsched.stores._sqlite.tasks import fire\n"
        "from asyncsched.stores._sqlite.threads import DatabaseThread as D\n"
        "from asyncsched._engine.runner import Runner\n"
        "from asyncsched.stores.postgres import PostgresStore as P\n"
        "from asyncsched.stores.redis import RedisStore as R\n"
        "known = (fire, D._transact, Runner.start, Runner._execute, P._fire, P.cycle, R._fire, R.cycle)\n"
        "print(*(number for number, one in enumerate(known) if hasattr(one, '__wrapped__')))"
    )
    environ = {key: value for key, value in os.environ.items() if key != VARIABLE}
    environ |= {} if crash_at is None else {VARIABLE: crash_at}
    return subprocess.run(
        [sys.executable, "-c", text], env=environ, capture_output=True, text=True, timeout=60, check=True
    ).stdout.strip()


@pytest.mark.parametrize(
    ("crash_at", "wrapped"),
    [
        (None, ""),
        ("fire-before-commit", "0 4 6"),
        ("fire-after-commit:3", "0 1 4 6"),
        ("claim-after-commit", "1 5 7"),
        ("before-start", "2"),
        ("mid-task", "3"),
    ],
)
def test_only_the_point_that_is_asked_for_is_there(crash_at: str | None, wrapped: str) -> None:
    assert identities(crash_at) == wrapped


def test_a_point_is_asked_for_by_name_and_count() -> None:
    assert asked_for(None) == asked_for("") == (None, 0)
    assert asked_for("hint") == ("hint", 1)
    assert asked_for("claim-after-commit:25") == ("claim-after-commit", 25)


@pytest.mark.parametrize("text", ["nowhere", "hint:0", "hint:-1", "hint:x", ":2"])
def test_a_point_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="ASYNCSCHED_CRASH_AT="):
        asked_for(text)

"""``asyncsched simulate`` and ``next``: no function is called; every one of these would raise."""

from __future__ import annotations

import json

import pytest

SHARP = """
from asyncsched import Registry, Scheduler
from asyncsched.events import Event

registry = Registry()
scheduler = Scheduler(registry=registry, tz="UTC")
heard = []
scheduler.events.on({Event}, heard.append)


@registry.every("2s", timeout="10s")
async def slow(): raise AssertionError


@registry.at("00:00")
def midnight(): raise AssertionError


@registry.every("1h", immediate=True)
def soon(): raise AssertionError
"""


def test_every_fire_over_a_change_of_the_clock_is_listed(command) -> None:
    done = command("simulate", "app", "--from", "2026-03-28T23:00", "--to", "2026-03-29T05:00")
    assert (done.code, done.err) == (0, "")
    assert [line.rstrip() for line in done.out.splitlines()] == [
        "Sun 29 Mar 2026 00:00:00 CET   fetch",
        "Sun 29 Mar 2026 01:00:00 CET   fetch",
        "Sun 29 Mar 2026 03:00:00 CEST  -- Europe/Berlin: 02:00 CET -> 03:00 CEST --",
        "Sun 29 Mar 2026 03:00:00 CEST  backup     made up for 02:30, which the clock skipped",
        "Sun 29 Mar 2026 03:00:00 CEST  fetch",
        "Sun 29 Mar 2026 04:00:00 CEST  fetch",
        "",
        "fetch      4 fires",
        "backup     1 fire",
        "half       0 fires",
        "send_mail  0 fires",
        "5 fires in 5h from Sat 28 Mar 2026 23:00:00 CET to Sun 29 Mar 2026 05:00:00 CEST",
    ]


def test_the_doubled_hour_is_listed_as_it_comes(command) -> None:
    done = command("simulate", "app", "--from", "2026-10-25T01:59", "--to", "2026-10-25T03:00", "--json")
    found = json.loads(done.out)
    fires = [(fire["task"], fire["at"], fire["note"]) for fire in found["fires"] if fire["task"] != "app:fetch"]
    assert fires == [
        ("app:half", "2026-10-25T02:00:00+02:00", "the first 02:00 of two: both fire"),
        ("app:backup", "2026-10-25T02:30:00+02:00", "the first 02:30 of two: the other does not fire"),
        ("app:half", "2026-10-25T02:30:00+02:00", "the first 02:30 of two: both fire"),
        ("app:half", "2026-10-25T02:00:00+01:00", "the second 02:00 of two: both fire"),
        ("app:half", "2026-10-25T02:30:00+01:00", "the second 02:30 of two: both fire"),
    ]
    assert [change["clock"] for change in found["changes"]] == ["Europe/Berlin: 03:00 CEST -> 02:00 CET"]
    assert found["tasks"]["app:half"] == {"fires": 4, "skipped": 0, "failed": 0}
    assert found["complete"] is True


def test_the_start_is_included_and_the_end_is_not(command, here) -> None:
    (here / "sharp.py").write_text(SHARP)
    done = command("simulate", "sharp", "--from", "2026-01-01", "--to", "2026-01-01T02:00", "--json")
    fires = [fire for fire in json.loads(done.out)["fires"] if fire["task"] != "sharp:slow"]
    assert [fire["utc"] for fire in fires if fire["task"] == "sharp:midnight"] == ["2026-01-01T00:00:00Z"]
    soon = [fire["utc"] for fire in fires if fire["task"] == "sharp:soon"]
    assert soon == ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"]


def test_runs_that_take_long_overlap_and_run_out_of_time(command, here) -> None:
    (here / "sharp.py").write_text(SHARP)
    words = ["simulate", "sharp", "--from", "2026-01-01T12:00", "--to", "2026-01-01T12:00:30", "--json"]
    found = json.loads(command(*words, "--takes", "3s").out)
    assert found["tasks"]["sharp:slow"] == {"fires": 7, "skipped": 7, "failed": 0}
    assert [fire["note"] for fire in found["fires"] if fire["skipped"]] == ["overlap"] * 7
    assert json.loads(command(*words, "--takes", "11s").out)["tasks"]["sharp:slow"]["failed"] == 2


def test_a_run_that_is_tried_again_is_one_fire(command, here) -> None:
    (here / "sharp.py").write_text(SHARP.replace('timeout="10s"', 'timeout="1s", retry=2'))
    words = ["simulate", "sharp", "--from", "2026-01-01T12:00", "--to", "2026-01-01T12:00:07", "--json"]
    found = json.loads(command(*words, "--takes", "3s").out)
    assert found["tasks"]["sharp:slow"] == {"fires": 2, "skipped": 1, "failed": 1}


def test_the_listeners_of_the_program_hear_nothing_of_it(command, here) -> None:
    (here / "sharp.py").write_text(SHARP)
    command("simulate", "sharp", "--from", "2026-01-01", "--to", "2026-01-01T00:01")
    command("next", "sharp")
    import sharp

    assert sharp.heard == []


def test_the_limit_stops_it(command) -> None:
    done = command("simulate", "app", "--from", "2026-03-01", "--to", "2199-01-01", "--limit", "30")
    assert len(done.out.splitlines()) == 30 + 1 + 4 + 1
    assert done.out.splitlines()[-1].startswith("30 fires by --limit, of ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--from", "2026-01-02", "--to", "2026-01-01"], "--to 2026-01-01 is not after --from 2026-01-02"),
        (["--from", "x", "--to", "2026-01-01"], "--from 'x'"),
        (["--to", "2199-01-01", "--takes", "10"], "'10' is not a duration"),
        (["--from", "2026-01-01"], "--to"),
    ],
)
def test_a_stretch_of_time_that_cannot_be_is_a_usage_error(command, words: list[str], said: str) -> None:
    done = command("simulate", "app", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_next_lists_the_fires_of_all_tasks_in_order(command) -> None:
    found = json.loads(command("next", "app", "--for", "3 days", "--json").out)
    instants = [fire["utc"] for fire in found]
    assert instants == sorted(instants)
    counts = {task: len([fire for fire in found if fire["task"] == task]) for task in ("app:fetch", "app:backup")}
    assert counts["app:fetch"] in (71, 72)  # the 72nd is at the very end, which is not included
    assert counts["app:backup"] in (2, 3, 4)


def test_next_shows_ten_or_as_many_as_are_asked_for(command) -> None:
    ten = command("next", "app").out.splitlines()
    assert len(ten) == 10
    # Which task is first depends on the time of day at which the test runs; when fetch is due does not.
    assert [line.split("  ")[-1].strip() for line in ten if "fetch" in line][:1] == ["in 1h"]
    assert len(command("next", "app", "-n", "2").out.splitlines()) == 2


def test_next_knows_when_there_is_nothing_to_come(command, here) -> None:
    (here / "quiet.py").write_text("from asyncsched import Registry, Scheduler\ns = Scheduler(registry=Registry())")
    assert command("next", "quiet", "--tz", "UTC").out == "nothing will fire\n"
    assert command("next", "quiet", "--tz", "UTC", "--json").out == "[]\n"

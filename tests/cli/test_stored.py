"""The commands about what a store keeps, each called in this process while nobody serves."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from asyncsched import Registry, Scheduler
from asyncsched.run import Run
from asyncsched.scheduler import store_of
from asyncsched.stores._sqlite import schema
from oldest import write_oldest

APP = """
from datetime import date
from asyncsched import Registry, Scheduler, current_run

registry = Registry()
scheduler = Scheduler("sqlite:///jobs.db", registry=registry, tz="Europe/Berlin")


@registry.every("1h")
async def fetch(): ...


@registry.at("02:30", tz="America/New_York")
async def backup(): ...


@registry.task
async def send(to: str, copies: int = 1, day: date = date(2026, 1, 2)) -> date:
    current_run().set("pages", copies * 3)
    if to == "bad":
        raise ValueError("no such address")
    return day


@registry.task(queue="slow", keep="1h")
async def slow(): ...
"""
URL = "sqlite:///jobs.db"
A_RUN = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"
STEPS = [step.name for step in schema.STEPS]


@pytest.fixture
def stored(here: Path) -> Path:
    """The folder, with an app whose store is a file."""
    (here / "app.py").write_text(APP, encoding="utf-8")
    return here


@pytest.fixture
def ask(stored: Path, command):
    """What a command says as JSON; its code is 0 and it complains about nothing."""

    def call(*words: str) -> Any:
        done = command(*words, "--json")
        assert (done.code, done.err) == (0, ""), done
        return json.loads(done.out)

    return call


@pytest.fixture
def tell(stored: Path, command):
    """The lines that a command prints; its code is 0."""

    def call(*words: str) -> list[str]:
        done = command(*words)
        assert (done.code, done.err) == (0, ""), done
        return done.out.splitlines()

    return call


def served(command) -> None:
    """Let all that is ready be run."""
    assert command("run", "app", "--until-idle").code == 0


def test_a_submitted_run_waits_is_run_by_whoever_serves_and_shown(ask, tell, command) -> None:
    run = ask("submit", "app", "send", '["a@b.c", 2]', "--priority", "5", "--queue", "mail")
    assert (run["task"], run["status"], run["args"], run["queue"], run["priority"]) == (
        *("app:send", "PENDING", ["a@b.c", 2], "mail", 5),
    )
    (line,) = tell("runs", "app")
    assert re.fullmatch(
        rf"{run['id']}  \w{{3}} [ \d]\d \w{{3}} 20\d\d [\d:]{{8}} CES?T  PENDING    send  queue mail", line
    )
    served(command)
    (ended,) = ask("runs", "app")
    assert (ended["status"], ended["result"], ended["notes"]) == ("SUCCESS", "2026-01-02", {"pages": 6})
    assert ask("show", "app", run["id"]) == ended
    lines = tell("show", "app", run["id"])
    assert lines[0] == f"app:send  {run['id']}  SUCCESS"
    labels = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    told = "made started finished attempt node queue priority arguments result pages"
    assert list(labels) == told.split()
    assert (labels["arguments"], labels["result"], labels["pages"]) == ('"a@b.c", 2', '"2026-01-02"', "6")
    assert re.search(r", after \d+ ms$", labels["finished"])


def test_arguments_are_a_list_or_an_object_and_are_checked_here(ask, command, stored: Path) -> None:
    named = ask("submit", "app", "send", '{"to": "x", "day": "2026-02-03"}')
    assert (named["args"], named["kwargs"]) == (["x"], {"day": "2026-02-03"})
    for words, said in (
        (["send"], "missing a required argument: 'to'"),
        (["send", '{"t": 1}'], "'to'"),
        (["send", "[1"], "are no JSON"),
        (["send", '["x"]', "--at", "2026-01-01", "--delay", "1s"], "--at 2026-01-01 and --delay 1s: give one of them"),
        (["send", "5"], "arguments '5': give a list"),
        (["send", '["x"]', "--at", "soon"], "--at 'soon': an ISO date"),
        (["snd", '["x"]'], "did you mean send?"),
        (["send", '["x"]', "more"], "give TARGET TASK"),
    ):
        done = command("submit", "app", *words)
        assert (done.code, done.out) == (2, ""), words
        assert said in done.err


def test_a_submit_may_be_delayed_unique_or_idempotent(ask, tell) -> None:
    late = ask("submit", "app", "slow", "--delay", "1h")
    day = ask("submit", "app", "backup", "--at", "2099-03-04T05:06")
    assert day["due"] == "2099-03-04T05:06:00-05:00", "in the zone of the task"
    assert "  due Wed  4 Mar 2099 05:06:00 EST" in tell("runs", "app", "--task", "backup")[0]
    due, created = (datetime.fromisoformat(late[name]) for name in ("due", "created"))
    assert due - created == timedelta(hours=1)
    one, two = (ask("submit", "app", "send", '["x"]', "--delay", "1h", "--unique", "u")["id"] for _ in range(2))
    assert one == two
    one, two = (ask("submit", "app", "send", '["x"]', "--idempotency-key", "k")["id"] for _ in range(2))
    assert one == two


def test_runs_are_listed_by_task_status_queue_and_age(ask, tell, command, stored: Path) -> None:
    for words in (["send", '["bad"]'], ["send", '["x"]'], ["slow"]):
        ask("submit", "app", *words)
    served(command)
    assert [run["task"] for run in ask("runs", "app")] == ["app:slow", "app:send", "app:send"]
    assert [run["status"] for run in ask("runs", "app", "--task", "send")] == ["SUCCESS", "FAILED"]
    assert [run["args"] for run in ask("runs", "app", "--status", "failed", "--status", "PENDING")] == [["bad"]]
    assert [run["task"] for run in ask("runs", "app", "--queue", "slow")] == ["app:slow"]
    assert len(ask("runs", "app", "--since", "1h")) == 3
    assert ask("runs", "app", "--since", "2099-01-01") == []
    assert len(ask("runs", "app", "-n", "1")) == 1
    assert tell("runs", "app", "--status", "running") == ["no runs"]
    assert tell("runs", "app", "--status", "failed")[0].endswith("ValueError: no such address")
    assert ask("runs", "--store", URL, "--task", "app:send", "--tz", "UTC")[0]["created"].endswith("+00:00")
    for words, said in (
        (["--status", "nix"], "--status nix: one of PENDING, RUNNING,"),
        (["--since", "nix"], "or a duration"),
        (["--task", "snd"], "did you mean send?"),
    ):
        done = command("runs", "app", *words)
        assert (done.code, done.out) == (2, "")
        assert said in done.err


def test_a_failed_run_is_shown_with_its_traceback_and_repeated(ask, tell, command) -> None:
    failed = ask("submit", "app", "send", '["bad"]')["id"]
    served(command)
    lines = tell("show", "--store", URL, failed)
    assert "  error      ValueError: no such address" in lines
    assert any('raise ValueError("no such address")' in line for line in lines)
    assert "raise ValueError" in ask("show", "app", failed)["traceback"]
    (again,) = ask("retry", "app", failed)
    assert (again["retry_of"], again["status"]) == (failed, "PENDING")
    assert f"  repeats    {failed}" in tell("show", "app", again["id"])
    done = command("retry", "app", again["id"])
    assert (done.code, "is PENDING: cancel it first" in done.err) == (2, True)


def test_all_that_failed_is_repeated_once(ask, command) -> None:
    for _ in range(3):
        ask("submit", "app", "send", '["bad"]')
    ask("submit", "app", "send", '["good"]')
    served(command)
    assert ask("retry", "app", "--all", "--task", "slow") == []
    assert [run["args"] for run in ask("retry", "app", "--all", "--since", "1h")] == [["bad"]] * 3
    assert ask("retry", "app", "--all") == []
    done = command("retry", "app", "--task", "send")
    assert (done.code, "give --all too" in done.err) == (2, True)


@pytest.mark.parametrize("verb", ["show", "cancel", "retry"])
def test_an_unknown_run_is_answered_with_near_ones(ask, command, verb: str) -> None:
    known = ask("submit", "app", "slow")["id"]
    for given in (known[:6], known[-7:], known[:-1] + ("0" if known[-1] != "0" else "1")):
        done = command(verb, "app", given)
        assert (done.code, done.out) == (2, "")
        assert done.err == f"asyncsched: no run {given!r}: did you mean {known}?\n"
    done = command(verb, "app", "nonsense")
    assert done.err == "asyncsched: no run 'nonsense': 'asyncsched runs' lists those that are kept\n"


def test_the_beginning_or_the_end_of_an_id_will_do_where_no_other_run_has_it(ask, tell, command) -> None:
    known, other = (ask("submit", "app", "slow")["id"] for _ in range(2))
    assert ask("show", "app", known[-8:])["id"] == known
    assert ask("show", "--store", URL, known[:-1])["id"] == known
    assert tell("cancel", "app", known[-12:]) == ["cancelled 1 run"]
    assert ask("show", "app", other)["status"] == "PENDING"
    assert ask("retry", "app", known[-12:])[0]["retry_of"] == known


def test_a_part_of_several_ids_is_answered_with_all_of_them(command, stored: Path) -> None:
    async def filled() -> list[str]:
        async with Scheduler(URL, registry=Registry(), queues=[]) as node:
            runs = [Run(f"01a1feb7-0000-7000-8000-{number:012x}", "app:slow", 1, 1) for number in range(12)]
            await store_of(node).submit(runs)
        return [run.id for run in runs]

    run_ids = asyncio.run(filled())
    for verb in ("show", "cancel", "retry"):
        done = command(verb, "app", "01a1feb7")
        assert (done.code, done.out) == (2, "")
        said = "asyncsched: 12 runs begin or end with '01a1feb7', give more of the id: "
        assert done.err == f"{said}{', '.join(run_ids[:1:-1])} and 2 more\n"


@pytest.mark.parametrize("verb", ["trigger", "submit", "pause", "resume"])
def test_an_unknown_task_is_answered_with_near_ones(command, stored: Path, verb: str) -> None:
    done = command(verb, "app", "bakup")
    assert (done.code, done.out, done.err) == (2, "", "asyncsched: no task 'bakup': did you mean backup?\n")


def test_without_the_code_near_ids_are_those_in_the_store(ask, command) -> None:
    ask("trigger", "app", "fetch")
    done = command("pause", "--store", URL, "fetch")
    assert (done.code, done.err) == (2, "asyncsched: no task 'fetch' is stored there: did you mean app:fetch?\n")
    done = command("pause", "--store", URL, "zzz")
    assert done.err == "asyncsched: no task 'zzz' is stored there: give its whole id, as in 'module:function'\n"


def test_a_task_is_triggered_now_and_its_fires_stay(ask, command) -> None:
    run = ask("trigger", "app", "backup")
    assert (run["task"], run["scheduled_for"], run["status"]) == ("app:backup", None, "PENDING")
    assert ask("next", "app", "-n", "1")[0]["task"] == "app:fetch"


def test_a_pause_stands_until_it_is_resumed_or_over(ask, tell) -> None:
    assert tell("pause", "app", "backup") == ["backup: paused until it is resumed"]
    assert "paused" in str(ask("why", "app", "backup")["notes"])
    (line,) = tell("resume", "app", "backup")
    assert re.fullmatch(r"backup: resumed, next \w{3} [ \d]\d \w{3} 20\d\d 0[23]:[03]0:00 E[SD]T", line)
    assert ask("why", "app", "backup")["notes"] == []
    assert tell("pause", "app", "backup", "--until", "2099-01-02") == [
        "backup: paused until Fri  2 Jan 2099 00:00:00 EST"
    ]
    assert ask("resume", "--store", URL, "app:backup")["paused"] is False
    assert ask("pause", "--store", URL, "app:backup", "--until", "2099-01-02T00:00Z", "--tz", "UTC") == {
        "task": "app:backup",
        "paused": True,
        "until": "2099-01-02T00:00:00+00:00",
    }
    assert "paused" in str(ask("why", "app", "backup")["notes"])


def test_waiting_runs_are_cancelled_one_or_many(ask, tell) -> None:
    one = ask("submit", "app", "send", '["x"]')["id"]
    for _ in range(2):
        ask("submit", "app", "slow")
        ask("submit", "app", "send", '["y"]')
    assert tell("cancel", "app", one) == ["cancelled 1 run"]
    assert tell("cancel", "app", one) == ["nothing to cancel: the run has ended"]
    assert ask("show", "app", one)["reason"] == "it was cancelled by hand"
    assert ask("cancel", "--store", URL, "--queue", "slow") == {"cancelled": 2}
    assert tell("cancel", "app", "--task", "send") == ["cancelled 2 runs"]
    assert ask("runs", "app", "--status", "pending") == []


def test_a_past_range_is_replayed_once(ask, tell) -> None:
    words = ("backfill", "app", "backup", "--start", "2026-03-06", "--end", "2026-03-10")
    lines = tell(*words, "--dry-run")
    assert lines == [
        "  Fri  6 Mar 2026 02:30:00 EST",
        "  Sat  7 Mar 2026 02:30:00 EST",
        "  Sun  8 Mar 2026 03:00:00 EDT",
        "  Mon  9 Mar 2026 02:30:00 EDT",
        "backup: 4 fires are without a run, 0 had one already",
    ]
    made = ask(*words)
    assert (len(made["runs"]), made["fires"][0], made["present"]) == (4, "2026-03-06T02:30:00-05:00", 0)
    assert tell(*words) == ["backup: 0 fires will be run, 4 had one already"]
    assert len(ask("runs", "app", "--task", "backup")) == 4


def test_what_is_past_its_keeping_is_forgotten(ask, tell, command) -> None:
    for words in (["slow"], ["send", '["x"]']):
        ask("submit", "app", *words)
    served(command)
    assert tell("prune", "app") == ["forgot 0 runs and 0 idempotency keys"]
    assert ask("prune", "--store", URL, "--keep", "0s") == {"runs": 2, "keys": 0}
    assert ask("runs", "app") == []
    done = command("prune", "--store", URL)
    assert (done.code, "give TARGET, or --keep 30d" in done.err) == (2, True)


def test_a_schema_is_looked_at_printed_and_migrated(ask, tell, command, stored: Path) -> None:
    write_oldest(stored / "jobs.db")
    done = command("migrate", "app", "--check")
    assert (done.code, done.err) == (1, "")
    assert done.out.splitlines() == [
        *("sqlite jobs.db", f"  seen     {STEPS[0]}", *(f"  missing  {name}" for name in STEPS[1:]))
    ]
    assert command("migrate", "app", "--check", "--json").code == 1
    sql = command("migrate", "--store", URL, "--sql").out
    assert sql.startswith("BEGIN EXCLUSIVE;\n")
    assert sql.endswith("COMMIT;\n")
    assert ask("migrate", "app", "--sql")["sql"] == sql
    done = command("runs", "--store", f"{URL}?migrate=no")
    assert (done.code, "run 'asyncsched migrate --store sqlite:///" in done.err) == (4, True)
    assert ask("migrate", "--store", URL, "--backup", "copy.db") == {
        "store": "sqlite jobs.db",
        "seen": STEPS,
        "applied": STEPS[1:],
        "missing": [],
    }
    assert (stored / "copy.db").exists()
    assert tell("migrate", "app") == ["sqlite jobs.db", *(f"  seen     {name}" for name in STEPS)]
    assert command("migrate", "app", "--sql").out == ""
    assert command("migrate", "app", "--check").code == 0
    assert command("migrate", "app", "--check", "--sql").code == 2


@pytest.mark.parametrize(
    "words",
    [
        *(["runs"], ["show", "x"], ["trigger", "fetch"], ["pause", "fetch"], ["resume", "fetch"], ["cancel", "x"]),
        *(["submit", "send_mail", '["x"]'], ["retry", "--all"], ["prune"]),
        ["backfill", "fetch", "--start", "2026-01-01", "--end", "2026-01-02"],
    ],
)
def test_a_memory_store_is_refused(command, words: list[str]) -> None:
    done = command(words[0], "app", *words[1:])
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "asyncsched: memory store: nothing outlives its process, and nobody else can see it: give the scheduler a "
        "store that outlives it, as in Scheduler('sqlite:///jobs.db')\n"
    )


def test_a_memory_store_has_nothing_to_migrate(command) -> None:
    done = command("migrate", "app")
    assert (done.code, "nothing to migrate" in done.err) == (2, True)


def test_a_place_where_nothing_is_stored_is_told_and_not_made(command, stored: Path) -> None:
    for words in (["runs"], ["cancel", "--queue", "slow"]):
        done = command(*words, "--store", "sqlite:///jbos.db")
        assert (done.code, done.out) == (4, "")
        assert "nothing has ever been stored there" in done.err
    assert not (stored / "jbos.db").exists()


def test_the_target_may_come_from_the_environment(ask, command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCSCHED_TARGET", "app:scheduler")
    run = ask("submit", "send", '["x"]')
    assert ask("show", run["id"]) == ask("show", "app", run["id"]) == ask("runs")[0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "app"], "give TARGET RUN; given: app"),
        (["show"], "give TARGET RUN; given: nothing"),
        (["runs", "app", "more"], "give TARGET; given: app more"),
        (["runs", "app", "--store", URL], "give --store URL, and no TARGET; given: app"),
        (["show", "--store", URL], "give --store URL and RUN, and no TARGET; given: nothing"),
        (["cancel", "app"], "give TARGET RUN, or TARGET --task TASK, or TARGET --queue QUEUE; given: app"),
        (["retry", "app", "x", "--all"], "give TARGET RUN, or TARGET --all; given: app x"),
        (["pause", "app", "backup", "--until", "2020-01-01"], "--until 2020-01-01 has passed"),
        (["runs", "--store", "sqlite:jobs.db"], "'sqlite:///jobs.db' for a file here"),
    ],
)
def test_what_is_missing_or_too_much_is_told(command, stored: Path, words: list[str], said: str) -> None:
    done = command(*words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_task_that_needs_arguments_is_not_triggered_without_them(command, stored: Path) -> None:
    done = command("trigger", "app", "send")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("asyncsched: missing a required argument: 'to': the function takes (to: str")


def test_a_recorded_traceback_begins_with_itself(ask, tell, command) -> None:
    run = ask("submit", "app", "send", '["bad"]')["id"]
    command("run", "app", "--until-idle")
    assert ask("show", "app", run)["traceback"].startswith("Traceback (most recent call last):\n")
    lines = tell("show", "app", run)
    assert (
        lines[lines.index("  error      ValueError: no such address") + 1] == "    Traceback (most recent call last):"
    )
    assert lines == [line.rstrip() for line in lines]


def test_where_nothing_has_failed_nothing_is_retried(tell) -> None:
    assert tell("retry", "app", "--all") == ["nothing to retry: no such run has failed, or each was retried before"]


def test_the_usage_is_said_as_it_is(command) -> None:
    assert command("next", "--help").out.splitlines()[0] == "Usage: asyncsched next [OPTIONS] TARGET"
    assert "--store" not in command("trigger", "--help").out
    assert command("submit", "--help").out.splitlines()[0] == "Usage: asyncsched submit [OPTIONS] [TARGET] TASK [ARGS]"


def test_the_tasks_that_are_kept_are_listed(ask) -> None:
    ask("submit", "app", "slow", "--delay", "1h")
    ask("pause", "app", "backup", "--until", "2099-01-02")
    assert [task["task"] for task in ask("ls", "app")] == ["app:backup", "app:fetch", "app:send", "app:slow"]
    backup, fetch, _send, slow = ask("ls", "--store", URL, "--tz", "UTC")
    assert (backup["paused"], backup["paused_until"]) == (True, "2099-01-02T05:00:00+00:00")
    assert (fetch["retired"], fetch["next_fire"], slow["waiting"]) == (True, None, 1)


def test_the_list_of_tasks_is_for_people_too(ask, tell) -> None:
    ask("submit", "app", "slow", "--delay", "1h")
    since = r"no process serves it since \w{3} [ \d]\d \w{3} 20\d\d [\d:]{8} [CE]E?[DS]?T"
    listed = [
        ("backup", "every day at 02:30", ""),
        ("fetch ", "every hour        ", ""),
        ("send  ", "                  ", ""),
        ("slow  ", "                  ", ", 1 waiting"),
    ]
    (fetch,) = (line for line in tell("ls", "--store", URL) if line.startswith("fetch "))
    assert re.match("fetch   every hour +no process", fetch), "the first instant of an interval is no news"
    for line, (name, trigger, more) in zip(tell("ls", "app"), listed, strict=True):
        assert re.fullmatch(f"{name}  {trigger}  {since}{more}", line), line


def test_the_next_fire_is_skipped(ask, tell) -> None:
    (line,) = tell("skip-next", "app", "backup")
    assert re.fullmatch(r"backup: skips \w{3} [ \d]\d \w{3} 20\d\d 0[23]:[03]0:00 E[SD]T", line)
    assert "skip_next" in str(ask("why", "app", "backup")["notes"])
    assert [task["task"] for task in ask("ls", "app") if task["skips_next"]] == ["app:backup"]
    assert [row[:6] for row in tell("ls", "app") if row.endswith(", the next fire is to be skipped")] == ["backup"]
    assert tell("skip-next", "app", "send") == ["send: nothing to skip: no fire is coming"]

"""``asyncsched graph``: which tasks need which."""

from __future__ import annotations

import json

import pytest

GRAPH = """
from asyncsched import Registry, Scheduler, Task

registry = Registry()
scheduler = Scheduler(registry=registry, tz="UTC")

def work(): raise AssertionError("called")

def make(name, *needs, **options):
    registry.register(Task(work, id=f"app:{name}", depends_on=[f"app:{need}" for need in needs], **options))

make("extract", every="5m")
make("transform", "extract")
make("load", "transform")
make("alarm", "transform", "load", rule="any_failed")
make("report", "load", at="14:30", dependency="fresh")
make("other", cron="0 4 * * *")
make("both", "load", "other")
make("alone")
"""


@pytest.fixture
def graph(here, command):
    (here / "app.py").write_text(GRAPH, encoding="utf-8")
    return lambda *words: command("graph", "app", *words)


def test_the_tree_tells_edges_rules_triggers_and_joins(graph) -> None:
    done = graph()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "extract          every 5 minutes",
        "└─ transform",
        "   ├─ load",
        "   │  ├─ alarm   rule=any_failed; needs also transform",
        "   │  ├─ report  every day at 14:30; dependency=fresh",
        "   │  └─ both    joins the flows of extract, other; needs also other",
        "   └─ alarm      see above",
        "other            at 04:00, every day",
        "└─ both          see above",
        "alone",
    ]


def test_of_one_task_what_is_above_and_below_it_is_drawn(graph) -> None:
    assert graph("load").out.splitlines() == [
        "extract          every 5 minutes",
        "└─ transform",
        "   ├─ load",
        "   │  ├─ alarm   rule=any_failed; needs also transform",
        "   │  ├─ report  every day at 14:30; dependency=fresh",
        "   │  └─ both    joins the flows of extract, other",
        "   └─ alarm      see above",
    ]
    assert graph("app:alone").out == "alone\n"


def test_mermaid_draws_it(graph) -> None:
    assert graph("report", "--mermaid").out.splitlines() == [
        "flowchart LR",
        '  t0(["extract<br/>every 5 minutes"])',
        '  t1["transform"]',
        '  t2["load"]',
        '  t3(["report<br/>every day at 14:30"])',
        "  t0 --> t1",
        "  t1 --> t2",
        "  t2 -.->|fresh| t3",
    ]
    assert '{{"both"}}' in graph("--mermaid").out


def test_graphviz_draws_it(graph) -> None:
    assert graph("report", "--dot").out.splitlines() == [
        "digraph tasks {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  "app:extract" [label="extract\\nevery 5 minutes", style=rounded];',
        '  "app:transform" [label="transform"];',
        '  "app:load" [label="load"];',
        '  "app:report" [label="report\\nevery day at 14:30", style=rounded];',
        '  "app:extract" -> "app:transform";',
        '  "app:transform" -> "app:load";',
        '  "app:load" -> "app:report" [style=dashed, label="fresh"];',
        "}",
    ]


def test_what_a_program_reads_is_json(graph) -> None:
    found = {each["task"]: each for each in json.loads(graph("--json").out)}
    assert found["app:alarm"] == {
        "task": "app:alarm", "trigger": None, "needs": ["app:transform", "app:load"], "followers": [],
        "rule": "any_failed", "dependency": None, "join": False, "roots": ["app:extract"],
    }  # fmt: skip
    assert found["app:both"]["join"]
    assert found["app:both"]["roots"] == ["app:extract", "app:other"]
    assert (found["app:report"]["dependency"], found["app:report"]["rule"]) == ("fresh", None)


def test_what_is_written_in_a_name_is_no_markup(here, command) -> None:
    (here / "app.py").write_text(
        "from asyncsched import Registry, Scheduler, Task\n"
        "registry = Registry()\nscheduler = Scheduler(registry=registry, tz='UTC')\n"
        """registry.register(Task(print, id='a"]<b>\\\\#1&'))\n""",
        encoding="utf-8",
    )
    assert '["a#quot;]#lt;b#gt;\\#35;1#amp;"]' in command("graph", "app", "--mermaid").out
    assert '"a\\"]<b>\\\\#1&" [label="a\\"]<b>\\\\#1&"];' in command("graph", "app", "--dot").out


def test_a_chain_longer_than_the_stack_is_deep_is_drawn(here, command) -> None:
    (here / "app.py").write_text(
        "from asyncsched import Registry, Scheduler, Task\n"
        "registry = Registry()\nscheduler = Scheduler(registry=registry, tz='UTC')\n"
        "for n in range(1_200):\n"
        "    registry.register(Task(print, id=f't{n}', depends_on=[f't{n - 1}'] if n else []))\n",
        encoding="utf-8",
    )
    lines = command("graph", "app").out.splitlines()
    assert len(lines) == 1_200
    assert lines[-1].strip() == "└─ t1199"


def test_unknown_tasks_and_two_forms_at_once_are_refused(graph) -> None:
    done = graph("lode")
    assert (done.code, done.out, done.err) == (2, "", "asyncsched: no task 'lode': did you mean load?\n")
    done = graph("--dot", "--mermaid")
    assert (done.code, done.err) == (2, "asyncsched: --mermaid and --dot: give one of them\n")

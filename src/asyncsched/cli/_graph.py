"""``asyncsched graph``: which tasks need which, as a tree, for Mermaid or for Graphviz."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from asyncsched.cli._show import print_json, short_names
from asyncsched.cli._target import task_named
from asyncsched.graph import Graph, Member
from asyncsched.scheduler import Scheduler
from asyncsched.task import Task

Form = Literal["text", "mermaid", "dot", "json"]


class Drawing:
    """The tasks of a graph that are shown, with what to call them and what to say of each."""

    def __init__(self, graph: Graph, tasks: Mapping[str, Task[..., Any]], shown: Sequence[str]) -> None:
        self.graph = graph
        self.tasks = tasks
        self.shown = shown
        self.names = short_names(tasks)
        self.numbers = {task_id: number for number, task_id in enumerate(shown)}

    def followers(self, task_id: str) -> list[str]:
        """The tasks that need it, as far as they are shown."""
        return [each for each in self.graph.followers(task_id) if each in self.numbers]

    def needs(self, task_id: str) -> list[str]:
        """The tasks that it needs, as far as they are shown."""
        return [each for each in self.graph.needs(task_id) if each in self.numbers]

    def when(self, task_id: str) -> str:
        """When it fires by itself; empty if it does not."""
        trigger = self.tasks[task_id].trigger
        return "" if trigger is None else trigger.describe()

    def condition(self, task_id: str) -> str:
        """What it asks of its upstreams; empty for the usual, that all succeed."""
        links = self.tasks[task_id].links
        if not links.needs:
            return ""
        if self.graph[task_id].own_trigger:
            return str(links.dependency)
        return "" if links.rule == "all_success" else str(links.rule)


def show_graph(scheduler: Scheduler, name: str | None, form: Form) -> None:
    """Prints the graph of the tasks, or what is above and below one of them.

    Raises:
        UnknownTask: there is none of this name; the message offers near ones.
        ConfigError: the tasks make no graph: an unknown upstream, or a cycle.
    """
    drawing = drawing_of(scheduler, name)
    if form == "json":
        print_json(_json(drawing))
        return
    lines = {"text": _text, "mermaid": _mermaid, "dot": _dot}[form](drawing)
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def drawing_of(scheduler: Scheduler, name: str | None) -> Drawing:
    """What is to be drawn: all tasks, or one of them with all that is above and below it."""
    tasks = {task.id: task for task in scheduler.served()}
    graph = Graph(
        Member(task.id, task.links.needs, task.links.rule, task.trigger is not None) for task in tasks.values()
    )
    if name is None:
        return Drawing(graph, tasks, list(graph))
    chosen = task_named(scheduler, name).id
    related = {chosen, *_reached(chosen, graph.needs), *_reached(chosen, graph.followers)}
    return Drawing(graph, tasks, [task_id for task_id in graph if task_id in related])


def _reached(start: str, onwards: Any) -> dict[str, None]:
    found = dict.fromkeys(onwards(start))
    queue = list(found)
    for task_id in queue:  # grows as it goes
        for each in onwards(task_id):
            if each not in found:
                found[each] = None
                queue.append(each)
    return found


def _text(drawing: Drawing) -> Iterator[str]:
    """A tree: below each task those that need it; one that needs several is drawn once, and named below the others."""
    rows: list[tuple[str, str]] = []
    drawn: set[str] = set()
    # Without recursion: a chain may be longer than Python's stack is deep.
    waiting = [(each, "", "", "") for each in reversed(drawing.shown) if not drawing.needs(each)]
    while waiting:
        task_id, lead, turn, above = waiting.pop()
        name = drawing.names[task_id]
        if task_id in drawn:
            rows.append((f"{lead}{turn}{name}", "see above"))
            continue
        drawn.add(task_id)
        rows.append((f"{lead}{turn}{name}", _remarks(drawing, task_id, above)))
        inner = lead if not turn else lead + ("   " if turn.startswith("└") else "│  ")
        below = drawing.followers(task_id)
        turns = ["├─ "] * (len(below) - 1) + ["└─ "]
        waiting += [(each, inner, turn, task_id) for each, turn in reversed(list(zip(below, turns, strict=False)))]
    width = max((len(drawn_name) for drawn_name, _remark in rows), default=0)
    for drawn_name, remark in rows:
        yield f"{drawn_name:{width}}  {remark}".rstrip()


def _remarks(drawing: Drawing, task_id: str, above: str) -> str:
    """When it fires, what it asks of its upstreams, and what else it needs than the one above it."""
    parts = [drawing.when(task_id)]
    condition = drawing.condition(task_id)
    if condition:
        parts.append(f"dependency={condition}" if drawing.graph[task_id].own_trigger else f"rule={condition}")
    if drawing.graph.is_join(task_id):
        parts.append(f"joins the flows of {', '.join(drawing.names[root] for root in drawing.graph.sides(task_id))}")
    others = [drawing.names[need] for need in drawing.needs(task_id) if need != above]
    if others:
        parts.append(f"needs also {', '.join(others)}")
    return "; ".join(part for part in parts if part)


def _mermaid(drawing: Drawing) -> Iterator[str]:
    yield "flowchart LR"
    for task_id, number in drawing.numbers.items():
        label = drawing.names[task_id]
        if when := drawing.when(task_id):
            label += f"\n{when}"
        text = '"' + _mermaid_text(label) + '"'
        begin, end = ("([", "])") if when else ("{{", "}}") if drawing.graph.is_join(task_id) else ("[", "]")
        yield f"  t{number}{begin}{text}{end}"
    for task_id, number in drawing.numbers.items():
        condition = drawing.condition(task_id)
        arrow = "-.->" if drawing.graph[task_id].own_trigger else "-->"
        label = f"|{condition}|" if condition else ""
        for need in drawing.needs(task_id):
            yield f"  t{drawing.numbers[need]} {arrow}{label} t{number}"


def _mermaid_text(text: str) -> str:
    """``text`` within quotes, where nothing is markup but what we put there."""
    for sign, code in (("#", "#35;"), ("&", "#amp;"), ('"', "#quot;"), ("<", "#lt;"), (">", "#gt;"), ("\n", "<br/>")):
        text = text.replace(sign, code)
    return text


def _dot(drawing: Drawing) -> Iterator[str]:
    yield "digraph tasks {"
    yield "  rankdir=LR;"
    yield "  node [shape=box];"
    for task_id in drawing.shown:
        label = drawing.names[task_id]
        if when := drawing.when(task_id):
            label += f"\n{when}"
        shape = ", style=rounded" if when else ", shape=hexagon" if drawing.graph.is_join(task_id) else ""
        yield f"  {_dot_text(task_id)} [label={_dot_text(label)}{shape}];"
    for task_id in drawing.shown:
        marks = ["style=dashed"] if drawing.graph[task_id].own_trigger else []
        if condition := drawing.condition(task_id):
            marks.append(f"label={_dot_text(condition)}")
        more = f" [{', '.join(marks)}]" if marks else ""
        for need in drawing.needs(task_id):
            yield f"  {_dot_text(need)} -> {_dot_text(task_id)}{more};"
    yield "}"


def _dot_text(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _json(drawing: Drawing) -> list[dict[str, object]]:
    return [_task_json(drawing, task_id) for task_id in drawing.shown]


def _task_json(drawing: Drawing, task_id: str) -> dict[str, object]:
    graph, links = drawing.graph, drawing.tasks[task_id].links
    own_trigger = graph[task_id].own_trigger
    return {
        "task": task_id,
        "trigger": drawing.when(task_id) or None,
        "needs": list(graph.needs(task_id)),
        "followers": list(graph.followers(task_id)),
        "rule": links.rule if links.needs and not own_trigger else None,
        "dependency": links.dependency if links.needs and own_trigger else None,
        "join": graph.is_join(task_id),
        "roots": sorted(graph.roots(task_id)),
    }

"""Where the tasks stand in their graph, and what the flow of each consists of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from asyncsched._engine.living import Living
from asyncsched.errors import ConfigError, MisuseError
from asyncsched.graph import Graph, Member
from asyncsched.links import misfit
from asyncsched.task import Task

Plan = list[tuple[str, tuple[int, ...]]]


def graph_of(tasks: Iterable[Task[..., Any]]) -> Graph | None:
    """The graph of these tasks; ``None`` if none depends on another.

    Raises:
        ConfigError: an unknown id, a cycle, or a result that fits no parameter; the message names it.
    """
    several = list(tasks)
    needs = {need for task in several for need in task.links.needs}
    if not needs:
        return None
    known = {task.id: task for task in several}
    # A graph of all tasks tells the nearest ids to one that is unknown; of others only those are needed that are in it.
    whole = not needs <= known.keys()
    graph = Graph(_member(task) for task in known.values() if whole or task.links.needs or task.id in needs)
    for task_id in graph:
        _check_results(known, known[task_id])
        if graph.is_join(task_id):
            _check_join(graph, known, task_id)
    return graph


def _member(task: Task[..., Any]) -> Member:
    return Member(task.id, task.links.needs, task.links.rule, task.trigger is not None)


def _check_results(known: Mapping[str, Task[..., Any]], task: Task[..., Any]) -> None:
    for parameter, upstream in task.links.asks.items():
        if wrong := misfit(task.__wrapped__, parameter, known[upstream].__wrapped__):
            raise ConfigError(f"task {task.id!r}: parameter {parameter!r} {wrong}, the result of {upstream!r}")


def _check_join(graph: Graph, known: Mapping[str, Task[..., Any]], join: str) -> None:
    for upstream in graph.needs(join):
        if not known[upstream].policy.history_limit:
            cure = "let it keep some, the join takes its upstreams from there"
            raise ConfigError(f"task {join!r} joins {upstream!r}, which has history_limit=0: {cure}")


class Places:
    """The graph of the tasks that are served, from ``adopt`` on."""

    def __init__(self, living: Living) -> None:
        self._living = living
        self.graph: Graph | None = None
        self._plans: dict[str, Plan] = {}

    def check(self, task: Task[..., Any]) -> Graph | None:
        """The graph with this task in it, new or in place of the one of its id.

        Raises:
            ConfigError: it would be none; the message says why.
        """
        if not task.links.needs and (self.graph is None or task.id not in self.graph):
            return self.graph
        others = (armed.task for armed in self._living.tasks.values() if armed.task.id != task.id)
        return graph_of((*others, task))

    def check_removal(self, task_id: str) -> Graph | None:
        """The graph without this task.

        Raises:
            MisuseError: others depend on it; the message names them.
        """
        if self.graph is None or task_id not in self.graph:
            return self.graph
        if followers := self.graph.followers(task_id):
            named = ", ".join(map(repr, followers))
            raise MisuseError(f"{named} depend(s) on task {task_id!r}: remove or replace that first")
        return graph_of(armed.task for armed in self._living.tasks.values() if armed.task.id != task_id)

    def adopt(self, graph: Graph | None) -> None:
        """Let the tasks have their places in this graph."""
        for task_id in self.graph or ():
            if armed := self._living.tasks.get(task_id):
                armed.place = None
        self.graph = graph
        self._plans.clear()
        for task_id, place in graph.places().items() if graph is not None else ():
            if armed := self._living.tasks.get(task_id):
                armed.place = place

    @property
    def joins(self) -> list[str]:
        """The joins among the tasks."""
        return [] if self.graph is None else [each for each in self.graph if self.graph.is_join(each)]

    def plan(self, task_id: str) -> Plan:
        """What is below a task: the ids, and where the upstreams of each stand, the task itself at 0."""
        plan = self._plans.get(task_id)
        if plan is None:
            assert self.graph is not None
            below = self.graph.below(task_id)
            places = {each: number for number, each in enumerate((task_id, *below))}
            plan = [(each, tuple(places[need] for need in self.graph.needs(each))) for each in below]
            if not self.graph.needs(task_id) or self.graph[task_id].own_trigger or self.graph.is_join(task_id):
                self._plans[task_id] = plan  # only the roots: of a long chain all would take the square of its length
        return plan

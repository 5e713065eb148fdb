"""What was declared: tasks by id, in order, and what surrounds their runs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from inspect import unwrap
from typing import Any, TypeVar

from asyncsched.decorators import AnyTask, Decorators
from asyncsched.errors import ConfigError, DuplicateTask
from asyncsched.middleware import Middleware
from asyncsched.naming import place_of
from asyncsched.resource import Factory
from asyncsched.surroundings import Surroundings, check_resources
from asyncsched.task import Task

AnyMiddleware = TypeVar("AnyMiddleware", bound=Middleware)


class Declarations(Decorators):
    """Gives its heirs what is declared beside tasks: other registries, middleware, resources."""

    _surroundings: Surroundings

    @abstractmethod
    def _declaring(self) -> Registry:
        """Where tasks are declared.

        Raises:
            MisuseError: this is not the time to declare anything.
        """

    def include(self, registry: Registry, *, tags: Iterable[str] = ()) -> None:
        """Take up the tasks of ``registry``, those too that it is told of later, with these tags besides their own.

        Its middleware goes around its own tasks, inside what is around all; its named resources are for its own tasks.

        Raises:
            DuplicateTask: two tasks have one id; then none is taken up.
            ConfigError: it includes this one, or the tags are not a list of texts.
            MisuseError: the scheduler is running.
        """
        self._declaring()._include(registry, _checked_tags(tags))

    def middleware(self, middleware: AnyMiddleware) -> AnyMiddleware:
        """Put a coroutine function of (run, call_next) around each attempt of each run. The first is outermost.

        ``await call_next()`` goes on with the attempt and gives what the function gave, or raises what it raised; what
        the middleware returns (unless it is ``None``) or raises comes in its place. It runs on the event loop.

        Raises:
            ConfigError: it is no such function.
            MisuseError: the scheduler is running.
        """
        self._declaring()
        self._surroundings.wrap(middleware)
        return middleware

    def resource(self, name: str, factory: Factory) -> None:
        """Let tasks ask for a resource by name: ``pool: Annotated[Pool, Depends("pool")]``.

        It is opened when a run first needs it, and closed when the scheduler is left, after its runs have ended.

        Raises:
            ConfigError: the name is taken, or what the factory needs cannot be given.
            MisuseError: the scheduler is running.
        """
        self._declaring()
        self._surroundings.name(name, factory)

    def override(self, resource: Factory | str, stand_in: Factory) -> AbstractContextManager[None]:
        """Let another factory open a resource, given by its factory or its name, until the block is left: for tests.

        What has been opened for the whole scheduler stays open, and comes back after the block.

        Raises:
            ConfigError: what the other factory needs cannot be given.
        """
        return self._surroundings.replaced(resource, stand_in)


def _checked_tags(tags: Iterable[str]) -> frozenset[str]:
    given = [] if isinstance(tags, str) else list(tags)
    if isinstance(tags, str) or not all(isinstance(tag, str) for tag in given):
        raise ConfigError(f"tags={tags!r}: give a list of texts, such as ['mail']")
    return frozenset(given)


class Registry(Declarations):
    """A collection of declared tasks. Nothing starts until a scheduler serves it.

    The decorators of the module ``asyncsched`` collect into one registry, which ``Scheduler()`` serves.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task[..., Any]] = {}
        self._aliases: dict[str, str] = {}
        """By each alias the task that has it."""
        self._surroundings = Surroundings()
        self._origins: dict[str, Registry] = {}
        """From which included registry a task came, by its id."""
        self._includers: list[tuple[Registry, frozenset[str]]] = []

    def register(self, task: AnyTask) -> AnyTask:
        if needed := task.signature.resources:
            try:
                check_resources(needed, (self._surroundings,))
            except ConfigError as error:
                raise ConfigError(f"task {task.id!r}: {error}") from None
        self._refuse_twice(task)
        self._take(task, None, frozenset())
        return task

    def _take(self, task: Task[..., Any], origin: Registry | None, tags: frozenset[str]) -> None:
        """Have the task, and let those that include this registry have it."""
        self._tasks[task.id] = task
        for alias in task.aliases:
            self._aliases[alias] = task.id
        if origin is not None:
            self._origins[task.id] = origin
        if tags:
            task.tags |= tags
        for includer, more in self._includers:
            includer._take(task, self, more)

    def _refuse_twice(self, task: Task[..., Any]) -> None:
        for includer, _tags in self._includers:
            includer._refuse_twice(task)
        known = self._tasks.get(task.id)
        if task.aliases or self._aliases:
            self._refuse_aliases(task)
        if known is not None:
            where = place_of(known.__wrapped__) or repr(known.__wrapped__)
            cure = "give one an id="
            if unwrap(known.__wrapped__) is unwrap(task.__wrapped__):
                cure += ", or say all its times in one when([...])"
            raise DuplicateTask(f"two tasks have the id {task.id!r}, the other stands at {where}: {cure}")

    def _refuse_aliases(self, task: Task[..., Any]) -> None:
        """Refuse one whose id, or alias, is an alias or the id of another."""
        cure = "an alias is an id that no task has any more, and names one task that had it"
        if task.id in task.aliases:
            raise DuplicateTask(f"task {task.id!r} has its own id as an alias: {cure}")
        for alias in task.aliases:
            if alias in self._tasks:
                raise DuplicateTask(f"task {task.id!r} has the alias {alias!r}, which is the id of a task: {cure}")
            if alias in self._aliases:
                other = self._aliases[alias]
                raise DuplicateTask(f"tasks {other!r} and {task.id!r} both have the alias {alias!r}: {cure}")
        if task.id in self._aliases:
            raise DuplicateTask(f"{task.id!r} is the id of a task, and an alias of {self._aliases[task.id]!r}: {cure}")

    def _declaring(self) -> Registry:
        return self

    def _include(self, registry: Registry, tags: frozenset[str]) -> None:
        if not isinstance(registry, Registry):
            raise ConfigError(f"include({registry!r}): give a Registry")
        if registry._holds(self):
            raise ConfigError("this registry is included in the other one already, or is the same")
        tasks = list(registry)
        for task in tasks:
            self._refuse_twice(task)
        registry._includers.append((self, tags))
        for task in tasks:
            self._take(task, registry, tags)

    def _holds(self, other: Registry) -> bool:
        return other is self or any(self._holds(includer) for includer, _tags in other._includers)

    def surroundings_of(self, task_id: str) -> tuple[Surroundings, ...]:
        """What surrounds the runs of a task, outermost first."""
        origin = self._origins.get(task_id)
        own = (self._surroundings,)
        return own if origin is None else own + origin.surroundings_of(task_id)

    def forget(self, task_id: str) -> None:
        """Let the task be undeclared; nothing happens if it is."""
        task = self._tasks.pop(task_id, None)
        for alias in () if task is None else task.aliases:
            del self._aliases[alias]
        self._origins.pop(task_id, None)

    def __iter__(self) -> Iterator[Task[..., Any]]:
        return iter(list(self._tasks.values()))

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._tasks

    def __getitem__(self, task_id: str) -> Task[..., Any]:
        return self._tasks[task_id]


default_registry = Registry()

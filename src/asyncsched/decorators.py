"""The decorators ``every``, ``at``, ``cron``, ``when`` and ``task``, for whatever tasks can be registered with."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import datetime, time, timedelta
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from asyncsched.errors import ConfigError
from asyncsched.naming import place_of
from asyncsched.options import Options, interval
from asyncsched.results import Upstream
from asyncsched.task import Task
from asyncsched.triggers import Cron, Daily, Every, Trigger, TriggerLike, parse_trigger

P = ParamSpec("P")
R = TypeVar("R")
AnyTask = TypeVar("AnyTask", bound=Task[..., Any])


class Decorators(ABC):
    """Gives its heirs the decorators. A decorated name stays a function: calling it calls it.

    A wrong argument raises ``ConfigError`` when the function is decorated, with its file and line.
    """

    @abstractmethod
    def register(self, task: AnyTask) -> AnyTask:
        """Take up ``task`` and return it.

        Raises:
            DuplicateTask: another task has its id.
        """

    def every(
        self,
        interval_: timedelta | str | None = None,
        /,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        milliseconds: float = 0,
        start: datetime | None = None,
        **options: Unpack[Options],
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Run the function again and again: ``every("5s")``, ``every(minutes=5)``, ``every(timedelta(hours=1))``.

        Fires stand on a grid that never drifts. It begins at ``start``, or when the task is first registered, and
        then the first fire is one interval later (``immediate=True``: at once, too). An interval never looks
        at the wall clock; for the same time each day use ``at``.
        """
        parts = {
            "weeks": weeks,
            "days": days,
            "hours": hours,
            "minutes": minutes,
            "seconds": seconds,
            "milliseconds": milliseconds,
        }
        given = {name: value for name, value in parts.items() if value}
        _want_brackets("every", interval_, "5s")

        def trigger() -> Every:
            return Every(interval(interval_, given), start)

        return self._declare(_spelled("every", interval_, given), trigger, options)

    def at(
        self, time_: str | time, /, *more: str | time, days: str | None = None, **options: Unpack[Options]
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Run the function each day at these times of the task's zone, ``"14:30"`` or ``"14:30:15"``.

        ``days`` keeps it to some weekdays, as cron writes them: ``"mon-fri"``, ``"sat,sun"``. On the days that do
        not have 24 hours it runs once all the same; ``when(Daily(...))`` offers the other behaviours.
        """
        _want_brackets("at", time_, "14:30")
        return self._declare(_spelled("at", time_, {}), lambda: Daily((time_, *more), days=days), options)

    def cron(self, line: str, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Run the function as a cron line says: five fields, six with seconds first, seven with years last.

        ``when(Cron(...))`` offers other dialects and other behaviours on the days that do not have 24 hours.
        """
        _want_brackets("cron", line, "0 4 * * *")
        return self._declare(_spelled("cron", line, {}), lambda: Cron(line), options)

    def when(self, trigger: TriggerLike, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Run the function whenever a trigger says, or its text: ``when("every weekday at 09:00")``.

        A timedelta is an interval, a list is the union of what it holds, an empty one never fires.
        """
        _want_brackets("when", trigger, "every weekday at 09:00")
        return self._declare(_spelled("when", trigger, {}), lambda: parse_trigger(trigger), options)

    def after(
        self, *upstreams: Upstream[Any] | str, **options: Unpack[Options]
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        """Run the function when the tasks that it needs have run: ``after(extract)``, ``after(a, b, rule="all_done")``.

        A run of an upstream begins a flow, and the function runs once in each, when ``rule`` holds for the runs of that
        flow: unless told otherwise, when all of them have succeeded.
        """
        for upstream in upstreams:
            if callable(upstream) and not isinstance(getattr(upstream, "id", None), str):
                cure = 'name the tasks that it needs, as in @after(extract) or @after("app:extract")'
                raise ConfigError(f"@after({upstream!r}): that is no task; {cure}")
        spelled = f"@after({', '.join(one if isinstance(one, str) else one.id for one in upstreams)})"
        if not upstreams:
            raise ConfigError("@after(): name the tasks that it needs, as in @after(extract)")
        more = options.get("depends_on", ())
        listed = [more] if isinstance(more, str) or callable(more) else list(more)
        known = {one if isinstance(one, str) else one.id for one in upstreams}
        listed = [one for one in listed if (one if isinstance(one, str) else getattr(one, "id", one)) not in known]
        options["depends_on"] = [*upstreams, *listed]
        return self._declare(spelled, lambda: None, options)

    @overload
    def task(self, func: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, /, **options: Unpack[Options]) -> Callable[[Callable[P, R]], Task[P, R]]: ...
    def task(self, func: Callable[..., Any] | None = None, /, **options: Unpack[Options]) -> Any:
        """Make the function a task without a trigger: it runs when it is submitted. With or without brackets."""
        decorate = self._declare("@task", lambda: None, options)
        return decorate if func is None else decorate(func)

    def _declare(
        self, spelled: str, trigger: Callable[[], Trigger | None], options: Options
    ) -> Callable[[Callable[P, R]], Task[P, R]]:
        def decorate(func: Callable[P, R]) -> Task[P, R]:
            try:
                return self.register(Task(func, trigger=trigger(), **options))
            except ConfigError as error:
                # Only here it is known which function is meant, and so where it stands.
                place = place_of(func)
                raise type(error)(f"{spelled}: {error}" + (f", {place}" if place else "")) from error

        return decorate


def _want_brackets(name: str, given: object, example: str) -> None:
    """Refuse ``@every`` without brackets: it would take the function for the interval, and nothing would ever fire."""
    if callable(given):
        cure = f'say when in brackets, as in @{name}("{example}")'
        raise ConfigError(f"@{name}: {cure}" + (f", {place}" if (place := place_of(given)) else ""))


def _spelled(name: str, value: object, parts: Mapping[str, object]) -> str:
    """The decorator as it was written, as far as that helps to find it."""
    shown = [] if value is None else [f'"{value}"' if isinstance(value, str) else repr(value)]
    text = ", ".join([*shown, *(f"{part}={number!r}" for part, number in parts.items())])
    return f"@{name}({text if len(text) <= 60 else text[:57] + '...'})"

"""What surrounds the runs of a registry's tasks: middleware, named resources, and what stands in for a resource."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from asyncsched.errors import ConfigError
from asyncsched.middleware import Middleware, checked_middleware
from asyncsched.resource import Depends, Factory, checked_factory, name_of
from asyncsched.signature import Signature, signature_of


class Surroundings:
    """Middleware and resources, as they were declared with one registry or one scheduler."""

    def __init__(self) -> None:
        self.middleware: list[Middleware] = []
        self.factories: dict[str, Factory] = {}
        """The named resources."""
        self.stand_ins: dict[Factory | str, Factory] = {}

    def wrap(self, middleware: Middleware) -> None:
        """Put the middleware around the attempts of all runs, inside those that are there.

        Raises:
            ConfigError: it is none.
        """
        self.middleware.append(checked_middleware(middleware))

    def name(self, name: str, factory: Factory) -> None:
        """Let a resource be known by this name.

        Raises:
            ConfigError: the name is taken, the factory is none, or what it needs cannot be given.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"resource name {name!r}: give a text")
        if name in self.factories:
            raise ConfigError(f"two resources have the name {name!r}, the other is {name_of(self.factories[name])}")
        self.factories[name] = checked_factory(factory)
        try:
            check_resources({name: Depends(name)}, (self,))
        except ConfigError:
            del self.factories[name]
            raise

    @contextmanager
    def replaced(self, resource: Factory | str, stand_in: Factory) -> Iterator[None]:
        """Let another factory stand in for a resource until the block is left."""
        before = self.stand_ins.get(resource)
        self.stand_ins[resource] = checked_factory(stand_in)
        try:
            check_resources({name_of(resource): Depends(resource)}, (self,))
            yield
        finally:
            if before is None:
                del self.stand_ins[resource]
            else:
                self.stand_ins[resource] = before


def factory_of(resource: Factory | str, around: Sequence[Surroundings]) -> Factory | None:
    """What opens the resource within these surroundings, outermost first; ``None`` for a name that is unknown there.

    The outermost stand-in counts, and the innermost factory of a name: a registry's own resources are its own.
    """
    stand_in = _stand_in(resource, around)
    if stand_in is not None or not isinstance(resource, str):
        return stand_in or resource  # type: ignore[return-value]
    named = next((one.factories[resource] for one in reversed(around) if resource in one.factories), None)
    return None if named is None else _stand_in(named, around) or named


def _stand_in(resource: Factory | str, around: Sequence[Surroundings]) -> Factory | None:
    return next((one.stand_ins[resource] for one in around if resource in one.stand_ins), None)


def check_resources(needed: Mapping[str, Depends], around: Sequence[Surroundings], *, complete: bool = False) -> None:
    """Whether all that these parameters need can be opened; with ``complete`` a name must be known by now.

    Raises:
        ConfigError: a factory has a parameter that nobody gives, what lives as long as the scheduler needs what lives
            as long as a run, resources need each other, or a name is unknown.
    """
    _Check(around, complete=complete).look(needed, (), shared=False)


class _Check:
    """Walks over what resources need, each way once."""

    def __init__(self, around: Sequence[Surroundings], *, complete: bool) -> None:
        self._around = around
        self._complete = complete
        self._seen: set[tuple[Factory, bool]] = set()

    def look(self, needed: Mapping[str, Depends], way: tuple[Factory, ...], *, shared: bool) -> None:
        """Check what the last factory of the way needs, or a task, whose way is empty."""
        for parameter, depends in needed.items():
            here = f"parameter {parameter!r} of {name_of(way[-1])}" if way else f"parameter {parameter!r}"
            if shared and depends.scope == "run":
                raise ConfigError(
                    f"{here}: {depends!r} is opened for each run, and {name_of(way[-1])} once for the scheduler; "
                    "say scope='scheduler' there, too"
                )
            factory = factory_of(depends.resource, self._around)
            if factory is None:
                if self._complete:
                    known = sorted({name for one in self._around for name in one.factories})
                    raise ConfigError(
                        f"{here}: no resource is named {depends.resource!r}; declare it, "
                        f"scheduler.resource({depends.resource!r}, ...); there are: {', '.join(known) or 'none'}"
                    )
                continue
            if factory in way:
                names = " -> ".join(name_of(one) for one in (*way[way.index(factory) :], factory))
                raise ConfigError(f"resources need each other: {names}")
            lasting = depends.scope == "scheduler"
            if (factory, lasting) not in self._seen:
                signature = signature_of(factory)
                _check_fillable(factory, signature, lasting=lasting)
                self.look(signature.resources, (*way, factory), shared=lasting)
                self._seen.add((factory, lasting))


def _check_fillable(factory: Factory, signature: Signature, *, lasting: bool) -> None:
    if lasting and signature.context:
        raise ConfigError(
            f"{name_of(factory)} is opened once for the scheduler: there is no run for its parameter "
            f"{signature.context[0]!r}"
        )
    if missing := signature.required:
        raise ConfigError(
            f"nobody gives {name_of(factory)} its parameter {missing[0]!r}: annotate it with Depends, or give it a "
            "default value"
        )

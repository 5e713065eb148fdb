"""One connection on which all that is asked while an answer is awaited goes together, next.

A caller alone is delayed by nobody; of many, the units of all become few calls of one script.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

UNIT = "unit"
"""The script that carries units out."""
# So many changes are carried out by one call: the server answers nobody else meanwhile, some 5 ms.
_AT_ONCE = 200
# Who has asked and hears nothing is told so after once to twice this.
_PATIENCE_S = 5.0


class Unit(NamedTuple):
    """Changes that are made together, if all checks hold. Each is the name of one and what it is given."""

    checks: Sequence[Sequence[Any]]
    changes: Sequence[Sequence[Any]]


class Done(NamedTuple):
    """What became of units: for each what its changes gave, ``None`` if a check did not hold."""

    now_us: int
    answers: list[list[Any] | None]


class Script(NamedTuple):
    """A script, and what the server knows it by."""

    text: str
    digest: str


class _Units(NamedTuple):
    """Units to be carried out: their texts, how many changes they are, and who is told."""

    texts: list[str]
    weight: int
    future: asyncio.Future[Done]


class _Command(NamedTuple):
    """A command, or a call of a script, and who is told what it answers."""

    words: tuple[Any, ...]
    script: Script | None
    told: Callable[[Any], None]


def flat(value: Any) -> Any:
    """A value as scripts take it: there is no ``None``, and instants are texts, which lose nothing."""
    kind = value.__class__
    if kind is str:
        return value
    if kind is int:
        return str(value)
    if value is None:
        return False
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return str(value)
    return [item if item.__class__ is str else flat(item) for item in value]


_text_of = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def unit_text(unit: Unit) -> str:
    """A unit as the script takes it."""
    return _text_of(flat(unit))


class Wire:
    """A connection, opened when something is asked, and again after it was lost.

    connection: of redis-py, which knows how to come to a server. prefix: what all keys begin with.
    refusal: the errors by which the server says that it has not done something; unknown: the one of an unknown script.
    counted: told how many times units were carried out at the server, ever.
    """

    def __init__(
        self,
        connection: Any,
        prefix: str,
        scripts: Mapping[str, Script],
        refusal: type[Exception],
        unknown: type[Exception],
        counted: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._prefix = prefix
        self._scripts = scripts
        self._refusal, self._unknown = refusal, unknown
        self._counted = counted
        self._waiting: list[_Command | _Units] = []
        self._working: asyncio.Task[None] | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._exchanges = 0
        self._late = False

    def ask(self, commands: Sequence[tuple[Any, ...]]) -> asyncio.Future[list[Any]]:
        """What commands answer, in their order; a refusal is raised once all have been answered."""
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        answers: list[Any] = []

        def told(answer: Any) -> None:
            answers.append(answer)
            if len(answers) == len(commands) and not future.done():
                refused = next((one for one in answers if isinstance(one, Exception)), None)
                if refused is None:
                    future.set_result(answers)
                else:
                    future.set_exception(refused)

        for words in commands:
            self._waiting.append(_Command(words, None, told))
        self._begin()
        return future

    def call(self, name: str, given: Sequence[Any]) -> asyncio.Future[Any]:
        """What a script answers."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def told(answer: Any) -> None:
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._waiting.append(self._calling(name, given, told))
        self._begin()
        return future

    def carry_out(self, units: Sequence[Unit]) -> asyncio.Future[Done]:
        """What becomes of these units, between which nothing of others is carried out."""
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        weight = len(units) + sum(len(unit.changes) for unit in units)
        self._waiting.append(_Units([unit_text(unit) for unit in units], weight, future))
        self._begin()
        return future

    async def close(self) -> None:
        """Let go of the connection; who still waits is told that it was lost."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.wait([self._working])
        if self._watching is not None:
            self._watching.cancel()
        asked, self._waiting = self._waiting, []
        for one in self._composed(asked):
            one.told(ConnectionError("the connection was closed"))
        await self._connection.disconnect()

    def _calling(self, name: str, given: Sequence[Any], told: Callable[[Any], None]) -> _Command:
        script = self._scripts[name]
        return _Command(("EVALSHA", script.digest, 1, self._prefix, *given), script, told)

    def _begin(self) -> None:
        if self._working is None:
            self._working = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        try:
            while self._waiting:
                asked, self._waiting = self._waiting, []
                await self._exchange(self._composed(asked))
        finally:
            self._working = None

    def _composed(self, asked: Sequence[_Command | _Units]) -> list[_Command]:
        """The commands to be sent: units of several callers become one call."""
        commands: list[_Command] = []
        some: list[_Units] = []
        weight = 0
        for one in asked:
            if isinstance(one, _Units):
                if some and weight + one.weight > _AT_ONCE:
                    commands.append(self._joined(some))
                    some, weight = [], 0
                some.append(one)
                weight += one.weight
        if some:
            commands.append(self._joined(some))
        commands += [one for one in asked if isinstance(one, _Command)]  # a look sees what became of units
        return commands

    def _joined(self, some: Sequence[_Units]) -> _Command:
        text = f"[{','.join(text for one in some for text in one.texts)}]"

        def told(answer: Any) -> None:
            if isinstance(answer, Exception):
                for one in some:
                    if not one.future.done():
                        one.future.set_exception(answer)
                return
            now, count, said = answer
            self._counted(count)
            _tell(some, int(now), json.loads(said) or [], self._refusal)  # an empty list is {} there

        return self._calling(UNIT, (text,), told)

    async def _exchange(self, commands: list[_Command]) -> None:
        """Send these, and tell everybody what they answer."""
        left = commands[::-1]
        unknown: list[_Command] = []
        self._watch()
        try:
            await self._send(left, unknown)
            if unknown:  # none of these was carried out
                left = [_in_full(one) for one in reversed(unknown)]
                unknown.clear()
                await self._send(left, unknown)
        except BaseException as error:
            trouble = error if isinstance(error, Exception) else ConnectionError("the connection was closed")
            if self._late and isinstance(error, asyncio.CancelledError):
                trouble = TimeoutError("it does not answer")
            await self._connection.disconnect(nowait=True)
            for one in (*left, *unknown):
                one.told(trouble)
            if not isinstance(error, Exception):
                if not isinstance(trouble, TimeoutError):
                    raise
                asyncio.current_task().uncancel()  # type: ignore[union-attr]
        finally:
            self._exchanges += 1
            self._late = False

    async def _send(self, left: list[_Command], unknown: list[_Command]) -> None:
        """Send these, the last first; each that is answered is taken away, to ``unknown`` if its script is that."""
        connection = self._connection
        if connection.is_connected and connection._reader.at_eof():  # the server has gone meanwhile, and heard nothing
            await connection.disconnect(nowait=True)
        if not connection.is_connected:
            await connection.connect()
        words = [one.words for one in reversed(left)]
        await connection.send_packed_command(connection.pack_commands(words), check_health=False)
        while left:
            try:
                answer = await connection.read_response(disconnect_on_error=False)
            except self._refusal as error:
                answer = error
            one = left[-1]
            if isinstance(answer, self._unknown):
                unknown.append(one)
            else:
                one.told(answer)
            left.pop()

    def _watch(self) -> None:
        """See that an exchange ends."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(_PATIENCE_S, self._look, self._exchanges)

    def _look(self, exchanges: int) -> None:
        self._watching = None
        if self._working is None:
            return
        if exchanges == self._exchanges:
            self._late = True
            self._working.cancel()
        else:
            self._watch()


def _in_full(one: _Command) -> _Command:
    """The call of a script that the server does not know yet."""
    return one if one.script is None else one._replace(words=("EVAL", one.script.text, *one.words[2:]))


def _tell(some: Sequence[_Units], now_us: int, answers: Sequence[Any], refusal: type[Exception]) -> None:
    """Tell those whose units these were what became of them; a text says why one could not be carried out."""
    start = 0
    for one in some:
        mine = answers[start : start + len(one.texts)]
        start += len(one.texts)
        if one.future.done():
            continue
        refused = next((answer for answer in mine if isinstance(answer, str)), None)
        if refused is None:
            one.future.set_result(Done(now_us, [None if answer == 0 else answer for answer in mine]))
        else:
            one.future.set_exception(refusal(refused))

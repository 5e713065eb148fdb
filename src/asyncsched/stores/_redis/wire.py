"""One connection on which all that is asked while two exchanges are under way goes together, next.

A caller alone is delayed by nobody; of many, the units of all become few calls of one script.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from asyncsched.stores._redis.line import Line

UNIT = "unit"
"""The script that carries units out."""
LOOK = "look"
"""The script that looks what is ready, and lets some of it begin."""
STROKE = "stroke"
"""The script that does the one, then the other."""
# So many changes are carried out by one call: the server answers nobody else meanwhile, some 5 ms.
_AT_ONCE = 200
# So many exchanges are under way at a time: one is carried out while the next is made. What is asked meanwhile goes
# together: the more are sent one by one, the fewer become one call.
_UNDER_WAY = 2
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
    return [item if item.__class__ is str or item is False else flat(item) for item in value]


_text_of = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


def unit_text(unit: Unit) -> str:
    """A unit as the script takes it."""
    return _text_of(flat(unit))


class Wire:
    """A connection, opened when something is asked, and again after it was lost.

    connection: of redis-py, which knows how to come to a server. prefix: what all keys begin with.
    refusal: the errors by which the server says that it has not done something; unknown: the one of an unknown script;
    astray: those that say that another server is to be asked.
    counted: told how many times units were carried out at the server, ever.
    """

    def __init__(
        self,
        connection: Any,
        prefix: str,
        scripts: Mapping[str, Script],
        refusal: type[Exception],
        unknown: type[Exception],
        astray: tuple[type[Exception], ...],
        counted: Callable[[int], None],
    ) -> None:
        self._line = Line(connection, self._answered, self._lost)
        self._prefix = prefix
        self._scripts = scripts
        self._refusal, self._unknown, self._astray = refusal, unknown, astray
        self._counted = counted
        self._waiting: list[_Command | _Units] = []
        self._sent: deque[_Command] = deque()
        self._left: deque[int] = deque()
        """How many of each exchange under way have not been answered, the oldest first."""
        self._coming: asyncio.Task[None] | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._exchanges = 0
        self._anew = 0
        """How many of those that wait are sent once more, in their order."""

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
            if name.rstrip("!") == LOOK and not isinstance(answer, Exception):
                self._count_look(answer)
            if future.done():
                return
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

        self._waiting.append(self._calling(name, given, told))
        self._begin()
        return future

    def carry_out(self, units: Sequence[Unit], weight: int | None = None) -> asyncio.Future[Done]:
        """What becomes of these units, between which nothing of others is carried out.

        weight: so much work they are to the server; unless it is said, one for each unit and change.
        """
        future: asyncio.Future[Done] = asyncio.get_running_loop().create_future()
        if weight is None:
            weight = len(units) + sum(len(unit.changes) for unit in units)
        self._waiting.append(_Units([unit_text(unit) for unit in units], weight, future))
        self._begin()
        return future

    def stroke(self, unit: Unit, looking: Sequence[Any]) -> asyncio.Future[tuple[Done, list[Any] | None]]:
        """What becomes of a unit, and what a look right after it answers; ``None`` if that cannot be carried out."""
        future: asyncio.Future[tuple[Done, list[Any] | None]] = asyncio.get_running_loop().create_future()

        def told(answer: Any) -> None:
            if isinstance(answer, Exception):
                if not future.done():
                    future.set_exception(answer)
                return
            (now, count, said), seen = answer
            self._counted(count)
            if seen is not None:
                self._count_look(seen)
            done = _done_of(int(now), json.loads(said), self._refusal)
            if future.done():
                return
            if isinstance(done, Done):
                future.set_result((done, seen))
            else:
                future.set_exception(done)

        self._waiting.append(self._calling(STROKE, (f"[{unit_text(unit)}]", *looking), told))
        self._begin()
        return future

    def _count_look(self, seen: Sequence[Any]) -> None:
        if seen[-1] is not None:  # it let some begin; later answers may be there before who has asked goes on
            self._counted(seen[-1])

    async def close(self) -> None:
        """Let go of the connection; who still waits is told that it was lost."""
        if self._coming is not None:
            self._coming.cancel()
            await asyncio.wait([self._coming])
        if self._watching is not None:
            self._watching.cancel()
        closed = ConnectionError("the connection was closed")
        self._fail(closed)
        self._give_up(closed)
        await self._line.close()

    def _calling(self, name: str, given: Sequence[Any], told: Callable[[Any], None]) -> _Command:
        script = self._scripts[name]
        return _Command(("EVALSHA", script.digest, 1, self._prefix, *given), script, told)

    def _begin(self) -> None:
        """Send what waits, unless much is under way: then it goes together, next."""
        if self._coming is not None or len(self._left) >= _UNDER_WAY:
            return
        if self._line.is_open:
            self._send()
        elif not self._sent:  # else those are told first that the connection was lost
            self._coming = asyncio.get_running_loop().create_task(self._come())
            self._watch()

    async def _come(self) -> None:
        """Connect, then send what waits."""
        try:
            await self._line.open()
        except BaseException as error:
            self._give_up(error if isinstance(error, Exception) else TimeoutError("it does not answer"))
            if not isinstance(error, Exception | asyncio.CancelledError):
                raise
        else:
            self._send()
        finally:
            self._coming = None

    def _give_up(self, error: Exception) -> None:
        """Tell all that nothing was sent for that it will not be."""
        asked, self._waiting = self._waiting, []
        for one in self._composed(asked):
            one.told(error)

    def _send(self) -> None:
        asked, self._waiting = self._waiting, []
        commands = self._composed(asked)
        if commands:
            self._sent.extend(commands)
            self._left.append(len(commands))
            self._line.send([one.words for one in commands])
            self._watch()

    def _answered(self, answer: Any) -> None:
        """Tell who has asked."""
        if isinstance(answer, Exception) and not isinstance(answer, self._refusal):
            raise answer
        one = self._sent.popleft()
        if isinstance(answer, self._unknown) and one.script is not None:
            self._waiting.insert(self._anew, _in_full(one, one.script))  # it was not carried out
            self._anew += 1
        else:
            one.told(answer)
        self._left[0] -= 1
        if isinstance(answer, self._astray):  # the next connection comes to where it should; nothing more is done here
            self._line.drop()
            self._lost(ConnectionError("another server is to be asked"))
        elif not self._left[0]:
            self._left.popleft()
            self._exchanges += 1
            self._anew = 0
            if self._waiting:
                self._begin()

    def _lost(self, error: Exception) -> None:
        """Tell all that were not answered; who asked later has a connection of his own."""
        self._fail(error)
        if self._waiting:
            self._begin()

    def _fail(self, error: Exception) -> None:
        sent = list(self._sent)
        self._sent.clear()
        self._left.clear()
        self._exchanges += 1
        self._anew = 0
        for one in sent:
            one.told(error)

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

    def _watch(self) -> None:
        """See that an exchange ends."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().call_later(_PATIENCE_S, self._look, self._exchanges)

    def _look(self, exchanges: int) -> None:
        self._watching = None
        if self._coming is None and not self._sent:
            return
        if exchanges != self._exchanges:
            self._watch()
        elif self._coming is not None:
            self._coming.cancel()
        else:
            self._line.drop()
            self._lost(TimeoutError("it does not answer"))


def _in_full(one: _Command, script: Script) -> _Command:
    """The call of a script that the server does not know yet."""
    return one._replace(words=("EVAL", script.text, *one.words[2:]), script=None)


def _tell(some: Sequence[_Units], now_us: int, answers: Sequence[Any], refusal: type[Exception]) -> None:
    """Tell those whose units these were what became of them; a text says why one could not be carried out."""
    start = 0
    for one in some:
        mine = answers[start : start + len(one.texts)]
        start += len(one.texts)
        if one.future.done():
            continue
        done = _done_of(now_us, mine, refusal)
        if isinstance(done, Done):
            one.future.set_result(done)
        else:
            one.future.set_exception(done)


def _done_of(now_us: int, answers: Sequence[Any], refusal: type[Exception]) -> Done | Exception:
    refused = next((answer for answer in answers if isinstance(answer, str)), None)
    if refused is not None:
        return refusal(refused)
    return Done(now_us, [None if answer == 0 else answer for answer in answers])

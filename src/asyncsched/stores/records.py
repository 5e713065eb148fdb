"""Tasks and runs as records: flat dicts of texts, whole numbers and ``None``, for whoever writes a store.

A record can be a row, a document, a hash or a line of JSON. Nothing in it is pickled and nothing names what could be
imported: arguments and results are JSON by the annotations of the function.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from asyncsched.again import dump_error, load_error
from asyncsched.overrides import Overrides
from asyncsched.run import Run, RunStatus, Settled
from asyncsched.signature import Signature
from asyncsched.stores._base import Ack, Amendment, Declared, FireOrder, Store
from asyncsched.stores._durable.rows import Row, needs_of, notes_text, row_of, run_of
from asyncsched.stores._graphs import Decision, Met
from asyncsched.triggers import Trigger
from asyncsched.values import Values

Record = dict[str, Any]
_TUPLES: Mapping[str, Callable[..., Any]] = {kind.__name__: kind for kind in (Amendment, FireOrder, Met)}


def record_of_run(run: Run[Any], signature: Signature | None = None) -> Record:
    """The run as it stands.

    signature: of its function; without it arguments and results must be plain JSON.

    Raises:
        ArgumentsError: an argument cannot be stored; the message names the parameter.
    """
    return row_of(run, Values(signature))._asdict()


def run_of_record(
    record: Mapping[str, Any], upstreams: Mapping[str, Run[Any]], signature: Signature | None = None
) -> Run[Any]:
    """A new run that stands as the record says; ``upstreams`` has those that it needs, by id.

    Raises:
        ArgumentsError: the stored arguments do not fit.
    """
    return run_of(_row(record), Values(signature), upstreams)


def needs_of_record(record: Mapping[str, Any]) -> Sequence[str]:
    """The ids of the runs that the run of a record needs."""
    return needs_of(_row(record))


def _row(record: Mapping[str, Any]) -> Row:
    return Row._make(map(record.get, Row._fields))


def record_of_settled(settled: Settled, signature: Signature | None = None) -> Record:
    """What becomes of a run after an attempt. A result that cannot be stored is told as such."""
    status, at_us, due_us, result, error, reason = settled
    return {
        "status": status.value,
        "at_us": at_us,
        "due_us": due_us,
        "result": Values(signature).dump_result(result),
        "error": dump_error(error),
        "reason": reason,
    }


def settled_of_record(record: Mapping[str, Any], run_id: str, signature: Signature | None = None) -> Settled:
    """What a record says of the run with this id."""
    return Settled(
        RunStatus(record["status"]),
        record["at_us"],
        record["due_us"],
        Values(signature).load_result(record["result"]),
        load_error(record["error"], run_id),
        record["reason"],
    )


def record_of_task(declared: Declared) -> Record:
    """The task as it is declared, its signature aside: that is the code's.

    Raises:
        TypeError, ValueError: its trigger has no JSON.
    """
    return {
        "task": declared.task,
        "declaration": json.dumps(declaration_to_json(declared.declaration), sort_keys=True),
        "trigger": None if declared.trigger is None else json.dumps(declared.trigger.to_json()),
        "next_us": declared.next_us,
        "history_limit": declared.history_limit,
        "aliases": json.dumps(declared.aliases) if declared.aliases else None,
        "metadata": None if declared.metadata is None else json.dumps(dict(declared.metadata), default=str),
    }


def task_of_record(record: Mapping[str, Any]) -> Declared:
    """The task that a record says, with a trigger and a declaration that are equal to what they were.

    Raises:
        TriggerError, ValueError: its trigger cannot be read.
    """
    trigger, aliases, metadata = (record.get(name) for name in ("trigger", "aliases", "metadata"))
    return Declared(
        record["task"],
        declaration_from_json(json.loads(record["declaration"])),
        None if trigger is None else Trigger.from_json(json.loads(trigger)),
        record["next_us"],
        record["history_limit"],
        aliases=() if aliases is None else tuple(json.loads(aliases)),
        metadata=None if metadata is None else json.loads(metadata),
    )


def plain(asked: Any) -> Any:
    """What a verb of a store is asked, as JSON values: for stores that write down or pass on whole requests.

    It may be any argument of any verb, or a list of them. Runs that the store is to write are whole; those that it has
    are named.

    Raises:
        ArgumentsError: an argument of a run is no plain JSON.
    """
    match asked:
        case None | str() | int() | float():
            return asked
        case Run():
            return {"run": record_of_run(asked)}
        case Declared():
            return {"task": record_of_task(asked)}
        case Ack(run, token, settled):
            notes = None if run.notes is None else notes_text(run.notes)
            return {"Ack": [run.id, token, record_of_settled(settled), notes]}
        case Decision(run, token, settled, sources, met):
            told = None if settled is None else record_of_settled(settled)
            return {"Decision": [run.id, token, told, plain(sources), plain(met)]}
        case Trigger():
            return {"trigger": asked.to_json()}
        case Overrides():
            return {"Overrides": asked.to_json()}
        case Amendment() | FireOrder() | Met():
            return {type(asked).__name__: [plain(item) for item in asked]}
        case Mapping():
            return {"map": {key: plain(item) for key, item in asked.items()}}
    return [plain(item) for item in asked]


class Restored:
    """What was asked, again as it was, for a store that has done all that was asked before."""

    def __init__(self, store: Store) -> None:
        """Name the store: runs that it has are those that it has."""
        self._store = store
        self._new: dict[str, Run[Any]] = {}

    async def restore(self, said: Any) -> Any:
        """What ``plain`` was given; lists are tuples."""
        if isinstance(said, list):
            return tuple([await self.restore(item) for item in said])
        if not isinstance(said, dict):
            return said
        ((kind, fields),) = said.items()
        match kind:
            case "map":
                return {key: await self.restore(item) for key, item in fields.items()}
            case "run":
                return await self._made(fields)
            case "task":
                return task_of_record(fields)
            case "trigger":
                return Trigger.from_json(fields)
            case "Overrides":
                return Overrides.from_json(fields)
            case "Ack":
                run_id, token, settled, notes = fields
                run = await self._known(run_id)
                run.notes = None if notes is None else json.loads(notes)
                return Ack(run, token, settled_of_record(settled, run_id))
            case "Decision":
                run_id, token, settled, sources, met = fields
                told = None if settled is None else settled_of_record(settled, run_id)
                rest = [await self.restore(item) for item in (sources, met)]
                return Decision(await self._known(run_id), token, told, *rest)
        return _TUPLES[kind](*[await self.restore(item) for item in fields])

    async def _made(self, record: Record) -> Run[Any]:
        needs = [self._new.get(need) or await self._store.run(need) for need in needs_of_record(record)]
        run = run_of_record(record, {need.id: need for need in needs if need is not None})
        return self._new.setdefault(run.id, run)

    async def _known(self, run_id: str) -> Run[Any]:
        # An acknowledgement of a run that the store had forgotten did not count, and will not.
        return await self._store.run(run_id) or Run(run_id, "", 0, 0)


def declaration_to_json(value: object) -> Any:
    """A declaration as JSON values: triggers are what makes them equal."""
    if isinstance(value, tuple):
        return [declaration_to_json(item) for item in value]
    # Texts first: to ask whether something is a trigger takes longer than all else here.
    return value.to_json() if not isinstance(value, str) and isinstance(value, Trigger) else value


def declaration_from_json(value: Any) -> object:
    """The declaration that ``declaration_to_json`` was given."""
    if isinstance(value, dict):
        return Trigger.from_json(value)
    return tuple(map(declaration_from_json, value)) if isinstance(value, list) else value

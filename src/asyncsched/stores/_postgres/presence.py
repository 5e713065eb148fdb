"""One node at a PostgreSQL store: it comes, is told what others do, comes anew if they took it for dead, and goes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from asyncsched.clock import Clock
from asyncsched.errors import StoreError
from asyncsched.stores._durable.lease import FORGOTTEN, LeaseHolder
from asyncsched.stores._postgres.address import Address
from asyncsched.stores._postgres.connection import (
    TROUBLES,
    Database,
    check_server,
    connect,
    make_pool,
    refused,
    sessionless,
    store_error,
)
from asyncsched.stores._postgres.desk import Desk
from asyncsched.stores._postgres.joining import Joining
from asyncsched.stores._postgres.lookups import AT_ONCE, Abroad, Cursor, look_abroad
from asyncsched.stores._postgres.plain import Columns, insert
from asyncsched.stores._postgres.pulse import Ears, Pulse
from asyncsched.stores._postgres.rescue import enter, leave, rescue, take_strays
from asyncsched.stores._postgres.rollback import SERVER, Latest, forgotten
from asyncsched.stores._postgres.roster import enrol_again, unpark
from asyncsched.stores._postgres.schema import migrate, missing
from asyncsched.stores._postgres.transaction import Transaction, transact

log = logging.getLogger("asyncsched.stores")

_START = (
    "SELECT coalesce((SELECT max(seq) FROM asyncsched.runs WHERE scheduled_at IS NOT NULL), 0), "
    "coalesce((SELECT value FROM asyncsched.counts WHERE name = 'edits'), 0)"
)


class Presence(Desk, LeaseHolder):
    """What a store does from ``open`` to ``close`` beside its verbs."""

    piled: Callable[[int, Sequence[str]], None]
    forgot: Callable[[], None]

    def __init__(self, address: Address, lease_us: int, stall_limit_us: int, *, migrates: bool) -> None:
        super().__init__(address)
        self._lease_us, self._stall_limit_us = lease_us, stall_limit_us
        self._migrates = migrates
        self._node = self._id = ""
        self._pulse: Pulse | None = None
        self._latest = Latest()
        self._inserting: Joining[Columns] = Joining(self._insert_all, refused)
        self._begin()

    def _begin(self) -> None:
        """Know nothing of what was before."""
        self._meet_nobody()
        self._server: datetime | None = None
        """When the server that answers was started."""
        self._comparing = asyncio.Lock()
        self._entering = self._leaving = self._in_doubt = False
        self._cursor = Cursor(0, 0, 0)
        self._looking = self._again = self._entered_once = False
        self._next_us: int | None = None
        """When a run may be claimed next, or lapses, as the engine has been hinted at it."""
        self._alone = False
        """Whether there was no other node at the last look: then there is nobody to be hinted at anything."""
        self._unasked: list[str] = []
        """Runs of which it is still to be asked how they stand."""

    async def open(self, node: str, clock: Clock) -> None:  # noqa: ARG002 - the server has a clock
        self._node = node
        self._id = self._known.node_id = uuid4().hex
        self._begin()
        try:
            if await self._meet():
                connection = await connect(self._address, "schema")
                try:
                    database = Database(connection, self._address.schema)
                    await migrate(database, self._address, allowed=self._migrates)
                finally:
                    await connection.close()
            # Others may look as soon as it is a node: what it takes to renew the lease is there before.
            ears = Ears(
                *(self._look_elsewhere, self._written, self._given_up, self._doubted, self._trusted),
                lambda rows, holders: self.piled(rows, holders),
            )
            pulse = self._pulse = Pulse(
                *(self._address, self._lease_us, lambda: self._id, ears, self._unmoved, self._stall_limit_us)
            )
            await pulse.start()
            await self._write(self._enter)
            self._entered_once = True
        except BaseException as error:
            await self._stop()
            if isinstance(error, TROUBLES):
                raise store_error(self._address, error) from error
            raise
        pulse.hint()

    async def _meet(self) -> bool:
        """Connect to the server; whether the schema lacks anything."""
        self._pool = await make_pool(self._address, self._connected)
        try:
            return await self._read(self._lacks)
        except StoreError as error:
            address = sessionless(self._address, error)
            if address is None:
                raise
        await self._pool.close()
        self._address = address
        self._pool = await make_pool(address, self._connected)
        return await self._read(self._lacks)

    @property
    def _low_us(self) -> int | None:
        """Nothing is ready that is due before; see ``Pulse``."""
        return None if self._pulse is None else self._pulse.low_us

    async def _lacks(self, database: Database) -> bool:
        await check_server(database, self._address)
        return bool(await missing(database, self._address))

    async def _enter(self, db: Transaction) -> None:
        """Become one of the nodes at the store."""
        await take_strays(db)
        while (await rescue(db, self._id, self._lease_us))[1]:
            pass
        await enter(db, self._id, self._node, self._lease_us)
        await unpark(db, None)
        last, self._edits = await db.row(_START)  # type: ignore[misc]
        self._cursor = Cursor(last, last, 0)

    # -- servers that take over

    async def _connected(self, connection: Any) -> None:
        """Look, before anything is asked there, whether a server that was not met before has what was acknowledged."""
        async with self._comparing:
            server = await connection.fetchval(SERVER)
            if self._server not in (None, server):
                known = self._latest.with_those_of(self._known, self._declares, self._edits)
                if await forgotten(Database(connection, self._address.schema), known):
                    self._rolled_back()
            self._server = server

    def _rolled_back(self) -> None:
        """Begin again where the server has forgotten what it had acknowledged: nothing known here is sure any more."""
        log.error(FORGOTTEN, self._address)
        self._cursor, self._edits = Cursor(0, 0, 0), 0
        self._given_up()
        self._known.doubt()
        self.forgot()

    # -- what others are told

    def _changed(self, *, plainly: bool = False) -> None:
        """Let other nodes look what this one has done; ``plainly``: it has written runs.

        One that comes looks by itself, and says that it is there.
        """
        if self._pulse is not None and not self._alone:
            self._pulse.hint(plainly=plainly)

    async def _insert_all(self, given: list[Columns]) -> None:
        """Write runs that were handed in by several."""
        columns = given[0]
        if len(given) > 1:
            columns = [[value for one in given for value in one[place]] for place in range(len(columns))]
        hint = None if self._pulse is None or self._alone else self._pulse.speaks()
        await self._read(lambda database: insert(database, columns, hint))
        if hint is None:
            self._changed(plainly=True)

    def _look_at_lease(self) -> None:
        if self._pulse is not None:
            self._pulse.renew()

    def _given_up(self) -> None:
        """Come anew, as another node: others have taken this one for dead, and what it ran is theirs by now."""
        if self._entering or self._leaving or not self._entered_once:  # it may still be on its way in
            return
        self._entering = True
        self._id = self._known.node_id = uuid4().hex
        self._lost = [*(self._lost or ()), *self._known.lose()]
        node_id, name, rosters = self._id, self._node, set(self._rosters)

        async def come(db: Transaction) -> None:
            await take_strays(db)  # before any attempt that is lost has ended: none of them is to count
            await enter(db, node_id, name, self._lease_us)
            await enrol_again(db, node_id, rosters)

        assert self._pulse is not None
        self._pulse.ask(lambda database: transact(database, come), self._entered)

    def _entered(self, _answer: None, error: BaseException | None) -> None:
        self._entering = False  # if it has not worked, the next renewal finds that
        if error is not None:
            log.warning("this node cannot come anew, it tries again: %s", error)
        self._look_elsewhere()

    async def close(self) -> None:
        if self._pool is None:
            return
        self._leaving = True  # from here on it is no wonder if it is not found among the nodes
        try:
            await self._inserting.finish()
            node_id = self._id
            await self._take_leave(lambda: self._write(lambda db: leave(db, node_id)))
            self._changed()
        finally:
            await self._stop()
            self._part()

    async def _stop(self) -> None:
        """Let the thread end, and the connections."""
        pulse, self._pulse = self._pulse, None
        if pulse is not None:
            await pulse.stop()
        pool, self._pool = self._pool, None
        connection, self._at_hand = self._at_hand, None
        if pool is not None:
            with contextlib.suppress(Exception):
                if connection is not None:
                    await pool.release(connection)
                await pool.close()

    # -- what others do

    def _written(self) -> None:
        """Others have written runs."""
        if self._entered_once:
            self.hint()

    def _look_elsewhere(self) -> None:
        """Ask what others have done, of every run that has not ended here, then let the engine look."""
        self._again = True
        if not self._looking:
            self._ask()

    async def _unmoved(self, database: Database) -> bool:
        """Whether others have done nothing since it was last looked. Called on the pulse's thread."""
        if self._looking or self._unasked or self._known.counted or self._watched or not self._entered_once:
            return False
        cursor, next_us = self._cursor, self._next_us
        abroad = await look_abroad(database, (), cursor, self._id, self._edits, self._low_us)
        same = abroad.cursor.seen == cursor.base and abroad.edits == self._edits and abroad.next_us == next_us
        same = same and abroad.alone == self._alone
        return same and not (abroad.ready or abroad.stops)

    def _ask(self) -> None:
        """Ask for some of the runs, then for the next, until all have been asked for since others were heard of."""
        pulse = self._pulse
        if pulse is None or self._leaving or not self._entered_once:
            return
        if not self._unasked:
            self._again = False
            for run_id in [run_id for run_id, run in self._watched.items() if run.status.final]:
                del self._watched[run_id]  # who watches nothing need not be woken by each poll
            self._unasked = [*self._known.counted, *self._watching()]
        self._looking = True
        cursor, node_id, edits, low_us = self._cursor, self._id, self._edits, self._low_us
        asked, self._unasked = self._unasked[:AT_ONCE], self._unasked[AT_ONCE:]
        pulse.ask(lambda database: look_abroad(database, asked, cursor, node_id, edits, low_us), self._looked)

    def _looked(self, abroad: Abroad | None, error: BaseException | None) -> None:
        self._looking = False
        if abroad is None:
            log.debug("what other nodes did cannot be read: %s", error)  # the lease tells of the trouble
            self._unasked = []
            return
        self._cursor = abroad.cursor
        self._hear_of_ends(abroad.ended, abroad.now_us)
        self._hear_of_runs(abroad.made)
        self._hear_of_orders(abroad.stops, abroad.edited, abroad.edits)
        told = self._elsewhere or self._found or self._stops or self._lost is not None
        if told or abroad.ready or abroad.next_us != self._next_us:  # else an exchange would come to nothing
            self.hint()
        self._next_us = abroad.next_us
        came = self._alone and not abroad.alone
        self._alone = abroad.alone
        if came:  # what was done between its coming and this look it may not have seen
            self._changed()
        if self._again or self._unasked:  # nobody may ever write again: what is not asked now never is
            self._ask()

"""``asyncsched migrate``: the schema of a store, looked at or brought up to date."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Literal

from asyncsched.cli._arguments import Place
from asyncsched.cli._show import Screen, print_json
from asyncsched.errors import ConfigError
from asyncsched.scheduler import store_of
from asyncsched.stores._migrates import Migrates

LACKING = 1
"""The exit code of a check that finds steps missing."""
Deed = Literal["apply", "check", "sql"]


def show_migrated(place: Place, deed: Deed, backup: Path | None, *, as_json: bool) -> int:
    """Applies the steps that the store lacks, or with another deed only tells them; the exit code.

    Raises:
        ConfigError: the store has no schema.
        StoreError: it has one that this version cannot use, or cannot be written.
    """
    store = store_of(place.scheduler)
    if not isinstance(store, Migrates):
        raise ConfigError(f"{store} store: it keeps nothing that outlives its process, so there is nothing to migrate")
    state = asyncio.run(store.schema())
    applied = asyncio.run(store.migrate(backup=backup)) if deed == "apply" and state.missing else ()
    left = [name for name in state.missing if name not in applied]
    if deed == "sql" and not as_json:
        sys.stdout.write(state.sql)
    elif as_json:
        told = {"store": str(store), "seen": [*state.seen, *applied], "applied": list(applied), "missing": left}
        print_json(told | {"sql": state.sql} if deed == "sql" else told)
    else:
        screen = Screen()
        screen.say((str(store), "bold"))
        for label, style, names in (
            ("seen", "dim", state.seen),
            ("applied", "green", applied),
            ("missing", "red", left),
        ):
            for name in names:
                screen.say((f"  {label:7}  ", style), name)
        if backup is not None and applied:
            screen.say(("  backup   ", "dim"), str(backup))
    return LACKING if deed == "check" and left else 0

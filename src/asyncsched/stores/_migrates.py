"""What a store does whose tables come to be in numbered steps: tell which ones a place has seen, and apply the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class SchemaState:
    """Which steps a place has seen.

    seen: the names of the steps that have been applied, first to last; later ones than this library knows too.
    missing: the names of those that have not.
    sql: the statements of these, to be read.
    """

    seen: tuple[str, ...]
    missing: tuple[str, ...]
    sql: str

    def to_json(self) -> Mapping[str, Any]:
        """This as JSON values, the statements aside."""
        return {"seen": list(self.seen), "missing": list(self.missing)}


class Migrates(ABC):
    """A store that is not open, as far as its schema is concerned."""

    @abstractmethod
    async def schema(self) -> SchemaState:
        """What the place has seen and lacks. Nothing is made or changed, also where there is nothing yet.

        Raises:
            StoreError: it has a schema that this version of the library cannot use, or cannot be read.
        """

    @abstractmethod
    async def migrate(self, *, backup: Path | None = None) -> tuple[str, ...]:
        """Apply the steps that are missing, in one transaction; their names. Of several that do so at once one does.

        Args:
            backup: a copy of what is there is written to this file first, if there is a step to apply.

        Raises:
            StoreError: as ``schema``; or it cannot be written; nothing is applied then.
        """

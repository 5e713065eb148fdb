"""What the workshop does: plain functions that know nothing of a scheduler."""

from __future__ import annotations

import json
import tarfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from workshop.files import DRAFT, placed
from workshop.stl import measure


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What one computation did."""

    measured: tuple[str, ...]
    unchanged: int
    refused: tuple[str, ...]
    """Why a file could not be measured, one sentence each."""

    def __str__(self) -> str:
        text = f"{len(self.measured)} measured, {self.unchanged} unchanged"
        return text + "".join(f", refused {reason}" for reason in self.refused)


@dataclass(frozen=True, kw_only=True)
class BackedUp:
    """What one backup wrote, and which older ones made room for it."""

    archive: str
    files: int
    size: int
    """Of the archive, in bytes."""
    removed: tuple[str, ...]

    def __str__(self) -> str:
        text = f"{self.archive}: {self.files} files, {self.size / 1000:.1f} kB"
        return text + (f", {len(self.removed)} old removed" if self.removed else "")


@dataclass(frozen=True, kw_only=True)
class Cleaned:
    """Which results were too old, and how many are left."""

    removed: tuple[str, ...]
    kept: int

    def __str__(self) -> str:
        return f"{len(self.removed)} results removed, {self.kept} kept"


def compute(folder: Path, results: Path) -> Computed:
    """Measures every STL file of ``folder`` into a JSON file of the same name in ``results``.

    Files that have not changed since their result was written are left alone. A file that cannot be measured
    stops no other; it gets no result, so it is tried again the next time.
    """
    measured, refused, unchanged = [], [], 0
    for model in sorted(folder.glob("*.stl")):
        result = results / f"{model.stem}.json"
        # Equal dates count as changed: better measured twice than never.
        if result.exists() and result.stat().st_mtime > model.stat().st_mtime:
            unchanged += 1
            continue
        try:
            measures = measure(model)
        except ValueError as error:
            refused.append(str(error))
            continue
        report = {"model": model.name, **asdict(measures), "measured_at": datetime.now(UTC).isoformat()}
        with placed(result) as draft:
            draft.write_text(json.dumps(report, indent=2) + "\n")
        measured.append(model.name)
    return Computed(measured=tuple(measured), unchanged=unchanged, refused=tuple(refused))


def backup(source: Path, target: Path, keep: int) -> BackedUp:
    """Packs all files of ``source`` into a tar.gz in ``target``, named by the time (UTC); the newest ``keep`` stay."""
    if keep < 1:
        raise ValueError(f"keep={keep}: at least the backup just made is kept")
    target.mkdir(parents=True, exist_ok=True)
    for left_behind in target.glob(f".{source.name}-*{DRAFT}"):  # by a backup whose process was killed
        left_behind.unlink()
    archive = target / f"{source.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.tar.gz"
    members = sorted(path for path in source.rglob("*") if path.is_file() and path.suffix != DRAFT)
    with placed(archive) as draft, tarfile.open(draft, "w:gz") as tar:
        for path in members:
            tar.add(path, arcname=path.relative_to(source.parent))
    # The names sort by time, whatever happened to the dates of the files.
    outdated = sorted(target.glob(f"{source.name}-*.tar.gz"))[:-keep]
    for old in outdated:
        old.unlink()
    removed = tuple(old.name for old in outdated)
    return BackedUp(archive=archive.name, files=len(members), size=archive.stat().st_size, removed=removed)


def clean(results: Path, older_than: timedelta) -> Cleaned:
    """Deletes the result files older than ``older_than``; parts that are still there are measured anew at night."""
    oldest = (datetime.now(UTC) - older_than).timestamp()
    removed, kept = [], 0
    for result in sorted(results.glob("*.json")):
        if result.stat().st_mtime < oldest:
            result.unlink()
            removed.append(result.name)
        else:
            kept += 1
    return Cleaned(removed=tuple(removed), kept=kept)

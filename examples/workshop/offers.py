"""What parts cost, in three steps: each needs what the one before it found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

from workshop.files import placed

EUROS_PER_CM3 = 0.85
SETTING_UP = 4.0
"""What it costs to set up the machine for a part, in euros."""


def collect(results: Path, most: int) -> dict[str, float]:
    """The volumes of the newest parts that were measured, at most so many, in cubic centimetres."""
    newest = sorted(results.glob("*.json"), key=lambda result: (result.stat().st_mtime, result.name))[-most:]
    measured = [json.loads(result.read_text()) for result in newest]
    return {one["model"]: one["volume"] / 1_000 for one in measured}


async def price(volumes: Mapping[str, float], seconds: float) -> float:
    """What the parts cost together, in euros. Each takes so many seconds of somebody's thought."""
    total = 0.0
    for volume in volumes.values():
        await asyncio.sleep(seconds)
        total += SETTING_UP + volume * EUROS_PER_CM3
    return round(total, 2)


def offer(folder: Path, parts: int, euros: float) -> str:
    """Writes the offer, numbered one after the other; says what it comes to."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"offer-{len(list(folder.glob('offer-*.txt'))) + 1}.txt"
    with placed(path) as draft:
        draft.write_text(f"{parts} parts: {euros:.2f} euros\n")
    return f"{path.name}: {parts} parts, {euros:.2f} euros"

"""The chronicle of a store over a time of troubles (F18): what became of each fire is known, and true.

Real processes, real servers, a nemesis that plans by chance from the seed. The long form takes ten minutes for each
store, and judges time as well; in the short one there are few faults, and what came when depends on the machine.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from .chronicle import around, mismatches, summary
from .crew import LONG, SEED, seeded
from .grounds import SHARED
from .nemesis import KINDS, RECOVERY_S, Fault, Nemesis, plan_of
from .sites import SLOTS, Metronome, Site
from .weather import Bounds, slowness

LASTS_S = 600.0 if LONG else 3.0
# At the end everybody gets well.
CALM_S = 25.0
BOUNDS = Bounds(250_000, int(RECOVERY_S * 1e6)) if LONG else None


def short_plan(random: Random, kind: str) -> list[Fault]:
    """A kill and two others, for each of which there is just the time."""
    kinds = random.sample([one for one in KINDS[kind] if one != "kill"], 2)
    slots = random.sample(range(SLOTS), SLOTS)
    chosen = zip((0.3, 0.9, 1.5), ("kill", *kinds), slots, strict=True)
    return [Fault(at_s, 0.6, kind, slot) for at_s, kind, slot in chosen]


@pytest.mark.timeout(1800 if LONG else 360)
@pytest.mark.parametrize("kind", SHARED)
def test_what_became_of_each_fire_is_known_and_true_whatever_happened(kind: str, tmp_path: Path) -> None:
    random = seeded(f"chronicle {kind}")
    with ExitStack() as stack:
        site = Site(kind, tmp_path, stack)
        metronome = stack.enter_context(Metronome(tmp_path))
        nemesis = stack.enter_context(Nemesis(site, tmp_path / "crew", LASTS_S, seed=SEED, slow=LONG))
        nemesis.begin()
        nemesis.befall(plan_of(random, KINDS[kind], LASTS_S - CALM_S) if LONG else short_plan(random, kind))
        wrong = nemesis.finish(300 if LONG else 120)
        story = nemesis.story(BOUNDS, slowness(metronome.strained))
        wrong += site.ground.left()
    print(f"{kind}: {summary(story)}")
    found = mismatches(story)
    for mismatch in found[20:]:
        print(*mismatch)
    told = [*wrong, *(around(story, mismatch) for mismatch in found[:20])]
    assert not told, "\n".join([f"ASYNCSCHED_SEED={SEED}", f"{len(wrong)} and {len(found)} mismatches", *told])

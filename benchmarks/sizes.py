"""How large the trials are: for figures to keep, and for a smoke run that only shows that all of them work."""

from __future__ import annotations

from typing import NamedTuple


class Sizes(NamedTuple):
    """Numbers of tasks unless a unit is named."""

    rate: int = 5_000
    thread_rate: int = 10_000
    warm_s: float = 1.0
    window_s: float = 2.0
    """How long fires are counted, after ``warm_s``."""
    burst: int = 10_000
    stall: int = 100_000
    present: int = 10_000
    """Tasks that are there when others are added."""
    added: int = 200
    bulk: int = 100_000
    removed: int = 1_000
    idle: int = 10_000
    idle_s: float = 20.0
    graph: int = 10_000
    durable: int = 4_000
    """Runs that are submitted to a file, and executed from it."""
    loaded: int = 10_000
    due: int = 1_000
    history: int = 1_000_000
    timers: int = 200
    drained: int = 5_000
    """Runs that wait in a database, and are executed from there."""
    due_there: int = 2_000
    starts: int = 60
    watched_s: float = 5.0
    idle_there_s: float = 10.0
    pending: int = 1_000_000
    claims: int = 100
    cron_share: float = 1.0
    """Of the steps of each cron line."""
    imports: int = 3
    rungs: tuple[int, ...] = (
        250, 500, 1_000, 2_000, 3_500, 5_000, 7_000, 10_000, 15_000, 20_000, 30_000, 40_000, 50_000, 60_000, 80_000,
        100_000, 130_000, 160_000,
    )  # fmt: skip
    """Rates that are tried, in fires per second."""


FULL = Sizes()
QUICK = Sizes(
    rate=100,
    thread_rate=100,
    warm_s=0.2,
    window_s=0.3,
    burst=100,
    stall=200,
    present=50,
    added=20,
    bulk=200,
    removed=20,
    idle=50,
    idle_s=0.3,
    graph=200,
    durable=40,
    loaded=20,
    due=20,
    history=100,
    timers=5,
    drained=200,
    due_there=20,
    starts=3,
    watched_s=0.5,
    idle_there_s=0.3,
    pending=200,
    claims=3,
    cron_share=0.05,
    imports=1,
    rungs=(100,),
)

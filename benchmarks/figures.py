"""The figures that are reported, each with its goal: a ratio to a peer in the same run, or a raw limit."""

from __future__ import annotations

from typing import Literal, NamedTuple

from benchmarks.adapters import NAMES

OURS = "asyncsched"


class Figure(NamedTuple):
    """One line of the report."""

    key: str
    """``measure.figure``."""
    title: str
    unit: str
    beside: str = "call_at"
    """The subject that it is compared with."""
    goal: float | None = None
    judged: Literal["ratio", "value"] = "ratio"
    more: bool = False
    """Whether more is better."""

    @property
    def wanted(self) -> str:
        """The goal in words."""
        if self.goal is None:
            return ""
        of = f"x {self.beside}" if self.judged == "ratio" else f" {self.unit}".rstrip()
        return f"{'>=' if self.more else '<='} {self.goal:,g}{of}"

    def reached(self, value: float, peer: float | None) -> bool | None:
        """Whether the goal is reached; ``None`` if there is none, or nothing to compare with."""
        if self.goal is None or (self.judged == "ratio" and not peer):
            return None
        judged = value / peer if self.judged == "ratio" and peer else value
        return judged >= self.goal if self.more else judged <= self.goal


def figures(python: tuple[int, int], *, quick: bool) -> list[Figure]:
    """What is reported on this version of Python: without eager tasks, which came with 3.12, a fire costs more.

    The small sizes of a smoke run are judged by no goal.
    """
    lines = _figures(python)
    return [line._replace(goal=None) for line in lines] if quick else lines


def _figures(python: tuple[int, int]) -> list[Figure]:
    per_fire = 1.0 if python >= (3, 12) else 1.3
    return [
        Figure("fires.cpu_us", "CPU per fire at 5,000/s, no-op coroutine", "us", goal=per_fire),
        Figure("fires.late_p50_ms", "lateness at 5,000/s, p50", "ms", goal=1.1),
        Figure("fires.late_p99_ms", "lateness at 5,000/s, p99", "ms", goal=1.1),
        Figure("sustain.rate", "fires sustained, p99 lateness < 200 ms", "/s", goal=60_000, judged="value", more=True),
        Figure("burst.burst_ms", "10,000 due at one instant: all started", "ms", goal=1.3),
        Figure("stall.stall_ms", "100,000 due at once: longest turn of the loop", "ms", goal=10, judged="value"),
        Figure("stall.stall_cpu_ms", "the same in CPU of its thread", "ms"),
        Figure("stall.stall_gc_ms", "longest pause of the garbage collector meanwhile", "ms"),
        Figure("stall.stall_own_ms", "longest turn without such pauses, in CPU", "ms"),
        Figure("add.add_us", "add one interval task, 10,000 present", "us", "apscheduler3", goal=0.2),
        Figure("add.add_argument_us", "the same with an argument, checked against the signature", "us", "apscheduler3"),
        Figure("bulk.memory_over_b", "memory per task of 100,000, over what the program hands over", "B",
               "apscheduler3", goal=600, judged="value"),
        Figure("bulk.memory_b", "memory per task of 100,000, all", "B", "apscheduler3"),
        Figure("bulk.remove_us", "remove one of 100,000", "us", "apscheduler3", goal=1.5, judged="value"),
        Figure("lateness.timer_p50_ms", "lateness of the engine's timer, p50", "ms", "call_later", goal=0.25),
        Figure("lateness.timer_p99_ms", "lateness of the engine's timer, p99", "ms", "call_later", goal=0.5),
        Figure("lateness.whole_p50_ms", "from instant to first line of the function, p50", "ms", "call_later"),
        Figure("lateness.whole_p99_ms", "from instant to first line of the function, p99", "ms", "call_later"),
        Figure("idle.idle_cpu_ms", "CPU in 20 s, 10,000 tasks due in an hour", "ms", goal=1, judged="value"),
        Figure("idle.idle_wakes", "wakes of the loop meanwhile", "", goal=0, judged="value"),
        Figure("thread_fires.cpu_us", "CPU per plain function through a thread at 10,000/s", "us", goal=40,
               judged="value"),
        Figure("graph.run_us", "CPU per run of a graph of 10,000", "us", OURS),
        Figure("graph.alone_us", "CPU per run of 10,000 that need nothing", "us", OURS),
        Figure("graph.ratio", "the former by the latter", "", OURS, goal=2, judged="value"),
        Figure("cron.cron_step_us", "cron: one step, mean of 9 lines", "us", "cronsim", goal=3, judged="value"),
        Figure("cron.cron_day_us", "cron: one step within a day", "us", "cronsim", goal=1, judged="value"),
        Figure("cron.cron_parse_us", "cron: parse a new line", "us", "cronsim", goal=20, judged="value"),
        Figure("durable.submit_full_us", "SQLite: durable submit, FULL, 100 coroutines", "us", "sqlite3", goal=2),
        Figure("durable.submit_normal_us", "the same, NORMAL", "us", "sqlite3", goal=round(1 / 0.3, 2)),
        Figure("durable.submit_alone_us", "the same, NORMAL, one coroutine", "us", "sqlite3", goal=round(1 / 0.55, 2)),
        Figure("durable.execute_us", "SQLite: claim, run, record", "us", "huey", goal=0.5),
        Figure("durable.load_ms", "SQLite: enter with 10,000 tasks in the file", "ms", "apscheduler3", goal=0.5),
        Figure("durable.stall_ms", "SQLite: longest turn of the loop, 1,000 due at once", "ms", OURS, goal=10,
               judged="value"),
        Figure("durable.first_fire_ms", "SQLite: first fire, 100,000 tasks and 1,000,000 ended runs in the file", "ms",
               OURS, goal=1_000, judged="value"),
        Figure("durable.served_ms", "until all of them are served", "ms", OURS),
        Figure("postgres.drain_10_us", "PostgreSQL: claim, run, record, 10 under way", "us", "asyncpg",
               goal=round(1 / 0.55, 2)),
        Figure("postgres.drain_10_cpu_us", "the same, CPU of the process", "us", "pgqueuer"),
        Figure("postgres.drain_10_server_us", "the same, CPU of the server", "us", "statements"),
        Figure("postgres.drain_100_us", "PostgreSQL: claim, run, record, 100 under way", "us", "asyncpg",
               goal=round(1 / 0.40, 2)),
        Figure("postgres.drain_100_cpu_us", "the same, CPU of the process", "us", "pgqueuer"),
        Figure("postgres.drain_100_server_us", "the same, CPU of the server", "us", "statements"),
        Figure("postgres.submit_us", "PostgreSQL: submit, one coroutine", "us", "asyncpg", goal=round(1 / 0.65, 2)),
        Figure("postgres.submit_ten_us", "the same, ten coroutines beside one insert after the other", "us", "asyncpg",
               goal=0.5),
        Figure("postgres.submit_batch_us", "the same, 1,000 in a batch, for each", "us", "asyncpg", goal=2),
        Figure("postgres.start_ms", "PostgreSQL: from a submit to the start at another node, p50", "ms", "asyncpg",
               goal=1.3),
        Figure("postgres.start_here_ms", "the same at the node itself", "ms", "asyncpg"),
        Figure("postgres.due_ms", "PostgreSQL: 2,000 due at once, all run and recorded", "ms", OURS, goal=990,
               judged="value"),
        Figure("postgres.statements", "PostgreSQL: statements for each scheduled run, one task", "", OURS),
        Figure("postgres.statements_100", "the same, a hundred tasks", "", OURS, goal=2, judged="value"),
        Figure("postgres.one_node_us", "PostgreSQL: a backlog, one process", "us", OURS),
        Figure("postgres.two_nodes_us", "the same, two processes", "us", OURS),
        Figure("postgres.idle_ms", "PostgreSQL: CPU of an idle node in a second", "ms", "pgqueuer", goal=1,
               judged="value"),
        Figure("postgres.claim_p50_ms", "PostgreSQL: claim 100, 1,000,000 runs wait, p50", "ms", OURS),
        Figure("postgres.claim_p99_ms", "the same, p99", "ms", OURS, goal=15, judged="value"),
        Figure("redis.drain_10_us", "Redis: claim, run, record, 10 under way", "us", "taskiq", goal=round(1 / 2.5, 2)),
        Figure("redis.drain_10_cpu_us", "the same, CPU of the process", "us", "taskiq"),
        Figure("redis.drain_10_server_us", "the same, CPU of the server", "us", "lua"),
        Figure("redis.drain_100_us", "Redis: claim, run, record, 100 under way", "us", "taskiq", goal=round(1 / 4, 2)),
        Figure("redis.drain_100_cpu_us", "the same, CPU of the process", "us", "taskiq"),
        Figure("redis.drain_100_server_us", "the same, CPU of the server", "us", "lua"),
        Figure("redis.submit_us", "Redis: submit, one coroutine", "us", "lua", goal=round(1 / 0.7, 2)),
        Figure("redis.submit_hundred_us", "the same, a hundred coroutines", "us", OURS),
        Figure("redis.submit_hundred_cpu_us", "the same, CPU of the process", "us", OURS),
        Figure("redis.submit_batch_us", "the same, 1,000 in a batch, for each", "us", "lua",
               goal=round(1e6 / 60_000, 1), judged="value"),
        Figure("redis.start_ms", "Redis: from a submit to the start, idle, p50", "ms", "lua", goal=0.8, judged="value"),
        Figure("redis.start_elsewhere_ms", "the same at another node", "ms", OURS),
        Figure("redis.idle_ms", "Redis: CPU of an idle node in a second", "ms", OURS),
        Figure("imports.import_ms", "import the core", "ms", "anyio, pydantic, croniter", goal=1.5),
    ]  # fmt: skip


PLOTTED = (
    "fires.cpu_us", "sustain.rate", "burst.burst_ms", "add.add_us", "bulk.memory_b", "thread_fires.cpu_us",
)  # fmt: skip
SUBJECTS = (
    *NAMES, "sqlite3", "huey", "asyncpg", "statements", "pgqueuer", "procrastinate", "saq", "call_later", "cronsim",
    "croniter", "anyio, pydantic, croniter",
)  # fmt: skip
"""The columns of the report, in order."""

"""The rooms of the house: which file may import which, how large things may grow, who reads clocks and who waits.

There is no baseline file and no exception list that grows: what breaks a rule is mended or the rule is
changed here, in the open.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "asyncsched"

# A file imports only from files above it in this list. A new file gets its place here first.
ROOMS = """
0 words
    version.py errors.py crash_points.py clock.py duration.py zone.py spread.py _heap.py
1 triggers
    triggers/_base.py triggers/_wall.py triggers/_fields.py triggers/_words.py triggers/_days.py
    triggers/_interchange.py triggers/_cron.py triggers/_daytime.py triggers/_simple.py triggers/_calendar.py
    triggers/_combine.py triggers/_exclusion.py triggers/_sentence.py triggers/_english.py triggers/__init__.py
2 values
    retry.py ids.py again.py limits.py keeper.py waiters.py edges.py run.py merge.py context.py graph.py results.py
    resource.py signature.py refit.py values.py links.py middleware.py
    surroundings.py transaction.py blackout.py policy.py overrides.py stored.py nodes.py fires.py overlap.py
    deadlines.py backfill.py renaming.py naming.py options.py submission.py events.py observed.py task.py phrases.py
    explanation.py evidence.py waits.py reasons.py
3 seams
    stores/_migrates.py stores/_graphs.py stores/_upkeep.py stores/_within.py stores/_drivers.py
    stores/_roster.py stores/_nodes.py stores/_base.py executors/_base.py executors/_pace.py
    executors/_crew.py
4 behind them
    stores/_pieces.py stores/_standing.py stores/_keeping.py
    stores/_doubles.py stores/_waiting.py stores/_only_node.py stores/_blocked.py stores/_served.py stores/memory.py
    stores/__init__.py
    executors/loop.py
    stores/_durable/__init__.py stores/_durable/admission.py
    stores/_durable/rows.py stores/records.py stores/_durable/marred.py stores/_durable/orders.py
    stores/_durable/lost.py stores/_durable/choice.py
    stores/_durable/tasks.py stores/_durable/steps.py stores/_durable/recent.py stores/_durable/held.py
    stores/_durable/known.py stores/_durable/unread.py
    stores/_durable/company.py stores/_durable/answers.py stores/_durable/arrivals.py
    stores/_durable/lease.py
    stores/_sqlite/__init__.py stores/_sqlite/met.py stores/_sqlite/connection.py
    stores/_sqlite/keys.py stores/_sqlite/upkeep.py
    stores/_sqlite/schema.py stores/_sqlite/threads.py stores/_sqlite/nodes.py stores/_sqlite/places.py
    stores/_sqlite/alone.py stores/_sqlite/unit.py stores/_sqlite/screening.py
    stores/_sqlite/roster.py stores/_sqlite/renames.py
    stores/_sqlite/rescue.py stores/_sqlite/neighbours.py
    stores/_sqlite/abroad.py stores/_sqlite/claims.py
    stores/_sqlite/tasks.py stores/_sqlite/graphs.py
    stores/_sqlite/lookups.py stores/_sqlite/desk.py
    stores/_sqlite/presence.py
    stores/_sqlite/migration.py stores/_sqlite/roster_verbs.py stores/_sqlite/node_verbs.py
    stores/_sqlite/watch.py stores/_sqlite/graph_verbs.py stores/_sqlite/upkeep_verbs.py
    stores/_sqlite/transactions.py
    stores/sqlite.py
    stores/_postgres/__init__.py stores/_postgres/address.py stores/_postgres/connection.py
    stores/_postgres/pile.py
    stores/_postgres/transaction.py stores/_postgres/met.py stores/_postgres/places.py stores/_postgres/keys.py
    stores/_postgres/unit.py stores/_postgres/plain.py stores/_postgres/stroke.py
    stores/_postgres/roster.py stores/_postgres/renames.py stores/_postgres/rescue.py stores/_postgres/claims.py
    stores/_postgres/tasks.py stores/_postgres/graphs.py
    stores/_postgres/lookups.py stores/_postgres/upkeep.py stores/_postgres/schema.py stores/_postgres/joining.py
    stores/_postgres/pulse.py stores/_postgres/desk.py
    stores/_postgres/rollback.py stores/_postgres/presence.py
    stores/_postgres/exchange.py
    stores/_postgres/graph_verbs.py stores/_postgres/roster_verbs.py stores/_postgres/upkeep_verbs.py
    stores/_postgres/foreign.py stores/_postgres/within.py stores/_postgres/transactions.py
    stores/_postgres/run_transaction.py
    stores/_postgres/migration.py stores/_postgres/node_verbs.py stores/postgres.py
    stores/_redis/__init__.py stores/_redis/address.py stores/_redis/primary.py stores/_redis/troubles.py
    stores/_redis/line.py
    stores/_redis/wire.py
    stores/_redis/link.py stores/_redis/records.py
    stores/_redis/transaction.py stores/_redis/places.py stores/_redis/unit.py stores/_redis/tasks.py
    stores/_redis/lookups.py stores/_redis/acks.py stores/_redis/claims.py stores/_redis/graphs.py
    stores/_redis/schema.py stores/_redis/roster.py stores/_redis/stages.py
    stores/_redis/audit.py
    stores/_redis/renames.py stores/_redis/rescue.py stores/_redis/upkeep.py stores/_redis/beside.py
    stores/_redis/pulse.py stores/_redis/presence.py stores/_redis/exchange.py stores/_redis/graph_verbs.py
    stores/_redis/keeping.py stores/_redis/node_verbs.py stores/redis.py
    executors/thread.py
    executors/_child.py executors/process.py executors/shell.py executors/__init__.py
5 engine
    _engine/__init__.py _engine/timer.py _engine/bus.py _engine/outage.py _engine/turns.py _engine/ledger.py
    _engine/resources.py
    _engine/terms.py _engine/living.py _engine/alongside.py _engine/places.py _engine/flows.py
    _engine/watcher.py
    _engine/capacity.py _engine/runner.py _engine/cycle.py _engine/custody.py _engine/firing.py _engine/arming.py
    _engine/roster.py _engine/jumps.py _engine/presence.py
    _engine/intake.py _engine/sweep.py _engine/upkeep.py _engine/drained.py
    _engine/host.py _engine/engine.py _engine/selection.py _engine/many.py
    _engine/runs.py _engine/nodes.py _engine/backfilling.py _engine/overriding.py _engine/explaining.py
    _engine/unserved.py
    _engine/tasks.py
6 facade
    decorators.py registry.py signals.py in_thread.py lifespan.py arguments.py scheduler.py __init__.py
7 surfaces
    telemetry/logging.py telemetry/__init__.py
    testing/_deadlock.py testing/_loop.py testing/_clock.py testing/_travel.py testing/_stage.py testing/__init__.py
    testing/store_contract/_bench.py testing/store_contract/_making.py testing/store_contract/_nodes.py
    testing/store_contract/_presence.py
    testing/store_contract/_tasks.py testing/store_contract/_uncounted.py testing/store_contract/_amendments.py
    testing/store_contract/_roster.py
    testing/store_contract/_overrides.py testing/store_contract/_renames.py testing/store_contract/_fires.py
    testing/store_contract/_claims.py testing/store_contract/_acks.py testing/store_contract/_keys.py
    testing/store_contract/_keeping.py
    testing/store_contract/_rates.py testing/store_contract/_queues.py testing/store_contract/_bounds.py
    testing/store_contract/_once.py testing/store_contract/_cancels.py testing/store_contract/_history.py
    testing/store_contract/_backfill.py testing/store_contract/_graphs.py testing/store_contract/_joins.py
    testing/store_contract/_at_hand.py testing/store_contract/_met.py
    testing/store_contract/_control.py testing/store_contract/_shared.py testing/store_contract/_values.py
    testing/store_contract/_batches.py testing/store_contract/_order_law.py testing/store_contract/_limit_law.py
    testing/store_contract/_transactions.py
    testing/store_contract/__init__.py
    cli/_show.py cli/_target.py cli/_changes.py cli/_dry.py cli/_explain.py cli/_why.py cli/_graph.py
    cli/_look.py cli/_run.py cli/_simulate.py
    cli/_arguments.py cli/_acting.py cli/_records.py cli/_orders.py cli/_controls.py cli/_tasks.py cli/_nodes.py
    cli/_migrate.py cli/_stored.py
    cli/__init__.py __main__.py
"""
LISTED = [word for line in ROOMS.splitlines() if line.startswith("    ") for word in line.split()]
TESTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "tests").rglob("*.py")
    if path.relative_to(ROOT).parts[1] != "faults"  # where real processes and servers die, time is the matter
)
FILES = sorted(str(path.relative_to(PACKAGE).as_posix()) for path in PACKAGE.rglob("*.py"))

LONGEST_FUNCTION, LONGEST_FILE, MOST_PUBLIC_METHODS = 50, 400, 15
NO_NAMES = {"utils", "util", "helpers", "helper", "common", "types", "constants", "manager", "models", "misc", "base"}

CLOCKS = {
    *(f"time.{name}{unit}" for name in ("time", "monotonic", "perf_counter", "process_time") for unit in ("", "_ns")),
    *(f"time.{name}" for name in ("localtime", "gmtime", "ctime", "clock_gettime", "clock_gettime_ns")),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
}
CPU_CLOCKS = {f"time.{name}{unit}" for name in ("process_time", "thread_time") for unit in ("", "_ns")}
# What a machine under load may take for anything: a test that asserts less fails now and then.
LEAST_PATIENCE_S = 10
WAITS = {
    *(f"asyncio.{name}" for name in ("sleep", "wait_for", "timeout", "timeout_at")),
    *(f"anyio.{name}" for name in ("sleep", "sleep_until", "move_on_after", "move_on_at", "fail_after", "fail_at")),
    "time.sleep",
    "threading.Timer",
}
WAITING_METHODS = {"call_later", "call_at", "timerfd_create", "timerfd_settime"}
BLOCKING_METHODS = {"wait", "join", "result", "acquire"}  # with a timeout they wait for time
STORED_CODE = {"eval", "exec", "__import__", "importlib.import_module", "importlib.__import__", "runpy.run_module"}
PICKLERS = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle"}


def tree_of(file: str) -> ast.Module:
    return ast.parse((PACKAGE / file).read_text(encoding="utf-8"), file)


def imported(tree: ast.Module, file: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import anywhere in the file, those under conditions and in functions too."""
    here = ["asyncsched", *file.removesuffix(".py").split("/")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            start = ".".join(here[: -node.level]) if node.level else ""
            module = ".".join(part for part in (start, node.module or "") if part)
            for name in node.names:
                yield node.lineno, f"{module}.{name.name}"


def file_of(dotted: str, files: list[str]) -> str | None:
    """The file of ours that an imported name comes from, None if it is not ours."""
    parts = dotted.split(".")
    if parts[0] != "asyncsched":
        return None
    for end in range(len(parts), 0, -1):
        inner = "/".join(parts[1:end])
        for candidate in (f"{inner}.py", f"{inner}/__init__.py" if inner else "__init__.py"):
            if candidate in files:
                return candidate
    return None


def wrong_imports(tree: ast.Module, file: str, order: list[str]) -> list[str]:
    place = order.index(file)
    found = []
    for line, dotted in imported(tree, file):
        target = file_of(dotted, order)
        if target is not None and target != file and order.index(target) > place:
            found.append(f"{file}:{line} imports {target}, which stands below it")
    return found


def names_used(tree: ast.Module) -> Iterator[tuple[ast.expr, str]]:
    """Every name and dotted name that is used, with what imports call it: ``t.time`` after ``import time as t``."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                (name.asname or name.name.split(".")[0]): (name.name if name.asname else name.name.split(".")[0])
                for name in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {(name.asname or name.name): f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and (dotted := _dotted(node)):
            first, _, rest = dotted.partition(".")
            yield node, ".".join(part for part in (known.get(first, first), rest) if part)


def _dotted(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else None
    return None


def clock_reads(tree: ast.Module) -> list[str]:
    # The loop has a clock of its own: loop.time(), asyncio.get_running_loop().time().
    of_loops = [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if _is_time_of_loop(node)]
    return of_loops + [f"line {node.lineno}: {name}" for node, name in names_used(tree) if name in CLOCKS]


def _is_time_of_loop(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "time" and "loop" in ast.unparse(node.value)


def waits(tree: ast.Module) -> list[str]:
    # asyncio.sleep(0) lets others run; it waits for no time.
    yields = {
        node.func
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and [ast.unparse(argument) for argument in node.args] == ["0"]
    }
    found = [
        f"line {node.lineno}: {name}"
        for node, name in names_used(tree)
        if name in WAITS and not (name in ("asyncio.sleep", "anyio.sleep") and node in yields)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr in WAITING_METHODS:
            found.append(f"line {node.lineno}: {node.attr}")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in BLOCKING_METHODS
            and any(keyword.arg == "timeout" for keyword in node.keywords)
        ):
            found.append(f"line {node.lineno}: {node.func.attr}")
    return found


def code_from_names(tree: ast.Module, file: str) -> list[str]:
    called = [f"line {node.lineno}: {name}" for node, name in names_used(tree) if name in STORED_CODE]
    return called + [
        f"line {line}: {dotted}" for line, dotted in imported(tree, file) if dotted.split(".")[0] in PICKLERS
    ]


def timed_assertions(tree: ast.Module) -> list[str]:
    """Assertions that something took less than so many seconds, by the clock of a machine or a loop.

    Followed are the names, lists and functions of the file that a reading or the time between two is put into.
    """
    clocks = {id(node) for node, name in names_used(tree) if name in CLOCKS | CPU_CLOCKS}
    clocks |= {id(node) for node in ast.walk(tree) if _is_time_of_loop(node)}
    puts = list(_puts(tree))
    read, taken = set[str](), set[str]()

    def reads(node: ast.AST) -> bool:
        return any(id(part) in clocks or (isinstance(part, ast.Name) and part.id in read) for part in ast.walk(node))

    def spans(node: ast.AST) -> bool:
        return any(
            (isinstance(part, ast.BinOp) and isinstance(part.op, ast.Sub) and reads(part))
            or (isinstance(part, ast.Name) and part.id in taken)
            for part in ast.walk(node)
        )

    for _ in range(3):  # through as many hands
        for name, value in puts:
            if spans(value):
                taken.add(name)
            elif reads(value):
                read.add(name)
    numbers = {name: seconds for name, value in puts if (seconds := _seconds(value, {})) is not None}
    return [
        f"line {test.lineno}: {ast.unparse(test)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Assert)
        for test in ast.walk(node.test)
        if isinstance(test, ast.Compare)
        for less, more in _less_and_more(test)
        if spans(less) and (seconds := _seconds(more, numbers)) is not None and seconds < LEAST_PATIENCE_S
    ]


def _puts(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """What is put into which name: assigned to it, appended to it, or returned by it."""
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets, value=value):
                yield from ((part.id, value) for to in targets for part in ast.walk(to) if isinstance(part, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[value]):
                yield name, value
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield from (
                    (name, part.value) for part in ast.walk(node) if isinstance(part, ast.Return) and part.value
                )


def _less_and_more(test: ast.Compare) -> Iterator[tuple[ast.expr, ast.expr]]:
    for left, order, right in zip([test.left, *test.comparators], test.ops, test.comparators, strict=False):
        if isinstance(order, ast.Lt | ast.LtE):
            yield left, right
        elif isinstance(order, ast.Gt | ast.GtE):
            yield right, left


def _seconds(node: ast.expr, names: dict[str, float]) -> float | None:
    """The seconds that are meant, None if that is no plain number and no timedelta of some."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name):
            return names.get(name)
        case ast.Call(func=ast.Name(id="timedelta"), keywords=given):
            parts = {word.arg: word.value.value for word in given if word.arg and isinstance(word.value, ast.Constant)}
            return timedelta(**parts).total_seconds()  # type: ignore[arg-type]
    return None


def too_long(tree: ast.Module) -> list[str]:
    return [
        f"line {node.lineno}: {node.name} has {size} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (size := (node.end_lineno or node.lineno) - node.lineno + 1) > LONGEST_FUNCTION
    ]


def too_wide(tree: ast.Module) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = {
                item.name
                for item in node.body
                if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_")
            }
            if len(methods) > MOST_PUBLIC_METHODS:
                found.append(f"line {node.lineno}: {node.name} has {len(methods)} public methods")
    return found


def test_every_file_has_its_place_and_every_place_its_file() -> None:
    assert sorted(LISTED) == FILES


@pytest.mark.parametrize("file", FILES)
def test_imports_point_up_the_list(file: str) -> None:
    assert wrong_imports(tree_of(file), file, LISTED) == []


def test_starting_pytest_imports_none_of_us() -> None:
    tree = ast.parse((ROOT / "src" / "_asyncsched_pytest.py").read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom | ast.If | ast.Try)]
    assert [
        dotted for _line, dotted in imported(tree, "_asyncsched_pytest.py") if dotted.startswith("asyncsched")
    ] == []


@pytest.mark.parametrize("file", FILES)
def test_functions_files_and_classes_stay_small(file: str) -> None:
    assert too_long(tree_of(file)) == []
    assert too_wide(tree_of(file)) == []
    assert len((PACKAGE / file).read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def test_no_file_has_a_name_that_says_nothing() -> None:
    assert [file for file in FILES if set(file.removesuffix(".py").split("/")) & NO_NAMES] == []


@pytest.mark.parametrize("file", FILES)
def test_only_the_clock_reads_clocks(file: str) -> None:
    reads = clock_reads(tree_of(file))
    if file == "_engine/timer.py":  # the loop's own clock belongs to its call_at
        reads = [read for read in reads if not read.endswith("loop.time")]
    assert file == "clock.py" or file.startswith("testing/") or reads == []


@pytest.mark.parametrize("file", FILES)
def test_only_the_timer_waits_for_time(file: str) -> None:
    found = waits(tree_of(file))
    if file == "signals.py":  # ends the process when the loop itself hangs, so no timer of the loop can do it
        found = [wait for wait in found if not wait.endswith("threading.Timer")]
    # It asks whether the loop still answers, from a thread of its own: when the loop hangs, so does every timer on it.
    if file == "_engine/watcher.py":
        found = [wait for wait in found if not wait.endswith((": wait", ": join"))]
    # A program that is to end lives by the machine's clock, also where the scheduler's is virtual.
    if file == "executors/shell.py":
        found = [wait for wait in found if not wait.endswith("threading.Timer")]
    if file == "executors/process.py":
        found = [wait for wait in found if not wait.endswith(": wait")]
    # Its threads wait for calls; and outcomes that are there are fetched 1 ms later at most, when nothing is due: never
    # on a loop that leaps through time.
    if file == "executors/_crew.py":
        found = [wait for wait in found if not wait.endswith((": acquire", ": call_later"))]
    # Its loop is that of a thread which goes on while the program's loop, and so every timer there, hangs.
    if file in ("stores/_postgres/pulse.py", "stores/_redis/beside.py"):
        found = [wait for wait in found if not wait.endswith(": call_later")]
    # A server that does not answer is given up on by the machine's clock.
    if file == "stores/_redis/wire.py":
        found = [wait for wait in found if not wait.endswith(": call_later")]
    assert file == "_engine/timer.py" or file.startswith("testing/") or found == []


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_run_imported_or_unpickled_by_a_stored_name(file: str) -> None:
    found = code_from_names(tree_of(file), file)
    if file == "cli/_target.py":  # TARGET is typed by whoever starts the program, and stored nowhere
        found = [name for name in found if not name.endswith("importlib.import_module")]
    if file == "executors/_child.py":  # what it is asked comes from the process that started it, and is stored nowhere
        found = [name for name in found if not name.endswith(("importlib.import_module", ": pickle"))]
    assert found == []


@pytest.mark.parametrize("file", TESTS)
def test_no_test_asserts_that_something_is_quick(file: str) -> None:
    assert timed_assertions(ast.parse((ROOT / file).read_text(encoding="utf-8"), file)) == []


ORDER = ["clock.py", "triggers/_base.py", "triggers/__init__.py", "run.py", "__init__.py"]


@pytest.mark.parametrize(
    "line",
    [
        "import asyncsched",
        "from asyncsched import run",
        "from asyncsched.run import Run",
        "import asyncsched.run as r",
        "from ..run import Run",
        "def f():\n    from asyncsched.run import Run",
        "if TYPE_CHECKING:\n    from asyncsched import Run",
        "from . import Cron",
    ],
)
def test_a_wrong_import_is_seen(line: str) -> None:
    assert wrong_imports(ast.parse(line), "triggers/_base.py", ORDER) != []


@pytest.mark.parametrize("line", ["import time, anyio", "from asyncsched.clock import Clock", "from .. import clock"])
def test_a_right_import_is_let_through(line: str) -> None:
    assert wrong_imports(ast.parse(line), "triggers/_base.py", ORDER) == []


@pytest.mark.parametrize(
    "line",
    [
        "import time\ntime.time()",
        "import time as t\nt.monotonic_ns()",
        "from time import perf_counter as p\np()",
        "from datetime import datetime\nx = datetime.now",
        "import datetime as d\nd.datetime.utcnow()",
        "from datetime import date\ndate.today()",
        "loop.time()",
        "asyncio.get_running_loop().time()",
    ],
)
def test_a_clock_that_is_read_is_seen(line: str) -> None:
    assert clock_reads(ast.parse(line)) != []


@pytest.mark.parametrize(
    "line",
    [
        "import asyncio\nasyncio.sleep(1)",
        "from asyncio import sleep\nsleep(delay)",
        "import anyio\nwith anyio.move_on_after(1): pass",
        "self._loop.call_later(1, f)",
        "loop.call_at(1, f)",
        "import os\nos.timerfd_create(0)",
        "import asyncio\nasyncio.wait(tasks, timeout=1)",
        "import asyncio\nasyncio.wait_for(x, 1)",
        "event.wait(timeout=1)",
        "thread.join(timeout=1)",
    ],
)
def test_a_wait_is_seen(line: str) -> None:
    assert waits(ast.parse(line)) != []


@pytest.mark.parametrize(
    "line", ["import asyncio\nasyncio.sleep(0)", "moment.time()", "import asyncio\nasyncio.wait(tasks)", "event.wait()"]
)
def test_what_neither_waits_nor_reads_a_clock_is_let_through(line: str) -> None:
    assert waits(ast.parse(line)) == clock_reads(ast.parse(line)) == []


@pytest.mark.parametrize(
    "lines",
    [
        "began = time.perf_counter()\nf()\nassert time.perf_counter() - began < 1",
        "assert 1 <= time.monotonic() - began <= 1.5",
        "took = time.process_time() - began\nassert took < 0.05",
        "assert 2 > loop.time() - began",
        "killed = time.time()\nassert at - killed < 2",
        "late.append(time.time() - due)\nassert sorted(late)[5] < 0.02",
        "LIMIT_S = 2.0\nassert time.monotonic() - began < LIMIT_S",
        "def took():\n    began = time.thread_time()\n    return time.thread_time() - began\nassert took() < 1",
        "from datetime import datetime\nassert datetime.now(UTC) - before < timedelta(seconds=2)",
    ],
)
def test_a_timed_assertion_is_seen(lines: str) -> None:
    assert timed_assertions(ast.parse(f"import time\n{lines}")) != []


@pytest.mark.parametrize(
    "lines",
    [
        "assert time.monotonic() - began >= 1",
        "assert time.monotonic() - began < 30",
        "assert began <= time.time()",
        "assert loop.time() - began == 3",
        "took = count()\nassert took < 5",
        "from datetime import datetime\nassert datetime.now(UTC) - before < timedelta(minutes=1)",
    ],
)
def test_an_assertion_that_is_not_timed_is_let_through(lines: str) -> None:
    assert timed_assertions(ast.parse(f"import time\n{lines}")) == []


@pytest.mark.parametrize(
    "line",
    ["eval('1')", "import pickle", "from importlib import import_module\nimport_module(x)", "from dill import loads"],
)
def test_code_from_a_name_is_seen(line: str) -> None:
    assert code_from_names(ast.parse(line), "run.py") != []


def test_what_grew_too_large_is_seen() -> None:
    assert too_long(ast.parse("def f():\n" + "    x = 1\n" * LONGEST_FUNCTION)) != []
    assert too_long(ast.parse("def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1))) == []
    methods = [f"    def m{number}(self): ...\n" for number in range(MOST_PUBLIC_METHODS + 1)]
    assert too_wide(ast.parse("class C:\n" + "".join(methods))) != []
    assert too_wide(ast.parse("class C:\n    def _p(self): ...\n" + "".join(methods[1:]))) == []

"""The shop: four web processes and two workers at one PostgreSQL, started by the commands that its files name."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

from contract.postgres_bench import server

ROOT = Path(__file__).resolve().parent.parent.parent
SHOP = ROOT / "examples" / "shop"
BIN = Path(sys.executable).parent
WEB = ["uvicorn", "shop.web:app", "--workers", "4"]
WORKER = ["asyncsched", "run", "shop.worker"]
PATIENCE_S = 60


@pytest.fixture
def store() -> Iterator[str]:
    """The URL of a schema of its own, which is gone afterwards."""
    schema = f"shop_{time.monotonic_ns()}"
    yield f"{server().url()}&schema={schema}&lease=3s"
    server().sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


@contextmanager
def started(words: list[str], store: str, says: Path, *fds: int) -> Iterator[subprocess.Popen[bytes]]:
    """A program of this environment, and all that it starts, until the block is left."""
    with says.open("wb") as out:
        process = subprocess.Popen(
            [BIN / words[0], *words[1:]],
            cwd=SHOP.parent,
            env=os.environ | {"SHOP_STORE": store, "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "NO_COLOR": "1"},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE_S)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def until(holds: Callable[[], Any], says: list[Path]) -> Any:
    end = time.monotonic() + PATIENCE_S
    while not (found := holds()):
        assert time.monotonic() < end, "\n".join(path.read_text() for path in says)
        time.sleep(0.05)
    return found


def listed(store: str, *words: str) -> list[dict[str, Any]]:
    command = [BIN / "asyncsched", "runs", "--store", store, "-n", "1000", "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_the_shop_fires_once_packs_by_workers_alone_and_survives_one_of_them(store: str, tmp_path: Path) -> None:
    says = [tmp_path / name for name in ("web", "one", "two")]
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        workers = {
            process.pid: process for process in (stack.enter_context(started(WORKER, store, path)) for path in says[1:])
        }
        fd = listening.fileno()
        stack.enter_context(started([*WEB, "--fd", str(fd), "--timeout-graceful-shutdown", "5"], store, says[0], fd))

        def ask(path: str, method: str = "GET") -> dict[str, Any]:
            with urlopen(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=PATIENCE_S) as response:
                answer: dict[str, Any] = json.load(response)
                return answer

        def pid_of(run: str) -> int:
            return int((ask(f"/runs/{run}")["node"] or ":0").rpartition(":")[2])

        ids = [ask(f"/orders/{order}", "POST")["run"] for order in range(8)]
        assert [ask(f"/orders/{order}", "POST")["run"] for order in range(8)] == ids
        assert [ask(f"/orders/{order}/packed")["said"] for order in range(8)] == [
            f"order {order} is packed" for order in range(8)
        ]
        with pytest.raises(HTTPError, match="404"):
            ask("/runs/unknown")
        assert {pid_of(run) for run in ids} <= workers.keys()

        long = [ask(f"/orders/{order}?seconds=2", "POST")["run"] for order in range(100, 112)]
        begun = until(lambda: next((run for run in reversed(long) if pid_of(run)), None), says)
        victim = pid_of(begun)
        workers[victim].kill()
        for order in range(100, 112):
            assert ask(f"/orders/{order}/packed")["said"] == f"order {order} is packed"
        (survivor,) = workers.keys() - {victim}
        after = [run for run in listed(store, "--task", "shop.tasks:pack") if run["id"] in long]
        assert [run["status"] for run in after] == ["SUCCESS"] * len(long)
        assert pid_of(begun) == survivor

        # Four web servers and two workers served the task, and each of its instants is one run or one skip.
        instants = Counter(run["scheduled_for"] for run in listed(store, "--task", "shop.tasks:look_for_parcels"))
        assert len(instants) >= 3
        assert set(instants.values()) == {1}
    assert "drained" in says[1 + list(workers).index(survivor)].read_text()
    assert not [path for path in says if "Traceback" in path.read_text()]


# -- the files


@cache
def option_names(*words: str) -> set[str]:
    said = subprocess.run([BIN / words[0], *words[1:], "--help"], capture_output=True, text=True, timeout=PATIENCE_S)
    assert said.returncode == 0, said.stderr
    return set(re.findall(r"--[a-z-]+", said.stdout))


def check_command(words: list[str]) -> None:
    """The program is ours or uvicorn, it has such options, and the target can be imported."""
    verb = [words[0]] if words[0] == "uvicorn" else words[:2]
    target, *rest = words[len(verb) :]
    assert {word for word in rest if word.startswith("--")} <= option_names(*verb)
    import_target(*target.split(":"))


@cache
def import_target(module: str, attribute: str = "scheduler") -> None:
    """It can be imported, in a process of its own."""
    look = f"import importlib; getattr(importlib.import_module({module!r}), {attribute!r})"
    subprocess.run([sys.executable, "-c", look], cwd=SHOP.parent, check=True, timeout=PATIENCE_S)


def test_the_compose_file_starts_what_the_shop_has() -> None:
    compose = yaml.safe_load((SHOP / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    commands = {name: shlex.split(service["command"]) for name, service in services.items() if "command" in service}
    assert set(WEB) <= set(commands["web"])
    assert commands["worker"] == WORKER
    for words in commands.values():
        check_command(words)
    assert {name for service in services.values() for name in service.get("depends_on", {})} <= services.keys()
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["worker"]["stop_grace_period"] == "40s"
    assert services["migrate"]["environment"]["SHOP_STORE"].endswith("?migrate=no")


def test_the_image_has_the_extras_that_are_there() -> None:
    (requirement,) = re.findall(r'"(asyncsched\[.*?\])"', (SHOP / "Dockerfile").read_text(encoding="utf-8"))
    assert requirement == "asyncsched[cli,postgres]"
    assert {"cli", "postgres"} <= set(re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", ["shop-worker@.service", "shop-web.service"])
def test_the_units_start_what_the_shop_has_and_give_it_time_to_end(name: str) -> None:
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string((SHOP / name).read_text(encoding="utf-8"))
    program, *rest = shlex.split(unit["Service"]["ExecStart"])
    check_command([Path(program).name, *rest])
    assert int(unit["Service"]["TimeoutStopSec"]) > 30  # the shutdown_timeout of both
    assert unit["Service"]["KillMode"] == "mixed"

"""Nodes that are processes of their own at one store, and tell line by line what happens in them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

# Nobody waits longer for a line: what hangs is to fail, not to hang the suite.
PATIENCE_S = 150

PROGRAM = """
import asyncio, ctypes, json, os, resource, signal, sys, time
from asyncsched import Registry, Scheduler, current_run
from asyncsched.events import NodeLost, RunLost

registry = Registry()

def say(word, **more):
    print(json.dumps({"word": word, "at": time.monotonic(), **more}), flush=True)

def say_of(word, run, **more):
    say(word, run=run.id, fence=run.fence, lost=run.lost, key=run.idempotency_key, **more)

async def watch(seconds, stays=None):
    run = current_run()
    say_of("began", run)
    told = False
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            await asyncio.sleep(0.01)
            if run.lost and not told:
                told = True
                say_of("lost", run)
                until = until if stays is None else time.monotonic() + stays
    except asyncio.CancelledError:
        say_of("cancelled", run)
        raise
    say_of("ended", run)
    return os.getpid()

@registry.task(id="work", history_limit=100_000)
async def work(seconds: float, again: float | None = None) -> int:
    return await watch(seconds if again is None or current_run().fence == 1 else again)

@registry.task(id="stubborn", history_limit=100_000, on_lost="continue")
async def stubborn() -> int:
    return await (watch(60.0, stays=0.3) if current_run().fence == 1 else watch(0.3))

@registry.task(id="block", history_limit=100_000)
async def block(seconds: float) -> int:
    say_of("began", current_run())
    time.sleep(seconds)
    return os.getpid()

@registry.task(id="spin", history_limit=100_000)
async def spin(seconds: float) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
    return os.getpid()

@registry.task(id="die", history_limit=100_000)
async def die(how: str) -> None:
    say_of("began", current_run())
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    match how:
        case "exit":
            os._exit(9)
        case "segfault":
            ctypes.string_at(0)
        case "killed":  # as by the kernel, when memory is short
            os.kill(os.getpid(), signal.SIGKILL)

@registry.task(id="quick", history_limit=100_000)
async def quick(number: int) -> int:
    return number

@registry.task(id="one", history_limit=100_000, key="customer", max_running=1)
async def one(customer: str, first: float = 0.05) -> None:
    say_of("began", current_run(), customer=customer)
    await asyncio.sleep(first if current_run().fence == 1 else 0.05)
    say_of("ended", current_run(), customer=customer)

@registry.task(id="unique", history_limit=100_000, unique="order")
async def unique(order: str) -> str:
    await asyncio.sleep(1)
    return order

async def obey(scheduler, line):
    words = json.loads(line)
    match words:
        case ["submit", task, *args]:
            run = await {t.id: t for t in registry}[task].submit(*args)
            say("submitted", run=run.id)
        case ["many", task, count, *args]:
            runs = await asyncio.gather(*({t.id: t for t in registry}[task].submit(*args) for _ in range(count)))
            say("submitted", runs=[run.id for run in runs])
        case ["cancel", run_id]:
            before = time.monotonic()
            say("told", stopped=await scheduler.runs.cancel(run_id, "not wanted"), before=before)
        case ["wait", run_id]:
            run = await scheduler.runs.get(run_id)
            try:
                value = await run
            except Exception as error:
                value = type(error).__name__
            say("over", run=run.id, status=run.status, reason=run.reason, value=value)

async def main():
    queues = None if sys.argv[2] == "serves" else []
    scheduler = Scheduler(sys.argv[1], registry=registry, queues=queues, stall_warning=None)
    scheduler.events.on([RunLost], lambda event: say("RunLost", run=event.run.id))
    scheduler.events.on([NodeLost], lambda event: say("NodeLost", runs=event.runs))
    async with scheduler:
        say("ready", pid=os.getpid())
        loop = asyncio.get_running_loop()
        orders = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
        under_way = set()
        while line := await orders.readline():
            doing = asyncio.create_task(obey(scheduler, line))
            under_way.add(doing)
            doing.add_done_callback(under_way.discard)

asyncio.run(main())
"""

# As PROGRAM, in a process that is never told that others have written.
DEAF = "from asyncsched.stores._sqlite import neighbours\nneighbours.data_version = lambda db: 0\n" + PROGRAM


class Node:
    """A process with a scheduler at a store."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.heard: list[dict[str, Any]] = []
        """What it has said."""
        self._passed_over: list[dict[str, Any]] = []
        """What nobody has asked for so far."""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def said(self, word: str, run: str | None = None) -> dict[str, Any]:
        """The next line with this word, of this run if one is given; others keep until they are asked for."""
        for said in self._passed_over:
            if said["word"] == word and run in (None, said.get("run")):
                self._passed_over.remove(said)
                return said
        async with asyncio.timeout(PATIENCE_S):
            while True:
                assert self._process.stdout is not None
                line = await self._process.stdout.readline()
                if not line:
                    assert self._process.stderr is not None
                    raise AssertionError((await self._process.stderr.read()).decode())
                said = json.loads(line)
                self.heard.append(said)
                if said["word"] == word and run in (None, said.get("run")):
                    return said
                self._passed_over.append(said)

    async def do(self, *order: Any, answer: str) -> dict[str, Any]:
        """Let it do something; what it says then."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        return await self.said(answer)

    async def submit(self, task: str, *args: Any) -> str:
        """A new run; its id."""
        return str((await self.do("submit", task, *args, answer="submitted"))["run"])

    async def over(self, run_id: str) -> dict[str, Any]:
        """How the run ended, once it has."""
        return await self.do("wait", run_id, answer="over")

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def ended(self) -> int:
        """Its exit code, once it has ended."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()


@asynccontextmanager
async def node(url: str | Path, program: str = PROGRAM, *, serves: bool = True) -> AsyncIterator[Node]:
    """A node that runs what is submitted, or only submits; it is killed when the block is left."""
    url = url if isinstance(url, str) else f"sqlite:///{url}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, url, "serves" if serves else "submits"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        started = Node(process)
        await started.said("ready")
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]

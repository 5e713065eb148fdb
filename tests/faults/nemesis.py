"""What befalls a store and its workers: planned by chance from a seed, carried out on real processes and servers."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from asyncsched.clock import to_us
from asyncsched.policy import Policy

from .chronicle import Entry, Record, Script, Story
from .grounds import LEASE_S, SWEEP_S, File
from .proxy import Proxy
from .scribe import Orders, parts_of
from .sites import SLOTS, Site
from .weather import Bounds, Trouble

RECOVERY_S = LEASE_S + SWEEP_S + 1
_SCRIBE = Path(__file__).with_name("scribe.py")
_COLUMNS = (
    *("id", "task", "status", "reason", "attempt", "token", "scheduled_at", "stands_for"),
    *("created_at", "finished_at", "flow", "result"),
)
_OF_SERVERS = ("crash", "reset", "black hole", "nothing comes back", "nothing goes there")
KINDS = {
    "sqlite": ("kill", "stop", "term", "lock"),
    "postgres": ("kill", "stop", "term", *_OF_SERVERS),
    "redis": ("kill", "stop", "term", *_OF_SERVERS),
}
_OF_ALL = ("crash", "lock")
_OF_STORES = (*_OF_SERVERS, "lock")
# How long each lasts, in seconds: a stop and a black hole up to two leases and more, and a killed one is replaced.
_LASTS_S = {
    "kill": (0.1, 2.0),
    "stop": (LEASE_S * 0.3, LEASE_S * 2.5),
    "term": (0.0, 0.0),
    "lock": (0.5, 6.0),
    "crash": (0.0, 2.0),
    "reset": (0.0, 3.0),
    "black hole": (0.5, LEASE_S * 2.5),
    "nothing comes back": (0.5, LEASE_S * 2.5),
    "nothing goes there": (0.5, LEASE_S * 2.5),
}


class Fault(NamedTuple):
    """What is to happen: when, for how long, and to which worker, or to all of them."""

    at_s: float
    lasts_s: float
    kind: str
    slot: int | None


def plan_of(random: Random, kinds: Sequence[str], until_s: float) -> list[Fault]:
    """Faults of these kinds, one, some or all of them at once, and calm times between them."""
    found, at_s = [], 2.0
    while at_s < until_s:
        kind = random.choice([*kinds, "all", "calm"])
        chosen = list(kinds) if kind == "all" else [] if kind == "calm" else [kind]
        new = [_fault(random, one, at_s + random.uniform(0, 0.5)) for one in chosen]
        found += new
        at_s = max([at_s, *(fault.at_s + fault.lasts_s for fault in new)])
        at_s += random.uniform(0.5, 3.0) if new and random.random() < 0.6 else RECOVERY_S + random.uniform(3.0, 8.0)
    return sorted(fault for fault in found if fault.at_s + fault.lasts_s < until_s)


def _fault(random: Random, kind: str, at_s: float) -> Fault:
    of_one = kind in ("kill", "stop", "term") or (kind not in _OF_ALL and random.random() < 0.6)
    return Fault(at_s, random.uniform(*_LASTS_S[kind]), kind, random.randrange(SLOTS) if of_one else None)


class Nemesis:
    """The workers of a site, and what befalls them. As a context manager it ends all of them.

    troubles: what was done. left: who ended by themselves, and what they had said; each was replaced, as a service is.
    """

    def __init__(self, site: Site, folder: Path, lasts_s: float, *, seed: int, slow: bool) -> None:
        self.site = site
        self.folder = folder
        folder.mkdir()
        self.lasts_s = lasts_s
        self.troubles: list[Trouble] = []
        self.left: list[str] = []
        self._orders = Orders("", str(folder), "", "", "", slow=slow, seed=seed)
        self._living: dict[int, tuple[str, subprocess.Popen[bytes]]] = {}
        self._leaving: list[tuple[str, subprocess.Popen[bytes], int]] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def __enter__(self) -> Nemesis:
        return self

    def __exit__(self, *_: object) -> None:
        for process in [*(one[1] for one in self._living.values()), *(one[1] for one in self._leaving)]:
            process.kill()
            process.wait()

    # -- the workers

    def begin(self) -> None:
        """Start all workers, who declare all tasks and are there before the first fires."""
        for ahead_s in (1.5, 6.0, 24.0, 90.0):
            start = datetime.now(UTC) + timedelta(seconds=ahead_s)
            end = start + timedelta(seconds=self.lasts_s)
            self._orders = replace(self._orders, start=start.isoformat(), end=end.isoformat())
            for slot in range(SLOTS):
                self._start(slot)
            while datetime.now(UTC) < start and not all(self._ready(name) for name, _process in self._living.values()):
                time.sleep(0.02)
            expected = {script.task: _first_us(script) for script in self._scripts()}
            if datetime.now(UTC) < start and self.site.ground.watermarks() == expected:
                time.sleep(max(0.0, start.timestamp() - time.time()))
                return
            for slot in range(SLOTS):
                self._kill(slot)
            self.site.ground.clear()
            for file in self.folder.iterdir():
                file.unlink()
        raise AssertionError("this machine is too slow for three workers to come before the first fires")

    def _start(self, slot: int) -> None:
        self._number += 1
        orders = replace(self._orders, url=self.site.urls[slot], name=f"w{self._number}")
        command = [sys.executable, str(_SCRIBE), json.dumps(asdict(orders))]
        with (self.folder / f"said-{orders.name}").open("wb") as said:
            self._living[slot] = orders.name, subprocess.Popen(command, stdout=said, stderr=said)

    def _ready(self, name: str) -> bool:
        return (self.folder / f"ready-{name}").exists()

    def _tend(self) -> None:
        """Replace those who have ended by themselves."""
        for slot, (name, process) in list(self._living.items()):
            if process.poll() is not None:
                if self._ready(name):  # one that was still on its way in may have found nobody there
                    self.left.append(f"{_now_us()} {name} ended with {process.returncode}: {self._said(name)}")
                self._start(slot)

    def _said(self, name: str) -> str:
        return (self.folder / f"said-{name}").read_text(errors="replace")[-1000:]

    # -- what befalls them

    def befall(self, plan: Sequence[Fault]) -> None:
        """Carry out the plan; returns when all of it is over."""
        begun_s = time.monotonic()
        for fault in plan:
            self._later(begun_s + fault.at_s, lambda fault=fault: self._do(fault))  # type: ignore[misc]
        while self._due:
            self._due.sort()
            at_s, _number, act = self._due[0]
            self._tend()
            if (wait_s := at_s - time.monotonic()) > 0:
                time.sleep(min(wait_s, 0.05))
            else:
                del self._due[0]
                act()

    def _later(self, at_s: float, act: Callable[[], None]) -> None:
        self._number += 1
        self._due.append((at_s, self._number, act))

    def _do(self, fault: Fault) -> None:
        slots = range(SLOTS) if fault.slot is None else [fault.slot]
        named = [self._living[slot][0] for slot in slots if slot in self._living]
        if not named:  # it was killed, and its replacement has not come
            return
        workers = frozenset() if fault.slot is None or fault.kind in _OF_ALL else frozenset(named)
        from_us = _now_us()
        undo = self._act(fault.kind, slots)

        def over() -> None:
            undo()
            self.troubles.append(Trouble(fault.kind, workers, from_us, _now_us()))

        self._later(time.monotonic() + fault.lasts_s, over)

    def _act(self, kind: str, slots: Sequence[int]) -> Callable[[], None]:
        """Do it; gives what makes an end of it."""
        match kind:
            case "kill":
                return self._kill(slots[0])
            case "stop":
                return self._stop(slots[0])
            case "term":
                return self._term(slots[0])
            case "lock":
                return self._lock()
            case "crash":
                return self._crash()
            case _:
                return self._cut(kind, [self.site.ways[slot] for slot in slots])

    def _kill(self, slot: int) -> Callable[[], None]:
        _name, process = self._living.pop(slot)
        process.kill()
        process.wait()
        return lambda: self._replace(slot)

    def _stop(self, slot: int) -> Callable[[], None]:
        _name, process = self._living[slot]
        process.send_signal(signal.SIGSTOP)
        return lambda: process.send_signal(signal.SIGCONT)

    def _term(self, slot: int) -> Callable[[], None]:
        name, process = self._living.pop(slot)
        process.terminate()
        self._leaving.append((name, process, _now_us()))
        return lambda: self._replace(slot)

    def _replace(self, slot: int) -> None:
        if slot not in self._living:
            self._start(slot)

    def _crash(self) -> Callable[[], None]:
        assert self.site.frail is not None
        self.site.frail.crash()
        return self.site.frail.start

    def _cut(self, kind: str, ways: Sequence[Proxy]) -> Callable[[], None]:
        for way in ways:
            if kind == "reset":
                way.refusing = True
                way.cut()
            else:
                way.hold(up=kind != "nothing comes back", down=kind != "nothing goes there")

        def release() -> None:
            for way in ways:
                way.release()

        return release

    def _lock(self) -> Callable[[], None]:
        """Somebody else begins to write into the file, and comes to no end."""
        assert isinstance(self.site.ground, File)
        db = sqlite3.connect(self.site.ground.path, timeout=10, isolation_level=None)
        with contextlib.suppress(sqlite3.OperationalError):  # one that was stopped holds it
            db.execute("BEGIN IMMEDIATE")
        return db.close

    # -- the end

    def finish(self, patience_s: float) -> list[str]:
        """Wait until all fires have been made and all runs have ended, and end all workers; what went wrong."""
        end_s = datetime.fromisoformat(self._orders.end).timestamp()
        while time.time() < end_s:
            self._tend()
            time.sleep(0.05)
        until_s = time.monotonic() + patience_s
        while not (over := self.site.ground.over()) and time.monotonic() < until_s:
            self._tend()
            time.sleep(0.2)
        found = [] if over else [f"not over after {patience_s:.0f} s: {self.site.ground.watermarks()}"]
        for slot in list(self._living):
            self._term(slot)
        return [*found, *self.left, *(said for one in self._leaving if (said := self._badly_left(*one)))]

    def _badly_left(self, name: str, process: subprocess.Popen[bytes], told_us: int) -> str | None:
        """What is wrong with how one left who was told to, if anything is."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(60)
        code, said = process.poll(), self._said(name)
        if code == 0 or (code == -signal.SIGTERM and not self._ready(name)):  # it was still on its way in
            return None
        cut_off = any(one.until_us + RECOVERY_S * 1e6 >= told_us for one in self.troubles if one.kind in _OF_STORES)
        if code == 1 and "errors.StoreError: " in said and cut_off:  # it could not take its leave
            return None
        return f"{name} was told to leave and ended with {code}: {said}"

    def story(self, bounds: Bounds | None, slowness: Sequence[Trouble]) -> Story:
        """All that there is to be judged."""
        watermarks = self.site.ground.watermarks()
        scripts = [script._replace(watermark_us=watermarks[script.task]) for script in self._scripts()]
        rows = self.site.ground.rows(*_COLUMNS)
        records = [Record(*(row[name] for name in _COLUMNS), row["live"]) for row in rows]
        troubles = [*self.troubles, *slowness]
        return Story(scripts, records, entries_in(self.folder), troubles, bounds, self._forgotten())

    def _forgotten(self) -> list[tuple[int, int]]:
        """The times of which the server has lost what it had answered, if the workers have noticed that it has.

        While the disk syncs, Redis answers for up to two seconds what it has not yet written, with ``everysec``.
        """
        said = (file.read_text(errors="replace") for file in self.folder.glob("said-*"))
        if self.site.kind != "redis" or not any("has forgotten what it had acknowledged" in text for text in said):
            return []
        crashes = [one for one in self.troubles if one.kind == "crash"]
        spans = [(one.from_us - 3_000_000, one.until_us + int(RECOVERY_S * 1e6)) for one in crashes]
        print(f"the server has forgotten what it had answered, at one of {len(spans)} crashes at least")
        return spans

    def _scripts(self) -> list[Script]:
        start_us = to_us(datetime.fromisoformat(self._orders.start))
        found = []
        for part in parts_of(self._orders):
            policy = Policy.of(part.options)
            grace_us = None if policy.grace is None else policy.grace // timedelta(microseconds=1)
            script = Script(part.task, part.trigger, start_us, None, policy.missed, grace_us, policy.overlap)
            found.append(script._replace(jitter_us=policy.jitter_us, needs=part.needs))
        return found


def _first_us(script: Script) -> int | None:
    return None if script.trigger is None else script.trigger.next_us(script.first_us - 1)


def entries_in(folder: Path) -> list[Entry]:
    """What the diaries tell."""
    found: list[Entry] = []
    for file in sorted(folder.glob("diary-*")):
        worker = file.name.partition("-")[2]
        began: dict[tuple[str, str], int] = {}
        for line in file.read_text().split("\n")[:-1]:  # the last one may have been cut off
            kind, run, token, at_us, *more = line.split(" ")
            if kind == "began":
                began[run, token] = len(found)
                task, scheduled = more
                scheduled_us = None if scheduled == "-" else int(scheduled)
                found.append(Entry(task, scheduled_us, run, int(token), worker, int(at_us), None))
            else:
                place = began[run, token]
                found[place] = found[place]._replace(ended_us=int(at_us))
    return found


def _now_us() -> int:
    return time.time_ns() // 1000

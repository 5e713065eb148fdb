"""Real servers, in processes of their own, on ports of the system's choice."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.request import urlopen

APPS = Path(__file__).parent / "apps"
# What a loaded machine may take to start or to stop four processes, in seconds.
PATIENCE = 30.0


def command(app: str, fd: int, workers: int) -> list[str]:
    """How the app is served from a listening socket that the server inherits."""
    target = f"{app}:app"
    match app, workers:
        case "aiohttp_app", 1:
            return [str(APPS / "aiohttp_app.py"), str(fd)]
        case "aiohttp_app", _:
            kind = ["--worker-class", "aiohttp.GunicornWebWorker", "--graceful-timeout", "5", "--no-control-socket"]
            return ["-m", "gunicorn", "--bind", f"fd://{fd}", "--workers", str(workers), *kind, target]
        case "quart_app", 1:  # with several workers, hypercorn kills the others when one has stopped
            return ["-m", "hypercorn", "--bind", f"fd://{fd}", target]
    return ["-m", "uvicorn", "--fd", str(fd), "--workers", str(workers), "--log-level", "warning", target]


class Server:
    """A running server, and what its processes have noted."""

    def __init__(self, app: str, workers: int, folder: Path, **env: str) -> None:
        self.notes_file = folder / "notes"
        self.notes_file.touch()
        self.said_file = folder / "said"
        env |= {"BEATS": str(self.notes_file), "TMPDIR": str(folder), "PYTHONPATH": str(APPS), "PYTHONUNBUFFERED": "1"}
        # Whoever connects before the server is there waits in the socket's queue; when it is gone, so is the socket.
        with socket.create_server(("127.0.0.1", 0)) as listening, self.said_file.open("wb") as said:
            self.port = listening.getsockname()[1]
            self.process = subprocess.Popen(
                [sys.executable, *command(app, listening.fileno(), workers)],
                cwd=APPS,
                env=os.environ | env,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                pass_fds=[listening.fileno()],
            )

    def double(self, number: int) -> dict[str, int]:
        """What the app answers: the result of a run, and the process that it was in."""
        with urlopen(f"http://127.0.0.1:{self.port}/double/{number}", timeout=PATIENCE) as response:
            answer: dict[str, int] = json.load(response)
            return answer

    def notes(self, what: str) -> list[tuple[int, float]]:
        """Process and instant of what was noted under this name, in order."""
        lines = [line.split() for line in self.notes_file.read_text(encoding="utf-8").splitlines()]
        return [(int(pid), float(at)) for name, pid, at in lines if name == what]

    def pids(self, what: str) -> list[int]:
        """The processes that noted it, in order."""
        return [pid for pid, _at in self.notes(what)]

    def until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until it holds; a test fails where it does not in time."""
        end = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < end, f"{self.notes_file.read_text()}\n{self.said()}"
            assert self.process.poll() is None, self.said()
            time.sleep(0.02)

    def said(self) -> str:
        """What the server printed."""
        return self.said_file.read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """Ask the server to end, and wait until all its processes have."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def kill(self) -> list[int]:
        """End at once whatever is left: the processes that were, with those that they started."""
        left = [pid for pid in family(self.process.pid) | set(self.pids("SchedulerStarted")) if serves(pid)]
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        return left


def family(root: int) -> set[int]:
    """The process and all that descend from it."""
    children = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children[parent].append(int(stat.parent.name))
    found, new = set(), [root]
    while new:
        found.update(new)
        new = [child for pid in new for child in children[pid]]
    return found


def serves(pid: int) -> bool:
    """Whether the process is alive, and one of a server of ours: the system may have given its number anew."""
    with suppress(OSError):
        return str(APPS).encode() in Path(f"/proc/{pid}/environ").read_bytes()
    return False

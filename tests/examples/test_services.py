"""The services of the examples, served as their first lines say."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = 30
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="ends them by SIGINT")


@contextmanager
def served(*command: str) -> Iterator[str]:
    """Where the service answers, once it says so. It must end well on Ctrl-C."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, *(word.format(port=port) for word in command)],
        cwd=ROOT,
        env=os.environ | {"PORT": port, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    said = ""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            said += line
            if found := re.search(r"unning on (http://127\.0\.0\.1:\d+)", line):
                yield found[1]
                break
        process.send_signal(signal.SIGINT)
        said += process.communicate(timeout=SECONDS)[0]
    finally:
        process.kill()
        process.communicate()
    assert "unning on http" in said, said
    assert "Traceback" not in said, said


def ask(url: str, method: str = "GET") -> Any:
    with urlopen(Request(url, method=method), timeout=SECONDS) as response:
        return json.load(response)


def test_the_fastapi_service() -> None:
    with served("-m", "uvicorn", "--app-dir", "examples", "--port", "{port}", "fastapi_service:app") as url:
        run = ask(f"{url}/orders/42", "POST")["run"]
        answer = {"status": "PENDING", "result": None}
        while answer["status"] in ("PENDING", "RUNNING"):
            answer = ask(f"{url}/runs/{run}")
        assert answer == {"status": "SUCCESS", "result": "receipt of order 42 sent"}
        assert ask(f"{url}/rates") == {"EUR/KRW": 1600.0}
        with pytest.raises(OSError, match="404"):
            ask(f"{url}/runs/unknown")


def test_the_aiohttp_service() -> None:
    with served("examples/aiohttp_service.py") as url:
        assert ask(f"{url}/look", "POST") == {"said": "looked at 2 services"}
        assert set(ask(url)) == {"database", "mail"}

"""A process that writes large flows to a Redis store is killed: each flow is there whole or not at all, and goes on.

The long form does it forty times.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest

from addresses import new_url
from asyncsched.clock import SystemClock
from asyncsched.stores._redis.link import sync_client
from asyncsched.stores.redis import store_at

from .crew import LONG, SEED, seeded

SIZE = 1_000
TIMES = 40 if LONG else 1

WRITER = f"""
import asyncio, sys
from asyncsched.clock import SystemClock
from asyncsched.stores.redis import store_at
from asyncsched.testing.store_contract._making import needing

async def main() -> None:
    store = store_at(sys.argv[1])
    await store.open("writer", SystemClock())
    print("ready", flush=True)
    while True:
        runs = [needing("root")]
        for number in range(1, {SIZE}):
            runs.append(needing("below", runs[(number - 1) // 10], flow=runs[0].id))
        await store.submit(runs)
        print(runs[0].id, flush=True)

asyncio.run(main())
"""


def written_until_killed(url: str, after_s: float) -> list[str]:
    """The flows that a process was told to be there, which was killed so long after it began."""
    command = [sys.executable, "-c", WRITER, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
        return [line.strip() for line in process.stdout if line.endswith("\n")]


def flows_at(client: Any, prefix: str) -> Counter[str]:
    """How many runs of each flow are kept."""
    keys = list(client.scan_iter(f"{prefix}r:*", count=1_000))
    with client.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.hget(key, "flow")
        return Counter(pipeline.execute())


@pytest.mark.timeout(900)
async def test_of_the_flows_of_a_killed_process_each_is_whole_or_not_there(tmp_path: Any) -> None:
    random, begun = seeded("flows killed"), 0
    for _ in range(TIMES):
        url = new_url("redis", tmp_path)
        told = await asyncio.to_thread(written_until_killed, url, random.uniform(0.05, 0.5))
        store = store_at(url)
        prefix = store._address.prefix
        client = sync_client(store._address)
        begun += client.hlen(f"{prefix}stages")
        for node in client.zrange(f"{prefix}nodes", 0, -1):  # its lease is over
            client.zadd(f"{prefix}nodes", {node: 1}, xx=True)
        await store.open("heir", SystemClock())
        try:
            assert client.hlen(f"{prefix}stages") == 0
            kept = flows_at(client, prefix)
            assert set(kept.values()) <= {SIZE}
            assert set(told) <= set(kept)
            assert len(set(kept) - set(told)) <= 1  # one that was opened, and nobody was told of
            assert not list(client.scan_iter(f"{prefix}staged:*", count=1_000))
        finally:
            await store.close()
            client.close()
    print(f"seed {SEED}: of {TIMES} kills {begun} came while a flow was written")
    assert begun > 0 or not LONG

"""An aiohttp service that looks at other services every few seconds: python examples/aiohttp_service.py

pip install aiohttp                    what it needs beside asyncsched
curl localhost:8080/                   how they are
curl -X POST localhost:8080/look       look now, and wait for the answer
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from aiohttp import web

from asyncsched import Registry, Scheduler

background = Registry()
scheduler = Scheduler(registry=background, shutdown_timeout="10s")
seen: dict[str, str] = {}


@background.every("5s", immediate=True, timeout="2s")
async def look() -> str:
    """In a real service this connects to the others."""
    seen["database"] = seen["mail"] = f"well at {datetime.now(UTC):%H:%M:%S}"
    return f"looked at {len(seen)} services"


async def show(_request: web.Request) -> web.Response:
    return web.json_response(seen)


async def look_now(_request: web.Request) -> web.Response:
    run = await look.submit()
    return web.json_response({"said": await run})


app = web.Application()
app.cleanup_ctx.append(scheduler.lifespan)
app.router.add_get("/", show)
app.router.add_post("/look", look_now)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))

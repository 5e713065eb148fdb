"""The web server: takes orders and fires tasks, and runs none. uvicorn --app-dir examples shop.web:app --workers 4"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException

from asyncsched import Scheduler
from asyncsched.errors import UnknownRun
from shop.tasks import STORE, background, pack

scheduler = Scheduler(STORE, registry=background, queues=[])
app = FastAPI(lifespan=scheduler.lifespan)


@app.post("/orders/{order}", status_code=202)
async def accept(order: int, seconds: float = 0.1) -> dict[str, str]:
    """An order that is sent twice is packed once."""
    run = await pack.using(idempotency_key=str(order)).submit(order, seconds)
    return {"run": run.id}


@app.get("/runs/{run_id}")
async def run_of(run_id: str) -> dict[str, Any]:
    try:
        run = await scheduler.runs.get(run_id)
    except UnknownRun as error:
        raise HTTPException(404, str(error)) from None
    return {"status": run.status, "node": run.node, "result": run.result}


@app.get("/orders/{order}/packed")
async def packed(order: int) -> dict[str, str]:
    """Waits until a worker has packed it, on whichever machine."""
    return {"said": await (await pack.using(idempotency_key=str(order)).submit(order))}

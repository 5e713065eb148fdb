"""A FastAPI service that does its background work itself: uvicorn --app-dir examples fastapi_service:app

pip install fastapi uvicorn                              what it needs beside asyncsched
curl -X POST localhost:8000/orders/42                    accepts an order; its receipt is sent in the background
curl localhost:8000/runs/<the id that this gave>         what became of the receipt
curl localhost:8000/rates                                the rates of this minute
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI, HTTPException

from asyncsched import Registry, Retry, Scheduler
from asyncsched.errors import UnknownRun

background = Registry()
scheduler = Scheduler(registry=background, shutdown_timeout="10s")
app = FastAPI(lifespan=scheduler.lifespan)
rates: dict[str, float] = {}


@background.every("1m", immediate=True)
async def refresh_rates() -> None:
    """In a real service this asks another one."""
    rates["EUR/KRW"] = 1600.0 + len(rates)


@background.task(retry=Retry(attempts=5, wait="1s", factor=2))
async def send_receipt(order: int) -> str:
    """Tried again when it fails; the request that asked for it has long been answered."""
    await asyncio.sleep(0.1)
    return f"receipt of order {order} sent"


@app.post("/orders/{order}", status_code=202)
async def accept(order: int) -> dict[str, str]:
    run = await send_receipt.submit(order)
    return {"run": run.id}


@app.get("/runs/{run_id}")
async def run_of(run_id: str) -> dict[str, Any]:
    try:
        run = await scheduler.runs.get(run_id)
    except UnknownRun as error:
        raise HTTPException(404, str(error)) from None
    return {"status": run.status, "result": run.result}


@app.get("/rates")
async def current_rates() -> dict[str, float]:
    return rates

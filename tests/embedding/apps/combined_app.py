"""The scheduler within a lifespan of the program's own."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import beats
from fastapi import FastAPI, Request


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    beats.note("opened", time.time())
    async with beats.scheduler.lifespan(app) as state:
        yield {**state, "factor": 2}
    beats.note("closed", time.time())


app = FastAPI(lifespan=lifespan)


@app.get("/double/{number}")
async def double(number: int, request: Request) -> dict[str, int]:
    assert (request.state.scheduler, request.state.factor) == (beats.scheduler, 2)
    return await beats.answer(number)

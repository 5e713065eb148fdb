"""Both type checkers accept ``scheduler.lifespan`` wherever a web framework takes one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from fastapi import FastAPI
from litestar import Litestar
from quart import Quart
from starlette.applications import Starlette

from asyncsched import Scheduler

scheduler = Scheduler()

starlette_app = Starlette(lifespan=scheduler.lifespan)
fastapi_app = FastAPI(lifespan=scheduler.lifespan)
litestar_app = Litestar([], lifespan=[scheduler.lifespan])
quart_app = Quart("app")
quart_app.while_serving(scheduler.lifespan)
aiohttp_app = web.Application()
aiohttp_app.cleanup_ctx.append(scheduler.lifespan)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
    async with scheduler.lifespan(app) as state:
        yield {**state, "database": None}


combined_app = FastAPI(lifespan=lifespan)

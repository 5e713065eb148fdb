"""What the shop does in the background: declared once, served by the web servers and by the workers."""

from __future__ import annotations

import asyncio
import os

from asyncsched import Registry, Retry

STORE = os.environ.get("SHOP_STORE", "postgresql://shop:shop@localhost:5432/shop")
background = Registry()


@background.every("2s")
async def look_for_parcels() -> None:
    """Fires once every two seconds, however many processes serve it."""


@background.task(retry=Retry(attempts=5, wait="1s", factor=2))
async def pack(order: int, seconds: float = 0.1) -> str:
    """In a real shop this takes longer, and somebody else's machines."""
    await asyncio.sleep(seconds)
    return f"order {order} is packed"

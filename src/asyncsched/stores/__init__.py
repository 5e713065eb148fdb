"""Stores: where tasks, runs and history are kept."""

from asyncsched.stores._base import (
    FOREVER,
    Ack,
    Amendment,
    Cycled,
    Declared,
    FireOrder,
    Reconciled,
    RunFilter,
    Standing,
    Store,
)
from asyncsched.stores.memory import MemoryStore

__all__ = [
    "FOREVER",
    "Ack",
    "Amendment",
    "Cycled",
    "Declared",
    "FireOrder",
    "MemoryStore",
    "Reconciled",
    "RunFilter",
    "Standing",
    "Store",
]

"""Stores: where tasks, runs and history are kept."""

from asyncsched.stored import FOREVER, StoredTask, Unserved
from asyncsched.stores._base import (
    Ack,
    Amendment,
    Cycled,
    Declared,
    FireOrder,
    Notice,
    Reconciled,
    RunFilter,
    Standing,
    Store,
)
from asyncsched.stores._graphs import Decision, Follower, Lookback, Met, Offers
from asyncsched.stores.memory import MemoryStore

__all__ = [
    "FOREVER",
    "Ack",
    "Amendment",
    "Cycled",
    "Decision",
    "Declared",
    "FireOrder",
    "Follower",
    "Lookback",
    "MemoryStore",
    "Met",
    "Notice",
    "Offers",
    "Reconciled",
    "RunFilter",
    "Standing",
    "Store",
    "StoredTask",
    "Unserved",
]

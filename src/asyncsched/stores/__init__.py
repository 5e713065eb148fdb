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
from asyncsched.stores._graphs import Decision, Follower, Lookback, Offers
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
    "Offers",
    "Reconciled",
    "RunFilter",
    "Standing",
    "Store",
]

"""A worker: runs what is submitted, and fires too. asyncsched run --app-dir examples shop.worker"""

from __future__ import annotations

from asyncsched import Scheduler
from shop.tasks import STORE, background

scheduler = Scheduler(STORE, registry=background, max_running=20, shutdown_timeout="30s")

"""The same answers from the system's zones and from the tzdata package."""

from __future__ import annotations

import json
import os
import subprocess
import sys

SCRIPT = """
import json, sys, zoneinfo
from datetime import datetime, UTC
from itertools import islice
from asyncsched.triggers import Cron
lines = ["30 2 * * *", "*/30 1 * * *", "0 0 * * *", "15 30 1 L * ?", "0 */2 * * *"]
zones = ["America/New_York", "Europe/Dublin", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia",
         "America/Sao_Paulo", "Antarctica/Troll", "Asia/Kathmandu", "Pacific/Kwajalein", "UTC"]
starts = ["1970-01-01", "1972-01-06", "1993-08-20", "2011-12-29", "2018-11-03", "2024-03-08", "2024-03-30",
          "2024-10-26", "2024-11-02", "2040-03-10", "2150-10-31", "2199-12-30"]
found = [
    [fire.isoformat() for fire in islice(Cron(line, tz=zone).upcoming(datetime.fromisoformat(start + "T00:00Z")), 6)]
    for line in lines for zone in zones for start in starts
]
json.dump({"path": zoneinfo.TZPATH, "found": found}, sys.stdout)
"""


def answers(**environment: str) -> dict[str, list[object]]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_tzdata_package_gives_the_same_answers_as_the_system() -> None:
    packaged, system = answers(PYTHONTZPATH=""), answers()
    assert packaged["path"] == []
    assert packaged["found"] == system["found"]
    assert len(packaged["found"]) == 600

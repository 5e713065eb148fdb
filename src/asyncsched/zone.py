"""Time zones by name. A name is stored, never an offset."""

from __future__ import annotations

import os
import zoneinfo
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo

from asyncsched.errors import TimeZoneError


@lru_cache(maxsize=1024)
def load_zone(name: str) -> ZoneInfo:
    """The zone of this IANA name; ``"local"`` is the system's own zone.

    Raises:
        TimeZoneError: no zone has this name.
    """
    if name == "local":
        return load_zone(system_zone_name())
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise TimeZoneError(
            f"unknown time zone {shown!r}: give a name of the IANA database, such as 'Europe/Berlin' or 'UTC'"
        ) from error


def zone_name(zone: str | tzinfo) -> str:
    """The checked name of ``zone``, which is a name, ``"local"``, a ZoneInfo or ``datetime.UTC``.

    Raises:
        TimeZoneError: there is no such zone, or it is a bare offset, which has no name.
    """
    if isinstance(zone, str):
        return load_zone(zone).key
    key = getattr(zone, "key", None)
    if isinstance(key, str):
        return load_zone(key).key
    if isinstance(zone, tzinfo) and zone.utcoffset(None) == timedelta(0) and zone.tzname(None) == "UTC":
        return "UTC"
    raise TimeZoneError(f"{zone!r} is not a named time zone: give a name such as 'Europe/Berlin', or 'UTC'")


@lru_cache(maxsize=1)
def system_zone_name() -> str:
    """The IANA name of the system's zone, verified against the offset that the system itself shows.

    tzlocal answers ``Etc/UTC`` without a word when ``TZ`` is a POSIX rule or an unknown name; a scheduler
    that believed it would fire hours off.

    Raises:
        TimeZoneError: the zone has no name, or the name does not show the system's offset; give ``tz=``.
    """
    import tzlocal

    cure = "give the zone by name, as in Scheduler(tz='Europe/Berlin')"
    spelled = os.environ.get("TZ", "")
    try:
        name = tzlocal.get_localzone_name()
        zone = ZoneInfo(name)
        if spelled and not spelled.startswith(("/", ":/")):
            ZoneInfo(spelled.removeprefix(":"))
    except Exception as error:
        raise TimeZoneError(f"the system's time zone has no IANA name (TZ={spelled!r}): {cure}") from error
    # Half a year apart, so that a POSIX rule that agrees with a zone in winter only is seen through.
    for probe in (datetime(2026, 1, 15), datetime(2026, 7, 15)):  # noqa: DTZ001 - local readings on purpose
        if probe.astimezone().utcoffset() != probe.replace(tzinfo=zone).utcoffset():
            raise TimeZoneError(f"the system's clock does not follow its zone {name!r} (TZ={spelled!r}): {cure}")
    return name


@lru_cache(maxsize=1)
def tzdata_version() -> str:
    """Which edition of the IANA database the zones of this process come from, such as ``"2025b"``.

    The system's where it has one, as ``zoneinfo`` does it, else the package ``tzdata``; ``"unknown"`` where the system
    does not say which it has.
    """
    for place in map(Path, zoneinfo.TZPATH):
        if (place / "Etc" / "UTC").is_file() or (place / "UTC").is_file():
            return _edition(place)
    try:
        from tzdata import IANA_VERSION
    except ImportError:
        return "unknown"
    return str(IANA_VERSION)


def _edition(place: Path) -> str:
    """What the files of a system's database say of its edition: macOS has a file for it, others a first line."""
    for name in ("+VERSION", "tzdata.zi"):
        try:
            with (place / name).open(encoding="ascii", errors="replace") as file:
                words = file.readline(100).split()
        except OSError:
            continue
        if words:
            return words[-1][:20]
    return "unknown"

"""Time zones by name."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta, timezone, tzinfo
from importlib import resources
from zoneinfo import ZoneInfo

import pytest

from asyncsched.errors import ConfigError, TimeZoneError
from asyncsched.zone import load_zone, system_zone_name, zone_name


@pytest.fixture
def tz(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the system's zone as ``TZ`` does; afterwards it is what it was."""
    if not hasattr(time, "tzset"):
        pytest.skip("this system does not look at TZ")

    def forget() -> None:
        time.tzset()
        system_zone_name.cache_clear()
        load_zone.cache_clear()

    def set_to(spelled: str) -> None:
        monkeypatch.setenv("TZ", spelled)
        monkeypatch.setattr("tzlocal.unix._cache_tz_name", None)
        forget()

    yield set_to
    monkeypatch.undo()
    forget()


def test_a_zone_is_loaded_by_its_name() -> None:
    assert load_zone("Asia/Seoul") == ZoneInfo("Asia/Seoul")
    assert load_zone("UTC").key == "UTC"


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "Europe", "+01:00", "UTC+1", "../UTC", "/etc/localtime", "a\x00b", "Europe/Rome ", "x" * 5000],
)
def test_an_unknown_zone_is_refused_with_a_name_that_would_do(name: str) -> None:
    with pytest.raises(TimeZoneError, match="Europe/Berlin") as caught:
        load_zone(name)
    assert isinstance(caught.value, ConfigError)
    assert repr(name[:30])[:-1] in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("zone", "name"),
    [
        ("Asia/Seoul", "Asia/Seoul"),
        (ZoneInfo("America/New_York"), "America/New_York"),
        (UTC, "UTC"),
        (timezone(timedelta(0)), "UTC"),
        ("UTC", "UTC"),
    ],
)
def test_what_is_kept_of_a_zone_is_its_name(zone: str | tzinfo, name: str) -> None:
    assert zone_name(zone) == name


@pytest.mark.parametrize("zone", [timezone(timedelta(hours=1)), timezone(timedelta(0), "GMT"), 1, b"UTC", object()])
def test_what_has_no_name_is_refused(zone: object) -> None:
    with pytest.raises(TimeZoneError, match="not a named time zone"):
        zone_name(zone)  # type: ignore[arg-type]


def test_a_zone_object_of_an_unknown_name_is_refused() -> None:
    with resources.files("tzdata.zoneinfo").joinpath("UTC").open("rb") as file:
        alien = ZoneInfo.from_file(file, key="Mars/Olympus")
    with pytest.raises(TimeZoneError, match="Mars/Olympus"):
        zone_name(alien)


@pytest.mark.parametrize("spelled", ["Asia/Kolkata", ":Europe/Berlin", "UTC"])
def test_the_system_s_zone_has_the_name_that_tz_says(tz: Callable[[str], None], spelled: str) -> None:
    tz(spelled)
    assert system_zone_name() == spelled.removeprefix(":")
    assert load_zone("local").key == zone_name("local") == spelled.removeprefix(":")


def test_a_system_that_says_nothing_has_a_zone_with_a_name_or_asks_for_one(
    tz: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tz("UTC")
    monkeypatch.delenv("TZ")
    time.tzset()
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: None)
    with pytest.raises(TimeZoneError, match=r"has no IANA name \(TZ=''\): give the zone by name"):
        system_zone_name()


@pytest.mark.parametrize("spelled", ["CET-1CEST,M3.5.0,M10.5.0/3", "EST5EDT4", "XYZ-3", "XYZ0", "Mars/Olympus"])
def test_a_system_zone_without_a_name_is_refused_with_the_cure(tz: Callable[[str], None], spelled: str) -> None:
    tz(spelled)
    with pytest.raises(TimeZoneError, match=r"Scheduler\(tz='Europe/Berlin'\)") as caught:
        system_zone_name()
    assert repr(spelled) in str(caught.value)


def test_a_name_that_does_not_show_the_system_s_offset_is_not_believed(
    tz: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    tz("Asia/Kolkata")
    monkeypatch.setattr("tzlocal.get_localzone_name", lambda: "America/New_York")
    with pytest.raises(TimeZoneError, match="does not follow its zone 'America/New_York'"):
        system_zone_name()

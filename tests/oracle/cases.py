"""Random cron lines, zones and starts: every form of every field, most starts near a change of the clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

from oracle.timeline import changes_in

# Beside each zone the years in which its clock does something unusual.
ZONES = {
    "UTC": (2024,),
    "America/New_York": (1974, 2006, 2024, 2150),
    "Australia/Lord_Howe": (1981, 2019, 2024),
    "Pacific/Apia": (2010, 2011, 2021),
    "America/Sao_Paulo": (1985, 2017, 2018, 2019),
    "Africa/Casablanca": (2017, 2018, 2024, 2037),
    "Asia/Tehran": (1977, 1979, 2005, 2022),
    "Antarctica/Troll": (2005, 2023, 2040),
    "Europe/Dublin": (1971, 1995, 2024),
    "Europe/Berlin": (1980, 2025),
    "Asia/Seoul": (1987, 1988, 2024),
    "Asia/Kathmandu": (1985, 1986),
    "America/St_Johns": (1987, 1988, 2006, 2011),
    "Pacific/Chatham": (1974, 2023),
    "Asia/Gaza": (2008, 2011, 2012, 2023),
    "America/Caracas": (2007, 2016),
    "Asia/Pyongyang": (2015, 2018),
    "America/Nuuk": (2022, 2023, 2024, 2060),
    "Africa/Monrovia": (1971, 1972),
    "Pacific/Kwajalein": (1993,),
    "Antarctica/Casey": (2009, 2010, 2018, 2023),
    "Pacific/Kiritimati": (1979, 1994),
    "America/Adak": (1983, 2024),
    "Africa/Juba": (1972, 2000, 2021),
}
_MONTHS = [
    "JAN",
    "FEB",
    "MAR",
    "APR",
    "MAY",
    "JUN",
    "JUL",
    "AUG",
    "SEP",
    "OCT",
    "NOV",
    "DEC",
    "january",
    "February",
    "MARCH",
    "december",
]
_WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "sunday", "Monday", "FRIDAY", "saturday"]


@dataclass(frozen=True)
class Case:
    text: str
    zone: str
    start: datetime
    dialect: str = "unix"
    days: str = "crontab"
    gap: str = "after"
    overlap: str = "first"


def random_cases(seed: int, count: int) -> list[Case]:
    random = Random(seed)
    return [_case(random) for _ in range(count)]


def _case(random: Random) -> Case:
    zone = random.choice(list(ZONES))
    start = _start(random, zone)
    dialect = "quartz" if random.random() < 0.1 else "unix"
    days = random.choices(("crontab", "both", "either"), (8, 1, 1))[0]
    return Case(
        text=_text(random, start, ZoneInfo(zone), dialect, days),
        zone=zone,
        start=start,
        dialect=dialect,
        days=days,
        gap=random.choices(("after", "skip"), (3, 1))[0],
        overlap=random.choices(("first", "both", "last"), (3, 1, 1))[0],
    )


def _start(random: Random, zone: str) -> datetime:
    year = random.choice(ZONES[zone])
    changes = changes_in(ZoneInfo(zone), year)
    if not changes or random.random() < 0.1:
        return datetime(year, 1, 1, tzinfo=UTC) + timedelta(seconds=random.uniform(0, 365 * 86400))
    reach = random.choice((2, 60, 3600, 4 * 3600, 30 * 3600, 40 * 86400))
    away = timedelta(seconds=random.randint(-reach, reach // 2))
    finer = random.choice((timedelta(0), timedelta(microseconds=-1), timedelta(microseconds=400_000)))
    return random.choice(changes) + away + finer


def _text(random: Random, start: datetime, zone: ZoneInfo, dialect: str, days: str) -> str:
    """A line. Its hours and minutes lean towards those about the start, so that changes of the clock are met."""
    if (dialect, days) == ("unix", "crontab") and random.random() < 0.02:
        return random.choice(("@yearly", "@Monthly", "@weekly", "@daily", "@midnight", "@HOURLY", "@annually"))
    near = start.astimezone(zone) + timedelta(minutes=random.randint(-30, 150))
    minute = _field(random, 0, 59, favourite=near.minute if random.random() < 0.5 else random.choice((0, 30)))
    hour = _field(random, 0, 23, favourite=near.hour)
    month = "*" if random.random() < 0.6 else _field(random, 1, 12, favourite=near.month, names=_MONTHS)
    if days == "either":
        in_month, in_week = random.choice((("*/2", "MON"), ("13", "FRI"), ("L", "*/3"), ("1-7", "SAT,SUN")))
    else:
        in_month, in_week = _days(random, near.day, dialect)
    line = f"{minute} {hour} {in_month} {month} {in_week}"
    if random.random() < 0.35:
        line = f"{_field(random, 0, 59, favourite=random.choice((0, 0, 30)))} {line}"
        if random.random() < 0.3:
            line = f"{line} {_years(random, near.year)}"
    return line if random.random() < 0.9 else f" \t{line}\t ".replace(" ", random.choice((" ", "\t", "  ")))


def _field(random: Random, low: int, high: int, *, favourite: int, names: list[str] | None = None) -> str:
    if random.random() < 0.25:
        return "*"
    count = random.choices((1, 2, 3), (6, 2, 1))[0]
    return ",".join(_item(random, low, high, favourite=favourite, names=names) for _ in range(count))


def _item(random: Random, low: int, high: int, *, favourite: int, names: list[str] | None = None) -> str:
    def value() -> str:
        if names and random.random() < 0.4:
            return random.choice(names)
        number = favourite if random.random() < 0.6 else random.randint(low, high)
        return f"{number:0{random.choice((1, 1, 1, 2, 3))}d}"

    step = random.choice((1, 2, 3, 5, 7, 15, 30, 90))
    form = random.choices(("a", "a-b", "*/n", "a-b/n", "a/n", "*"), (8, 3, 2, 2, 2, 1))[0]
    return (
        form.replace("a", value()).replace("b", value()).replace("n", str(step))
        if names is None
        else (
            {"a": value(), "a-b": f"{value()}-{value()}", "*/n": f"*/{step}"}.get(form)
            or {"a-b/n": f"{value()}-{value()}/{step}", "a/n": f"{value()}/{step}", "*": "*"}[form]
        )
    )


def _days(random: Random, near: int, dialect: str) -> tuple[str, str]:
    """Both day fields. In the quartz dialect one of them is left open, as there."""
    in_month, in_week = _day_of_month(random, near), _day_of_week(random, dialect)
    kind = random.random()
    if kind < 0.35:
        return random.choice("*?"), random.choice("*?")
    if kind < 0.6:
        return in_month, random.choice("*?")
    if kind < 0.8 or dialect == "quartz":
        return random.choice("*?"), in_week
    return in_month, (f"+{in_week}" if random.random() < 0.2 and in_week[0] != "*" else in_week)


def _day_of_month(random: Random, near: int) -> str:
    special = random.choice(
        ("L", f"L-{random.randint(1, 30)}", "LW", f"{random.randint(1, 31)}W", "1W", "L,15", "L-3W")
    )
    return special if random.random() < 0.4 else _field(random, 1, 31, favourite=near)


def _day_of_week(random: Random, dialect: str) -> str:
    low, high = (1, 7) if dialect == "quartz" else (0, 7)

    def day() -> str:
        return random.choice(_WEEKDAYS) if random.random() < 0.5 else str(random.randint(low, high))

    forms = (
        lambda: day(),
        lambda: f"{day()},{day()}",
        lambda: f"*/{random.choice((1, 2, 3, 7, 9))}",
        lambda: f"{random.randint(1, 6)}/{random.choice((1, 2, 3))}",
        lambda: random.choice(("FRI-MON", "MON-fri", "FRI-MON/2", "SAT-SUN", "friday-sunday/2", "SUN-TUE")),
        lambda: (
            random.choice(("1-5", "5-7", "7-3", "0-7", "6-0", "1-7/2", "5-1"))
            if dialect == "unix"
            else random.choice(("1-5", "5-7", "7-3", "6-2/2"))
        ),
        lambda: f"{day()}L",
        lambda: f"{day()}#{random.choice('12345L')}",
        lambda: f"{day()}#{random.choice('12345')},{day()}",
        lambda: f"L{random.randint(low, high)}",
    )
    return random.choice(forms)()


def _years(random: Random, near: int) -> str:
    return random.choice(("*", f"{near}", f"{near}-{near + 3}", f"{near + 1}", f"{near}/2", f"1970,{near},2199", "*/4"))

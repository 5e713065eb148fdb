"""The Cron trigger: stepping, binding, words, text and JSON, and croniter."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from asyncsched.clock import from_us, to_us
from asyncsched.errors import TimeZoneError, TriggerError
from asyncsched.triggers._base import Binding, Trigger
from asyncsched.triggers._cron import Cron
from asyncsched.triggers._wall import Gap, Overlap
from effort import counted_lines, lines_of

NEW_YORK = ZoneInfo("America/New_York")
ZONES = ["America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo", "America/Santiago", "UTC"]
LINES = [
    "* * * * *", "*/7 * * * *", "0 * * * *", "30 2 * * *", "15,45 0-3 * * *", "59 23 * * *", "0 0 * * *",
    "0 0 L * *", "0 0 1 * FRI#2", "0 0 29 2 *", "*/20 30 1 * * *", "0 0 0 1 1 * 2011-2013", "5 4 3 2 1 *",
]  # fmt: skip


@given(
    st.sampled_from(LINES),
    st.sampled_from(ZONES),
    st.one_of(
        st.datetimes(datetime(1969, 12, 30), datetime(2201, 1, 2)),
        # About the changes of these zones, where the short way must not be taken.
        st.sampled_from(
            [datetime(2011, 12, 30), datetime(2024, 3, 10), datetime(2024, 11, 3), datetime(2024, 4, 7)]
        ).flatmap(lambda day: st.integers(-90_000, 180_000).map(lambda after: day + timedelta(seconds=after))),
    ),
    st.sampled_from(["first", "both", "last"]),
    st.sampled_from(["after", "skip"]),
    st.sampled_from([0, 1]),
)
def test_the_short_way_and_the_long_way_agree(
    line: str, zone: str, wall: datetime, overlap: Overlap, gap: Gap, fold: int
) -> None:
    trigger = Cron(line, tz=zone, overlap=overlap, gap=gap)
    local = wall.replace(tzinfo=ZoneInfo(zone), fold=fold)
    instant_us = to_us(local.astimezone(UTC))
    found, found_us = trigger.next_after(local), trigger.next_us(instant_us)
    assert (found is None) == (found_us is None)
    if found is not None and found_us is not None:
        assert to_us(found.astimezone(UTC)) == found_us > instant_us
        assert found.tzinfo is ZoneInfo(zone)
        shown = from_us(found_us).astimezone(ZoneInfo(zone))
        assert (found.replace(tzinfo=None), found.fold) == (shown.replace(tzinfo=None), shown.fold)


def test_an_autumn_night_shows_both_passes_with_their_folds() -> None:
    start = datetime(2024, 11, 3, 0, 45, tzinfo=NEW_YORK)
    found = list(islice(Cron("*/30 * * * *", tz="America/New_York").upcoming(start), 5))
    assert [(f"{moment:%H:%M %Z}", moment.fold) for moment in found] == [
        ("01:00 EDT", 0), ("01:30 EDT", 0), ("01:00 EST", 1), ("01:30 EST", 1), ("02:00 EST", 0),
    ]  # fmt: skip


def test_the_start_is_an_instant_and_excluded() -> None:
    trigger = Cron("0 9 * * *", tz="Europe/Berlin")
    nine = datetime(2026, 1, 5, 9, tzinfo=ZoneInfo("Europe/Berlin"))
    assert trigger.next_after(nine - timedelta(microseconds=1)) == nine
    assert trigger.next_after(nine) == trigger.next_after(nine.astimezone(UTC)) == nine + timedelta(days=1)
    assert trigger.next_after(nine + timedelta(microseconds=999_999)) == nine + timedelta(days=1)
    with pytest.raises(TriggerError, match="is naive"):
        trigger.next_after(datetime(2026, 1, 5))


@pytest.mark.parametrize(
    ("line", "start", "found"),
    [
        ("0 0 29 2 */7", 2004, "2032-02-29"),
        ("0 0 29 2 */7", 2033, "2060-02-29"),
        ("0 0 29 2 */7", 2089, "2128-02-29"),
        ("0 0 0 1 1 * 2199", 1971, "2199-01-01"),
        ("0 0 31 12 +SAT", 2189, "2191-12-31"),
        ("0 0 0 1 1 * 2020", 2021, None),
    ],
)
def test_rare_fires_are_found_at_once(line: str, start: int, found: str | None) -> None:
    trigger = Cron(line, tz="UTC")
    moment, lines = lines_of(lambda: trigger.next_after(datetime(start, 3, 1, tzinfo=UTC)))
    assert lines < 15_000
    assert (moment and f"{moment:%Y-%m-%d}") == found


@pytest.mark.parametrize(
    "line",
    [
        "0 0 30 2 *",
        "0 0 31 6,11 *",
        "0 0 0 29 2 * 2023",
        "0 0 L-30 4 *",
        "0 0 31W 2 *",
        "0 0 31 4 */2",
        "0 0 30 2 +MON",
    ],
)
@pytest.mark.feature("CR12")
def test_cr12_a_line_that_no_date_matches_is_refused(line: str) -> None:
    told = r"no date in 1970-2199 ever matches .*day of month '.*', month '.*'"
    with counted_lines() as lines, pytest.raises(TriggerError, match=told):
        Cron(line, tz="UTC")
    assert lines.count < 15_000


@pytest.mark.parametrize("line", ["0 0 31 4 MON", "0 0 29 2 *", "0 0 L-29 3 *", "0 0 * 2 MON#5", "0 0 0 1 1 * 1970"])
def test_what_some_date_matches_is_accepted(line: str) -> None:
    assert Cron(line, tz="UTC").next_after(datetime(1969, 12, 31, tzinfo=UTC)) is not None


@pytest.mark.parametrize(
    ("days", "year", "month", "found"),
    [
        ("L *", 2023, 2, [28]),
        ("L-27 *", 2023, 2, [1]),
        ("L-28 *", 2023, 2, []),
        ("L-28 MON", 2023, 2, [6, 13, 20, 27]),
        ("L-28 *", 2024, 2, [1]),
        ("LW *", 2025, 8, [29]),
        ("L-1W *", 2025, 5, [30]),
        ("1W *", 2025, 2, [3]),
        ("1W *", 2025, 6, [2]),
        ("31W *", 2025, 8, [29]),
        ("31W *", 2025, 9, []),
        ("15W *", 2025, 3, [14]),
        ("15W *", 2025, 6, [16]),
        ("* MON#1,FRIL", 2025, 1, [6, 31]),
        ("* SAT#5", 2025, 3, [29]),
        ("* SAT#5", 2025, 4, []),
        ("13 +FRI", 2025, 6, [13]),
        ("13 FRI", 2025, 5, [2, 9, 13, 16, 23, 30]),
        ("30-2,15 *", 2025, 2, [1, 2, 15]),
    ],
)
def test_which_days_of_a_month(days: str, year: int, month: int, found: list[int]) -> None:
    date, weekday = days.split()
    trigger = Cron(f"0 0 {date} * {weekday}", tz="UTC")
    begin = datetime(year, month, 1, tzinfo=UTC)
    end = (begin + timedelta(days=31)).replace(day=1)
    assert [moment.day for moment in trigger.between(begin, end)] == found


def test_nothing_fires_before_1970_or_after_2199() -> None:
    early, late = datetime(1969, 6, 1, tzinfo=UTC), datetime(2199, 12, 31, 23, 30, tzinfo=UTC)
    assert Cron("0 0 * * *", tz="America/New_York").next_after(early) == datetime(1970, 1, 1, 5, tzinfo=UTC)
    # West of Greenwich the clocks still showed the last evening of 1969 when 1970 began in UTC, east its morning.
    assert Cron("* * 31 12 *", tz="America/New_York").next_after(early) == datetime(1970, 12, 31, 5, tzinfo=UTC)
    tokyo = ZoneInfo("Asia/Tokyo")
    trigger = Cron("* * * * *", tz="Asia/Tokyo")
    assert trigger.next_after(early) == datetime(1970, 1, 1, tzinfo=tokyo)
    assert trigger.next_after(datetime(1970, 1, 1, 3, tzinfo=tokyo)) == datetime(1970, 1, 1, 3, 1, tzinfo=tokyo)
    for zone in ("America/New_York", "UTC", "Asia/Tokyo"):
        trigger = Cron("0 0 * * *", tz=zone)
        assert trigger.next_after(late.replace(tzinfo=ZoneInfo(zone))) is None
        assert trigger.next_after(late + timedelta(days=400)) is None
        assert trigger.next_after(datetime.max.replace(tzinfo=UTC)) is None


OPTIONS = [
    {},
    {"tz": "Europe/Berlin"},
    {"days": "either"},
    {"dialect": "quartz", "tz": "UTC"},
    {"gap": "skip", "overlap": "both"},
    {"tz": "Asia/Seoul", "overlap": "last", "key": "app:f"},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_json_and_copies_are_equal_and_options_are_part_of_a_trigger(options: dict[str, str]) -> None:
    trigger = Cron(" 0  9 * *\tmon-fri ", **options)
    assert Trigger.from_json(json.loads(json.dumps(trigger.to_json()))) == trigger
    trigger.next_us(0)
    for made in (pickle.loads(pickle.dumps(trigger)), copy.deepcopy(trigger), eval(repr(trigger))):
        assert (made, hash(made)) == (trigger, hash(trigger))
        assert made.next_us(0) == trigger.next_us(0)
    assert [trigger == Cron("0 9 * * mon-fri", **other) for other in OPTIONS].count(True) == 1


def test_the_text_is_the_line_then_its_zone_else_json() -> None:
    assert str(Cron("0 9 * *\t*")) == "0 9 * * *"
    assert str(Cron("@daily", tz="Europe/Berlin")) == "@daily in Europe/Berlin"
    for trigger in (Cron("0 9 * * *", days="both"), Cron("H 9 * * *", key="k", tz="UTC")):
        assert Trigger.from_json(json.loads(str(trigger))) == trigger


def test_a_zone_is_checked_and_kept_by_name() -> None:
    assert Cron("0 9 * * *", tz=NEW_YORK) == Cron("0 9 * * *", tz="America/New_York")
    assert Cron("0 9 * * *", tz=UTC).tz == "UTC"
    for wrong in ("Mars/Olympus", timezone(timedelta(hours=1))):
        with pytest.raises(TimeZoneError):
            Cron("0 9 * * *", tz=wrong)


@pytest.mark.parametrize("option", ["dialect", "days", "gap", "overlap"])
def test_an_unknown_option_is_refused_with_the_known_ones(option: str) -> None:
    with pytest.raises(TriggerError, match=rf"{option}='neither' is unknown: one of \w+, "):
        Cron("0 9 * * *", **{option: "neither"})


def test_binding_fills_in_what_is_open() -> None:
    binding = Binding(zone="Asia/Seoul", anchor_us=0, key="app:report")
    assert Cron("0 9 * * *").bind(binding) == Cron("0 9 * * *", tz="Asia/Seoul")
    bound = Cron("0 9 * * *", tz="UTC")
    assert bound.bind(binding) is bound
    spread = Cron("H H * * *").bind(binding)
    assert spread == Cron("H H * * *", tz="Asia/Seoul", key="app:report")
    assert Cron("H H * * *", tz="UTC", key="other").bind(binding).key == "other"


def test_h_needs_an_id() -> None:
    cure = "spread from a task's id: give it to a task with an id"
    for use in (
        lambda: Cron("H 3 * * *", tz="UTC").next_us(0),
        lambda: Cron("H 3 * * *", tz="UTC").next_after(datetime(2026, 1, 1, tzinfo=UTC)),
        lambda: Cron("H 3 * * *").bind(Binding(zone="UTC", anchor_us=0)),
        lambda: Cron("H 3 * * *", tz="UTC").to_croniter(datetime(2026, 1, 1, tzinfo=UTC)),
    ):
        with pytest.raises(TriggerError, match=cure):
            use()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("0 * * * *", "hourly"),
        ("0 */2 * * *", "every 2 hours"),
        ("30 * * * *", "at minute 30 of every hour"),
        ("* 0 4 * * *", "every second of 04:00, every day"),
        ("0 0 4 * * *", "at 04:00, every day"),
        ("* 4 * * *", "every minute of 04:00 to 04:59, every day"),
        ("15 30 2 * * *", "at 02:30:15, every day"),
        ("0 9 * * mon-fri", "at 09:00, on Monday to Friday"),
        ("*/5 9-17 * * mon-fri", "every 5 minutes, from 09:00 to 17:59, on Monday to Friday"),
        ("0 8,20 * * sat,sun", "at 08:00 and 20:00, on Saturday and Sunday"),
        (
            "10 */30 8,12-20 * * *",
            "at second 10 of minutes 0 and 30 of every hour, in the hours 08 and 12 to 20, every day",
        ),
        ("0 0 1,15 * *", "at 00:00, on the 1st and 15th of the month"),
        ("0 0 */2 6 *", "at 00:00, on the 1st and every 2nd day after it of the month in June"),
        ("0 0 L,L-2 * *", "at 00:00, on the last day and 2nd day before the last of the month"),
        (
            "0 0 15W 1-3,12 *",
            "at 00:00, on the weekday nearest to the 15th of the month in January to March and December",
        ),
        ("0 0 LW * *", "at 00:00, on the last weekday of the month"),
        ("0 0 * * 5#2,MONL", "at 00:00, on the second Friday of the month or the last Monday of the month"),
        ("0 0 13 * FRI", "at 00:00, on the 13th of the month or on Friday"),
        ("0 0 13 * +FRI", "at 00:00, on the 13th of the month if that is Friday"),
        ("0 0 * 7,8 *", "at 00:00, every day in July and August"),
        ("0 0 0 1 1 * 2030-2033", "at 00:00, on the 1st of the month in January, only in 2030 to 2033"),
        ("H H(1-4) * * *", "at minute H of hour H(1-4), every day, H spread by the task's id"),
    ],
)
def test_words(line: str, words: str) -> None:
    assert Cron(line).describe() == words
    assert Cron(line, tz="Asia/Seoul").describe() == f"{words} (Asia/Seoul)"


def test_words_tell_the_options_that_change_the_instants() -> None:
    assert Cron("30 2 * * *", gap="skip").describe() == "at 02:30, every day, but not when the clock jumps over it"
    assert Cron("30 2 * * *", overlap="both").describe() == "at 02:30, every day, in both passes of a doubled hour"
    assert Cron("H 2 * * *", key="app:f").describe() != Cron("H 2 * * *", key="app:g").describe()


START = datetime(2026, 1, 1, tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("theirs", "options", "ours"),
    [
        ("*/5 * * * *", {}, "*/5 * * * *"),
        ("15 */5 * * * *", {"second_at_beginning": True}, "15 */5 * * * *"),
        ("*/5 * * * * 15", {}, "15 */5 * * * *"),
        ("0 0 1 1 * 7 2030", {}, "7 0 0 1 1 * 2030"),
        ("0 0 */2 * mon", {"implement_cron_bug": True}, "0 0 */2 * mon"),
        ("@daily", {}, "0 0 * * *"),
    ],
)
def test_from_croniter_reads_its_fields_in_their_order(theirs: str, options: dict[str, bool], ours: str) -> None:
    assert Cron.from_croniter(croniter(theirs, START, **options)) == Cron(ours, tz="America/New_York")


def test_from_croniter_keeps_its_day_rule_and_leaves_a_naive_zone_open() -> None:
    naive = datetime(2026, 1, 1)
    assert Cron.from_croniter(croniter("0 0 */2 * mon", naive)) == Cron("0 0 */2 * mon", days="either")
    assert Cron.from_croniter(croniter("0 0 1 * mon", naive, day_or=False)) == Cron("0 0 1 * mon", days="both")


@pytest.mark.parametrize(
    ("theirs", "options", "message"),
    [
        ("5-5 * * * *", {}, "croniter reads minute '5-5' differently"),
        ("0 22-4/3 * * *", {}, "croniter reads hour '22-4/3' differently"),
        ("0 0 15w * mon", {}, "croniter does not read day of month '15w' or day of week 'mon' as either"),
        ("0 0 31w * *", {}, "croniter moves day of month '31w'"),
        ("h * * * *", {"hash_id": "x"}, "in its own way"),
        ("r * * * *", {}, "minute 'r' is not allowed"),
        ("*/5 * * * *", {"expand_from_start_time": True}, "counts from its start"),
    ],
)
def test_from_croniter_refuses_what_differs(theirs: str, options: dict[str, bool | str], message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        Cron.from_croniter(croniter(theirs, START, **options))


def test_from_croniter_wants_one() -> None:
    with pytest.raises(TriggerError, match="is not a croniter"):
        Cron.from_croniter("* * * * *")


@pytest.mark.parametrize(
    "line",
    [
        "*/5 * * * *", "0 22-4/3 * * *", "0 0 */2 * MON", "0 0 13 * FRI", "0 0 L * MON", "0 0 15W * *",
        "0 0 1-31 * MON", "0 12 * * 5L,MON#1", "0 12 L * +FRIL", "7 */11 5-7 * * FRI-MON", "0 0 0 1 1 * 2026-2030",
        "0 12 29 2 *",
    ],
)  # fmt: skip
def test_to_croniter_fires_at_the_same_instants(line: str) -> None:
    trigger = Cron(line, tz="America/New_York")
    made = trigger.to_croniter(START.astimezone(UTC))
    for moment in islice(trigger.upcoming(START), 20):
        found = made.get_next(datetime)
        assert (found, found.utcoffset()) == (moment, moment.utcoffset())


@pytest.mark.parametrize(
    "line", ["0 0 LW * *", "0 0 L-3 * *", "0 0 15W * MON", "0 0 * * MON#1,FRI", "0 0 0 1 1 * 2150"]
)
def test_to_croniter_refuses_what_croniter_cannot_say(line: str) -> None:
    with pytest.raises(TriggerError, match="croniter"):
        Cron(line, tz="UTC").to_croniter(START)

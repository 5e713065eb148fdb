"""The rules about the line: its fields, items, names, days and ``H``. The numbers are those of the manual's rules."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from asyncsched.triggers import Binding, Cron
from oracle.views import ALL_WEEK, NEW_YORK, T0, days, november, numbers, same, weekdays


@pytest.mark.parametrize("five", ["30 2 * * *", "*/7 * * * *", "0 0 L * MON", "5 4 * 2 SUN#2", "* * * * *"])
def test_rule_6_five_six_and_seven_fields(five: str) -> None:
    plain = Cron(five, tz=NEW_YORK)
    for other in (f"0 {five}", f"0 {five} *"):
        for start in (T0, datetime(2024, 3, 10, tzinfo=UTC), datetime(2024, 11, 3, tzinfo=UTC)):
            assert same(plain, Cron(other, tz=NEW_YORK), start, 60)


def test_rule_6_seconds_stand_first_and_the_year_last() -> None:
    assert [fire.isoformat()[:19] for fire in Cron("1 2 3 4 5 * 2026", tz="UTC").upcoming(T0)] == [
        "2026-05-04T03:02:01"
    ]


@pytest.mark.parametrize("line", ["  30 2 * * *", "30\t2\t*\t*\t*\t", "\t 30  2 \t * * *  "])
def test_rule_7_spaces_and_tabs_separate(line: str) -> None:
    assert same(Cron(line, tz=NEW_YORK), Cron("30 2 * * *", tz=NEW_YORK))


@pytest.mark.parametrize(
    ("line", "part", "year", "expected"),
    [
        ("0,59 0 0 1 1 *", "second", 2025, [0, 59]),
        ("0,59 0 1 1 *", "minute", 2025, [0, 59]),
        ("0 0,23 1 1 *", "hour", 2025, [0, 23]),
        ("0 0 1,31 1 *", "day", 2025, [1, 31]),
        ("0 0 1 1,12 *", "month", 2025, [1, 12]),
        ("0 0 0 1 1 * 1970", "year", 1970, [1970]),
        ("0 0 0 1 1 * 2199", "year", 2199, [2199]),
        ("000 00 01 001 *", "month", 2025, [1]),
        ("007 08 09 02 *", "minute", 2025, [7]),
        ("0 0 1 JAN,feb,Mar,APRIL,may,June *", "month", 2025, [1, 2, 3, 4, 5, 6]),
        ("0 0 1 JuL,august,SEP,October,NOV,december *", "month", 2025, [7, 8, 9, 10, 11, 12]),
        ("0 0 1 January-MAR,11-DEC *", "month", 2025, [1, 2, 3, 11, 12]),
    ],
)
def test_rule_8_ranges_and_names(line: str, part: str, year: int, expected: list[int]) -> None:
    assert numbers(line, part, year=year) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("0", "SUN"),
        ("7", "SUN"),
        ("6", "SAT"),
        ("SUN,MON,tue,Wed,thu,fri,SAT", ALL_WEEK),
        ("sunday,Monday,TUESDAY", "SUN MON TUE"),
        ("wednesday,Thursday,friday,saturday", "WED THU FRI SAT"),
        ("MON-friday", "MON TUE WED THU FRI"),
        ("00,007,01", "SUN MON"),
    ],
)
def test_rule_8_weekdays(field: str, expected: str) -> None:
    assert weekdays(field) == expected


@pytest.mark.parametrize(
    ("line", "part", "expected"),
    [
        ("* 0 1 1 *", "minute", list(range(60))),
        ("17 0 1 1 *", "minute", [17]),
        ("10-12 0 1 1 *", "minute", [10, 11, 12]),
        ("5-5 0 1 1 *", "minute", [5]),
        ("0 22-2 1 1 *", "hour", [0, 1, 2, 22, 23]),
        ("58-1 0 1 1 *", "minute", [0, 1, 58, 59]),
        ("59-1 0 0 1 1 *", "second", [0, 1, 59]),
        ("0 0 28-3 1 *", "day", [1, 2, 3, 28, 29, 30, 31]),
        ("0 0 1 NOV-FEB *", "month", [1, 2, 11, 12]),
        ("0 */6 1 1 *", "hour", [0, 6, 12, 18]),
        ("0 0 */10 1 *", "day", [1, 11, 21, 31]),
        ("0 0 1 */5 *", "month", [1, 6, 11]),
        ("0 22-4/3 1 1 *", "hour", [1, 4, 22]),
        ("10-20/4 0 1 1 *", "minute", [10, 14, 18]),
        ("5/15 0 1 1 *", "minute", [5, 20, 35, 50]),
        ("59/15 0 1 1 *", "minute", [59]),
        ("0 0 28/2 1 *", "day", [28, 30]),
        ("0 0 1 7/3 *", "month", [7, 10]),
        ("3,1-2,2,1-5/2 0 1 1 *", "minute", [1, 2, 3, 5]),
        ("0 0 L 1,2,4 *", "day", [31, 28, 30]),
        ("0 0 L,5 2 *", "day", [5, 28]),
        ("0 0 L-3 1,2,4 *", "day", [28, 25, 27]),
        ("0 0 L-30 1-3 *", "day", [1]),
        ("0 0 L-30 1-3 *", "month", [1, 3]),
        ("0 0 L-28 2-4 *", "month", [3, 4]),
        ("0 0 LW 5,8 *", "day", [30, 29]),
        ("0 0 15W 1-3,6 *", "day", [15, 14, 16]),
        ("0 0 1W 2,3,6 *", "day", [3, 2]),
        ("0 0 31W 5,8 *", "day", [30, 29]),
        ("0 0 31W * *", "month", [1, 3, 5, 7, 8, 10, 12]),
        ("0 0 * 1 5L", "day", [31]),
        ("0 0 ? 2 FRIL", "day", [28]),
        ("0 0 * 1 MON#2", "day", [13]),
        ("0 0 * 1-6 5#5", "month", [1, 5]),
        ("0 0 * 1 MON#1,FRI", "day", [3, 6, 10, 17, 24, 31]),
        ("0 0 * 1 monday#1,5#2", "day", [6, 10]),
    ],
)
def test_section_1_3_items(line: str, part: str, expected: list[int]) -> None:
    assert numbers(line, part) == expected


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("FRI-MON", "SUN MON FRI SAT"),
        ("7-3", "SUN MON TUE WED"),
        ("5-7", "SUN FRI SAT"),
        ("5-0", "SUN FRI SAT"),
        ("FRI-SUN", "SUN FRI SAT"),
        ("FRI-MON/2", "SUN FRI"),
        ("SUN-TUE", "SUN MON TUE"),
        ("6-6", "SAT"),
        ("1-7", ALL_WEEK),
        ("0-7", ALL_WEEK),
        ("2/2", "TUE THU SAT"),
        ("*/3", "SUN WED SAT"),
        ("?", ALL_WEEK),
    ],
)
def test_section_1_3_weekday_items(field: str, expected: str) -> None:
    assert weekdays(field) == expected


@pytest.mark.parametrize(
    ("line", "part", "expected"),
    [
        ("*/90 0 1 1 *", "minute", [0]),
        ("5-9/100 0 1 1 *", "minute", [5]),
        ("0 7/24 1 1 *", "hour", [7]),
        ("0 0 */40 1 *", "day", [1]),
    ],
)
def test_rule_9_a_step_larger_than_the_field(line: str, part: str, expected: list[int]) -> None:
    assert numbers(line, part) == expected


NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@pytest.mark.parametrize(("nickname", "line"), NICKNAMES.items())
def test_rule_10_nicknames(nickname: str, line: str) -> None:
    for spelled in (nickname, nickname.upper(), nickname.title()):
        for start in (T0, datetime(2024, 11, 3, tzinfo=UTC)):
            assert same(Cron(spelled, tz=NEW_YORK), Cron(line, tz=NEW_YORK), start)


@pytest.mark.parametrize(
    ("line", "month", "expected"),
    [
        ("0 0 ? * 5#L", "2025-05", [30]),
        ("0 0 ? * L5", "2025-05", [30]),
        ("0 0 ? * FRI#L", "2025-05", [30]),
        ("0 0 L-1W * *", "2025-05", [30]),
        ("0 0 L-6W * *", "2025-05", [26]),
        ("0 0 L-30W * *", "2025-03", [3]),
    ],
)
def test_rule_11_also_accepted(line: str, month: str, expected: list[int]) -> None:
    assert days(line, month) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 13 * FRI", [2, 9, 13, 16, 23, 30]),
        ("0 0 */2 * MON", [5, 19]),
        ("0 0 1 * FRI#2", [1, 9]),
        ("0 0 L * MON", [5, 12, 19, 26, 31]),
        ("0 0 15W * MON", [5, 12, 15, 19, 26]),
        ("0 0 ? * FRI", [2, 9, 16, 23, 30]),
        ("0 0 13 * ?", [13]),
        ("0 0 13 * *", [13]),
        ("0 0 13 * */2", [13]),
        ("0 0 14 * */2", []),
        ("0 0 *,13 * FRI", [2, 9, 16, 23, 30]),
        ("0 0 13,* * FRI", list(range(1, 32))),
        ("0 0 13 * FRI,*", list(range(1, 32))),
        ("0 0 13 4 FRI", []),
        ("0 0 0 13 * FRI 2024", []),
    ],
)
def test_rule_12_which_days(line: str, expected: list[int]) -> None:
    assert days(line, "2025-05") == expected


def hashed(line: str, key: str, **options: str) -> Cron:
    return Cron(line, key=key, **options)


def test_rule_24_h_is_stable_and_spread() -> None:
    minutes = {hashed("H * * * *", f"task-{n}", tz="UTC").next_after(T0).minute for n in range(300)}  # type: ignore[union-attr]
    assert len(minutes) > 40
    assert same(hashed("H H * * *", "backup", tz="UTC"), hashed("H H * * *", "backup", tz="UTC"))
    bound = Cron("H H * * *", tz="UTC").bind(Binding(zone="UTC", anchor_us=0, key="backup"))
    assert same(bound, hashed("H H * * *", "backup", tz="UTC"))


@pytest.mark.parametrize(
    ("line", "part", "allowed"),
    [
        ("0 0 H * *", "day", range(1, 29)),
        ("0 0 1 H *", "month", range(1, 13)),
        ("0 H(3-5) * * *", "hour", range(3, 6)),
        ("H(10-12) * * * *", "minute", range(10, 13)),
        ("H 0 0 * * *", "second", range(60)),
    ],
)
def test_rule_24_h_stays_inside(line: str, part: str, allowed: range) -> None:
    for number in range(50):
        fires = list(islice(hashed(line, f"k{number}", tz="UTC").upcoming(T0), 3))
        assert len({getattr(fire, part) for fire in fires}) == 1
        assert getattr(fires[0], part) in allowed


def test_rule_24_h_with_a_step_starts_anywhere_within_it() -> None:
    starts, before = set(), T0 - timedelta(seconds=1)
    for number in range(60):
        fires = list(islice(hashed("H/15 * * * *", f"k{number}", tz="UTC").upcoming(before), 4))
        assert {later - earlier for earlier, later in pairwise(fires)} == {timedelta(minutes=15)}
        starts.add(fires[0].minute)
    assert len(starts) > 8
    assert max(starts) < 15


def test_rule_24_h_is_fixed_time() -> None:
    assert len(november(hashed("H(30-30) H(1-1) * * *", "k", tz=NEW_YORK))) == 1


def test_rule_24_without_an_id_there_is_no_h() -> None:
    with pytest.raises(ValueError, match="H"):
        Cron("H * * * *", tz="UTC").bind(Binding(zone="UTC", anchor_us=0)).next_after(T0)

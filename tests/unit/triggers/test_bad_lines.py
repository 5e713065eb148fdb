"""What is no cron line is refused when it is made: by field, text and range, at once."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest

from asyncsched.errors import TimeZoneError, TriggerError
from asyncsched.triggers import Cron
from effort import lines_of

SECONDS, MINUTE, HOUR, MONTH, YEAR = "second", "minute", "hour", "month", "year"
DAY_OF_MONTH, DAY_OF_WEEK = "day of month", "day of week"

# Where in a line of seven fields each field stands.
PLACES = [SECONDS, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK, YEAR]
NUMBERS = {SECONDS: 60, MINUTE: 60, HOUR: 24, DAY_OF_MONTH: 32, MONTH: 13, DAY_OF_WEEK: 8, YEAR: 2200}
BELOW = {DAY_OF_MONTH: "0", MONTH: "0", YEAR: "1969"}

# Wrong in every field.
ANYWHERE = ["**", "*5", "5*", "1-", "-1", "1-2-3", "1,", ",1", "1,,2", ",", "*/0", "*/-1", "*/", "*/1.5", "*/x", "/2"]
ANYWHERE += [
    "1//2",
    "1/2/3",
    "1-2/0",
    "1-2/",
    "+1/2+",
    "1.5",
    "0x5",
    "1_0",
    "MOND",
    "xyz",
    "1;2",
    "=5",
    "~",
    "$(ls)",
    "*-5",
]
ANYWHERE += ["٣", "1-٣", "1²", "1–3", "H(", "H()", "H(1-", "H/0", "H(1-99999)", "é"]

# Wrong in the fields named before them.
SOMEWHERE = [
    (SECONDS, ["?", "L", "5L", "5W", "1#2", "MON", "JAN", "LW"]),
    (MINUTE, ["?", "L", "5L", "5W", "1#2", "MON", "JAN", "5,?", "?/2", "H(0-60)"]),
    (HOUR, ["?", "L", "5L", "5W", "1#2", "FRI", "MAY", "22-24", "H(5-24)"]),
    (MONTH, ["?", "L", "5L", "5W", "1#2", "FRI", "J", "JA", "JANU", "Janua", "JAN-", "FRI-MON", "Decembe"]),
    (YEAR, ["?", "L", "2024L", "2030-2020", "2024-2200", "1960-1980", "MON"]),
    (DAY_OF_MONTH, ["0W", "32W", "1-15W", "15W,1", "1,15W", "15W/2", "W", "WL", "L-0", "L-31", "L-", "L-x", "L/2"]),
    (
        DAY_OF_MONTH,
        ["MON", "JAN", "1#2", "5L", "?,1", "1,?", "?/2", "??", "?-5", "L-5-3", "LL", "LWW", "L-31W", "LW/2"],
    ),
    (DAY_OF_MONTH, ["0-5", "5-32", "L-L", "1-L"]),
    (DAY_OF_WEEK, ["L", "5W", "LW", "#2", "5#", "5#0", "5#6", "5#-1", "8#1", "MON#", "5#1#2", "5##1", "JAN", "MO"]),
    (DAY_OF_WEEK, ["MOND", "Mondays", "FRIDA", "?,1", "?/2", "??", "1-8", "8L", "L8", "LL", "1-5L", "1-5#2", "5#2-3"]),
    (DAY_OF_WEEK, ["W", "5L/2", "++1", "+"]),
]
BAD_FIELDS = (
    [(field, text) for field in PLACES for text in ANYWHERE]
    + [(field, text) for field, texts in SOMEWHERE for text in texts]
    + [(field, str(number)) for field, number in NUMBERS.items()]
    + [(field, f"{text},{number}") for field, number in NUMBERS.items() for text in [BELOW.get(field, number)]]
    + [(field, "9" * 30) for field in PLACES]
    + list(BELOW.items())
)


def line_with(field: str, text: str) -> str:
    fields = ["0", "0", "0", "1", "1", "*", "*"]
    fields[PLACES.index(field)] = text
    return " ".join(fields)


def refusal(line: str, **options: str) -> str:
    with pytest.raises(TriggerError) as caught:
        Cron(line, tz="UTC", **options)
    assert isinstance(caught.value, ValueError)
    return str(caught.value)


def plain(text: str) -> str:
    return text.lower().replace("-", " ").replace("_", " ")


@pytest.mark.parametrize(("field", "text"), BAD_FIELDS)
def test_rule_22_a_bad_field_is_refused_by_name_and_text(field: str, text: str) -> None:
    message = refusal(line_with(field, text))
    assert field in plain(message), message
    quoted = [piece[:10] for piece in (text.strip("+"), *text.split(",")) if piece]
    assert any(piece in message for piece in quoted) or "empty item" in message, message
    assert len(message) < 600


@pytest.mark.parametrize(
    ("field", "low", "high"),
    [
        (SECONDS, "0", "59"),
        (MINUTE, "0", "59"),
        (HOUR, "0", "23"),
        (DAY_OF_MONTH, "1", "31"),
        (MONTH, "1", "12"),
        (DAY_OF_WEEK, "0", "7"),
        (YEAR, "1970", "2199"),
    ],
)
def test_rule_22_the_message_names_the_allowed_range(field: str, low: str, high: str) -> None:
    message = refusal(line_with(field, str(NUMBERS[field])))
    assert low in message
    assert high in message


@pytest.mark.parametrize(
    "line", ["", " ", "\t", "*", "* *", "* * *", "* * * *", "* * * * * * * *", "0 " * 20, "@daily 5"]
)
def test_rule_22_a_wrong_count_of_fields(line: str) -> None:
    message = refusal(line)
    assert "5" in message or "five" in message, message
    if len(line.split()) > 1 and "@" not in line:
        assert str(len(line.split())) in message, message


@pytest.mark.parametrize(
    "line", ["@reboot", "@", "@dayly", "@every 5m", "@week", "daily", "@daily@daily", "@DAILY!", "@ daily"]
)
def test_rule_22_unknown_nicknames(line: str) -> None:
    assert line.split()[0] in refusal(line)


@pytest.mark.parametrize(
    "line",
    [
        "0\u00a00 * * *",
        "0 0 * *\u2003*",
        "0\u30000 * * *",
        "0 0\n* * *",
        "0 0 * * *\n",
        "0\x0b0 * * *",
        "0 0 * * *\r",
        "0 0 * * *\x00",
    ],
)
def test_rule_22_other_blanks_than_space_and_tab(line: str) -> None:
    refusal(line)


@pytest.mark.parametrize(
    "line", ["0 0 * * * # backup", "0 0 * * * root", "0 0 1 1 * 2024 x", "CRON_TZ=UTC 0 0 * * *", "0 0 * * * ;"]
)
def test_cr13_text_after_or_before_the_line(line: str) -> None:
    refusal(line)


@pytest.mark.parametrize(
    ("day", "is_fine"), [("0", False), ("8", False), ("1", True), ("7", True), ("0-3", False), ("7-2", True)]
)
def test_rule_25_quartz_weekdays_are_1_to_7(day: str, is_fine: bool) -> None:
    if is_fine:
        Cron(f"0 0 ? * {day}", tz="UTC", dialect="quartz")
    else:
        assert DAY_OF_WEEK in plain(refusal(f"0 0 ? * {day}", dialect="quartz"))


@pytest.mark.parametrize(
    "zone", ["Mars/Olympus", "New York", "../etc/passwd", "EST5EDT6,M3", "+02:00", "x" * 5000, "\x00"]
)
def test_rule_22_unknown_zones(zone: str) -> None:
    with pytest.raises(TimeZoneError) as caught:
        Cron("0 0 * * *", tz=zone)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize(
    "line",
    [
        "0 0 30 2 *",
        "0 0 31 2 *",
        "0 0 31 4 *",
        "0 0 31 6,11 *",
        "0 0 0 29 2 * 2023",
        "0 0 0 29 2 * 2100",
        "0 0 0 29 2 * 2097-2103",
        "0 0 L-30 4 *",
        "0 0 L-29 2 *",
        "0 0 31W 2 *",
        "0 0 30W FEB *",
        "0 0 31W 4,6,9,11 *",
        "0 0 31 4 */2",
        "0 0 30 2 +MON",
        "0 0 30,31 2 ?",
        "0 0 0 ? 2 MON#5 2023",
        "0 0 0 ? 2 TUE#5 2024",
        "0 0 0 1 1 +MON 2025",
        "0 0 8 * +MON#1",
        "0 0 1 * +FRIL",
    ],
)
def test_rule_23_no_date_ever_matches(line: str) -> None:
    message, lines = lines_of(partial(refusal, line))
    assert any(part in message for part in line.split()[2:]), message
    assert lines < 70_000  # all dates of 230 years are 84,000


JUNK = {
    "one long field": "9" * 100_000,
    "many fields": "* " * 50_000,
    "a long list": ",".join(["1"] * 50_000) + " * * * *",
    "a long bad list": "0 " + ",".join(["1-"] * 30_000) + " * * *",
    "a huge number": "0 " + "9" * 99_000 + " * * *",
    "leading zeros": "0 " + "0" * 99_000 + "5 * * *",
    "many dashes": "-" * 100_000 + " * * * *",
    "nested brackets": "H" + "(" * 100_000 + " * * * *",
    "many stars": "*" * 100_000 + " * * * *",
    "slashes": "*" + "/2" * 50_000 + " * * * *",
    "hashes": "0 0 * * " + "5#" * 50_000,
    "blanks": " " * 100_000,
    "blanks between": "0" + " " * 100_000 + "x",
    "a nickname": "@" + "daily" * 20_000,
    "names": "0 0 * * " + "MON-" * 25_000,
    "letters": "LW" * 50_000,
    "digits of other scripts": "٣" * 50_000,
    "20,000 digits": "0 0 " + "1" * 20_000 + " * *",
    "surrogates": "\ud800" * 50_000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_rule_22_100_kb_of_junk_are_refused_unread(junk: str) -> None:
    message, lines = lines_of(partial(refusal, junk))
    assert len(message) < 600
    assert "256" in message  # its length is all that was looked at: no expression is tried on it
    assert lines < 400


def test_rule_22_every_refusal_is_quick() -> None:
    refused = {(field, text): lines_of(partial(refusal, line_with(field, text)))[1] for field, text in BAD_FIELDS}
    assert {what: lines for what, lines in refused.items() if lines >= 1_000} == {}


def test_cr13_a_line_has_at_most_256_characters() -> None:
    fits = "0 0 " + ",".join(["15"] * 82) + " * *"
    assert len(fits) <= 256
    assert Cron(fits, tz="UTC").next_after(datetime(2025, 1, 1, tzinfo=UTC)) is not None
    assert "256" in refusal(fits.replace("15,", "15,15,", 3))


def test_the_text_must_be_a_text() -> None:
    for wrong in (None, 5, b"0 0 * * *", ["0", "0"]):
        with pytest.raises((TriggerError, TypeError)):
            Cron(wrong, tz="UTC")  # type: ignore[arg-type]

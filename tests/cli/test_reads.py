"""What the commands that only look have in common."""

from __future__ import annotations

import json

import pytest

READS = [
    ["next", "app"],
    ["explain", "0 9 * * mon-fri"],
    ["why", "app", "backup"],
    ["graph", "app"],
    ["simulate", "app", "--from", "2026-03-28", "--to", "2026-03-30"],
]


@pytest.mark.parametrize("words", READS, ids=lambda words: words[0])
def test_each_prints_json_if_asked_to_and_words_if_not(command, words: list[str]) -> None:
    done = command(*words, "--json")
    assert (done.code, done.err) == (0, "")
    assert json.loads(done.out)
    done = command(*words)
    assert (done.code, done.err) == (0, "")
    with pytest.raises(ValueError, match=r"Expecting value|Extra data"):
        json.loads(done.out)


@pytest.mark.parametrize("words", [["why", "app"], ["graph", "app"]], ids=lambda words: words[0])
def test_an_unknown_task_is_an_error_that_offers_near_names(command, words: list[str]) -> None:
    done = command(*words, "backups", "--json")
    assert (done.code, done.out, done.err) == (2, "", "asyncsched: no task 'backups': did you mean backup?\n")

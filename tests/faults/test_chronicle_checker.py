"""The checker of chronicles: what holds together passes, and each single thing that does not is found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncsched.clock import from_us
from asyncsched.triggers import Between, Every

from .chronicle import (
    Entry,
    Mismatch,
    Record,
    Script,
    Story,
    around,
    covered,
    instants,
    lateness,
    mismatches,
    summary,
)
from .nemesis import KINDS, plan_of
from .sites import SLOTS
from .weather import SECOND_US, Bounds, Trouble, slowness

START_US = 1_800_000_000 * SECOND_US
BOUNDS = Bounds(250_000, 10 * SECOND_US)
TOOK_US = 20_000


def script(task: str, count: int = 30, **more: object) -> Script:
    """A task that fires each second."""
    start = from_us(START_US)
    trigger = Between(Every(timedelta(seconds=1), start), start, start + timedelta(seconds=count))
    return Script(task, trigger, START_US)._replace(**more)


def ran(run: str, task: str, at_us: int, late_us: int = 5_000, stands_for: int = 1) -> tuple[Record, Entry]:
    """A fire that became a run, which was carried out at once."""
    began_us = at_us + late_us
    ended_us = began_us + TOOK_US
    record = Record(run, task, "SUCCESS", None, 1, 2, at_us, stands_for, began_us, ended_us, None, "1", False)
    return record, Entry(task, at_us, run, 1, "w1", began_us, ended_us)


def skipped(run: str, task: str, at_us: int, reason: str, late_us: int, stands_for: int = 1) -> Record:
    when_us = at_us + late_us
    return Record(run, task, "SKIPPED", reason, 0, 1, at_us, stands_for, when_us, when_us, None, None, False)


def outage(script: Script, from_us: int, back_us: int, random: Random) -> Story:
    """A story by hand: nobody was there for a while, and the rest went well."""
    records, entries = [], []
    gone = [at_us for at_us in instants(script) if from_us <= at_us < back_us]
    for at_us in instants(script):
        run = f"{script.task} {at_us}"
        if at_us not in gone:
            record, entry = ran(run, script.task, at_us, random.randrange(1_000, 100_000))
        elif script.missed == "all":
            record, entry = ran(run, script.task, at_us, back_us - at_us + gone.index(at_us) * 2 * TOOK_US)
        elif back_us - at_us <= SECOND_US:
            stands_for = len(gone) if script.missed == "latest" else 1
            record, entry = ran(run, script.task, at_us, back_us - at_us, stands_for)
        elif script.missed == "skip":
            records.append(skipped(run, script.task, at_us, "missed", back_us - at_us))
            continue
        else:
            continue
        records.append(record)
        entries.append(entry)
    troubles = [Trouble("crash", frozenset(), from_us, back_us)] if gone else []
    return Story([script], records, entries, troubles, BOUNDS)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    missed = draw(st.sampled_from(("latest", "skip", "all")))
    one = script("tick", 40, missed=missed, overlap="allow")
    from_us = START_US + draw(st.integers(0, 20)) * SECOND_US
    back_us = from_us + draw(st.integers(0, 10)) * SECOND_US
    return outage(one, from_us, back_us, draw(st.randoms(use_true_random=False)))


@settings(max_examples=50)
@given(stories())
def test_a_story_that_is_true_has_no_mismatch(story: Story) -> None:
    assert mismatches(story) == []
    assert sum(record.stands_for for record in story.records) == len(instants(story.scripts[0]))
    assert "executions" in summary(story)


def without_record(story: Story, place: int) -> Story:
    return replace(story, records=[*story.records[:place], *story.records[place + 1 :]])


def again_as_another_run(story: Story, place: int) -> Story:
    record = story.records[place]._replace(id="another")
    entries = [one._replace(run="another") for one in story.entries if one.run == story.records[place].id]
    return replace(story, records=[*story.records, record], entries=[*story.entries, *entries])


def not_carried_out(story: Story, place: int) -> Story:
    return replace(story, entries=[*story.entries[:place], *story.entries[place + 1 :]])


def cut_off(story: Story, place: int) -> Story:
    entries = list(story.entries)
    entries[place] = entries[place]._replace(ended_us=None)
    return replace(story, entries=entries)


def begun_twice(story: Story, place: int) -> Story:
    return replace(story, entries=[*story.entries, story.entries[place]._replace(worker="w2")])


def of_another_fire(story: Story, place: int) -> Story:
    return moved(story, place, 1)


def moved(story: Story, place: int, by_us: int) -> Story:
    records = list(story.records)
    scheduled_us = records[place].scheduled_us
    assert scheduled_us is not None
    records[place] = records[place]._replace(scheduled_us=scheduled_us + by_us)
    return replace(story, records=records)


def changed(place: int, story: Story, **more: object) -> Story:
    records = list(story.records)
    records[place] = records[place]._replace(**more)
    return replace(story, records=records)


def not_ended(story: Story, place: int) -> Story:
    return changed(place, story, live=True)


def failed(story: Story, place: int) -> Story:
    return changed(place, story, status="FAILED", reason="lost")


def of_a_stale_token(story: Story, place: int) -> Story:
    return changed(place, story, result="7")


def before_its_time(story: Story, place: int) -> Story:
    return changed(place, story, created_us=(story.records[place].scheduled_us or 0) - 1)


def for_more(story: Story, place: int) -> Story:
    return changed(place, story, stands_for=story.records[place].stands_for + 1)


def for_no_reason(story: Story, place: int) -> Story:
    return changed(place, story, status="SKIPPED", reason="paused")


def said_to_be_missed(story: Story, place: int) -> Story:
    run = story.records[place].id
    story = replace(story, entries=[one for one in story.entries if one.run != run])
    return changed(place, story, status="SKIPPED", reason="missed", created_us=story.records[place].scheduled_us)


def said_to_overlap(story: Story, place: int) -> Story:
    run = story.records[place].id
    story = replace(story, entries=[one for one in story.entries if one.run != run])
    return changed(place, story, status="SKIPPED", reason="overlap")


def too_late(story: Story, place: int) -> Story:
    entries = list(story.entries)
    entries[place] = entries[place]._replace(began_us=entries[place].began_us + 60 * SECOND_US)
    return replace(story, entries=entries)


@pytest.mark.parametrize(
    "spoil",
    [
        without_record,
        again_as_another_run,
        not_carried_out,
        cut_off,
        begun_twice,
        of_another_fire,
        not_ended,
        failed,
        of_a_stale_token,
        before_its_time,
        for_more,
        for_no_reason,
        said_to_be_missed,
        said_to_overlap,
        too_late,
    ],
)
@settings(max_examples=20)
@given(story=stories(), chance=st.integers(0, 1000))
def test_whatever_is_spoilt_in_a_true_story_is_found(
    spoil: Callable[[Story, int], Story], story: Story, chance: int
) -> None:
    entry = story.entries[chance % len(story.entries)]  # of a record that ran
    of_entry = spoil in (not_carried_out, cut_off, begun_twice, too_late)
    place = chance % len(story.entries) if of_entry else [one.id for one in story.records].index(entry.run)
    assert mismatches(spoil(story, place))


# -- what is told apart


def alone(one: Script, *parts: Record | tuple[Record, Entry], troubles: Sequence[Trouble] = ()) -> list[Mismatch]:
    """What is wrong with the records of the first fires of a task."""
    records = [part if isinstance(part, Record) else part[0] for part in parts]
    entries = [part[1] for part in parts if not isinstance(part, Record)]
    one = one._replace(watermark_us=START_US + sum(record.stands_for for record in records) * SECOND_US)
    return mismatches(Story([one], records, entries, troubles, BOUNDS))


def test_one_record_may_stand_for_many_fires_where_the_latest_counts() -> None:
    one, back_us = script("a"), START_US + 3 * SECOND_US
    down = [Trouble("crash", frozenset(), START_US, back_us)]
    merged = ran("r", "a", START_US + 2 * SECOND_US, SECOND_US, stands_for=3)
    assert alone(one, merged, troubles=down) == []
    assert alone(one._replace(missed="all", overlap="allow"), merged, troubles=down)
    assert alone(one, merged)  # nothing had happened
    assert [len(covered(instants(one), merged[0]))] == [3]


def test_a_skip_for_a_run_under_way_needs_one() -> None:
    one = script("a")
    record, entry = ran("long", "a", START_US)
    long = record._replace(finished_us=START_US + 1_500_000), entry._replace(ended_us=START_US + 1_500_000)
    skip = skipped("s", "a", START_US + SECOND_US, "overlap", 5_000)
    assert alone(one, long, skip) == []
    assert alone(one, (record, entry), skip)
    assert alone(one._replace(overlap="queue_one"), long, skip)
    assert alone(one._replace(overlap="allow"), long, skip)


def test_the_grace_decides_what_runs_and_what_is_skipped() -> None:
    one = script("a", missed="all", overlap="allow", grace_us=4 * SECOND_US)
    down = [Trouble("crash", frozenset(), START_US, START_US + 6 * SECOND_US)]
    old, young = skipped("s", "a", START_US, "missed", 6 * SECOND_US), ran("r", "a", START_US + SECOND_US, 4_000_000)
    assert alone(one, old, young, troubles=down) == []
    assert alone(one, ran("s", "a", START_US, 6 * SECOND_US), young, troubles=down)
    soon = skipped("s", "a", START_US, "missed", 3 * SECOND_US)
    assert alone(one, soon, young, troubles=down)


def test_a_run_may_begin_again_only_for_a_trouble_of_its_worker() -> None:
    record, last = ran("r", "a", START_US, 3 * SECOND_US)
    record = record._replace(token=3, result="2", created_us=START_US)
    first, last = last._replace(began_us=START_US, ended_us=None), last._replace(token=2, worker="w2")
    one = script("a", 1)

    def judged(*troubles: Trouble) -> list[Mismatch]:
        return mismatches(Story([one], [record], [first, last], troubles, BOUNDS))

    assert judged(Trouble("kill", frozenset({"w1"}), START_US, START_US)) == []
    assert judged(Trouble("crash", frozenset(), START_US, START_US)) == []
    assert judged(Trouble("kill", frozenset({"w2"}), START_US, START_US))
    assert judged(Trouble("kill", frozenset({"w1"}), START_US - 60 * SECOND_US, START_US - 50 * SECOND_US))
    assert judged()


def test_a_flow_has_each_of_its_tasks_once_each_after_what_it_needs() -> None:
    scripts = [
        script("top", 1, overlap="allow"),
        Script("left", None, needs=("top",)),
        Script("end", None, needs=("left",)),
    ]
    parts = [ran(task, task, START_US + place * 40_000) for place, task in enumerate(("top", "left", "end"))]
    records = [
        record._replace(flow="top", scheduled_us=None if place else START_US) for place, (record, _) in enumerate(parts)
    ]
    entries = [entry._replace(scheduled_us=None if place else START_US) for place, (_, entry) in enumerate(parts)]
    story = Story(scripts, records, entries, (), BOUNDS)
    assert mismatches(story) == []
    assert mismatches(replace(story, records=records[:2], entries=entries[:2]))
    twice = replace(
        story, records=[*records, records[2]._replace(id="more")], entries=[*entries, entries[2]._replace(run="more")]
    )
    assert mismatches(twice)
    hasty = entries[2]._replace(began_us=START_US - SECOND_US)
    assert mismatches(replace(story, entries=[*entries[:2], hasty]))
    given_up = records[2]._replace(status="SKIPPED", reason="upstream_failed")
    assert mismatches(replace(story, records=[*records[:2], given_up], entries=entries[:2]))


def test_time_is_judged_by_what_had_happened_and_not_where_the_machine_was_slow() -> None:
    one, late = script("a", 1), ran("r", "a", START_US, 900_000)
    story = Story([one], [late[0]], [late[1]], (), BOUNDS)
    assert len(mismatches(story)) == 2  # what became of the fire, and its run
    assert mismatches(replace(story, bounds=None)) == []
    assert mismatches(replace(story, troubles=slowness([(START_US, START_US + 800_000)]))) == []
    before = Trouble("stop", frozenset({"w2"}), START_US - 9 * SECOND_US, START_US - 5 * SECOND_US)
    assert mismatches(replace(story, troubles=[before])) == []
    assert [one.calm for one in lateness(story)] == [True, True]
    long_ago = before._replace(from_us=START_US - 30 * SECOND_US, until_us=START_US - 20 * SECOND_US)
    assert mismatches(replace(story, troubles=[long_ago]))


def test_what_a_server_has_forgotten_is_not_looked_for() -> None:
    one, (_record, entry) = script("a", 1), ran("r", "a", START_US)
    story = Story([one], [], [entry], (), BOUNDS)
    assert len(mismatches(story)) == 2  # the fire has no record, nor has what ran
    assert mismatches(replace(story, forgotten=[(START_US - SECOND_US, START_US + SECOND_US)])) == []
    assert len(mismatches(replace(story, forgotten=[(START_US + 1, START_US + SECOND_US)]))) == 1


def test_a_machine_that_is_slow_again_and_again_is_a_trouble_of_all() -> None:
    assert slowness([]) == slowness([(0, 50_000)]) == slowness([(0, 50_000), (5_000_000, 5_060_000)]) == []
    several = [(0, 50_000), (900_000, 960_000), (5_000_000, 5_060_000), (8_000_000, 8_200_000)]
    spans = [(one.kind, one.from_us, one.until_us) for one in slowness(several)]
    assert spans == [("slow machine", 0, 960_000), ("slow machine", 8_000_000, 8_200_000)]


def test_a_mismatch_is_told_with_what_happened_around_it() -> None:
    one, late = script("a", 1), ran("r", "a", START_US, 900_000)
    trouble = Trouble("kill", frozenset({"w2"}), START_US - 12 * SECOND_US, START_US - 11 * SECOND_US)
    story = Story([one], [late[0]], [late[1]], [trouble], BOUNDS)
    told = around(story, mismatches(story)[0])
    assert "came 0.900 s after it was owed, in calm" in told
    assert "kill of w2" in told
    assert "ran: Entry" in told


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_comes_again_with_its_seed_and_has_all_kinds_of_faults_and_calm_times(kind: str) -> None:
    plan = plan_of(Random(7), KINDS[kind], 600)
    assert plan == plan_of(Random(7), KINDS[kind], 600)
    assert {fault.kind for fault in plan} == set(KINDS[kind])
    assert {fault.slot for fault in plan} <= {None, *range(SLOTS)}
    assert all(fault.at_s + fault.lasts_s < 600 for fault in plan)
    assert max(other.at_s - one.at_s for one, other in pairwise(plan)) > 10

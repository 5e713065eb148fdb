"""When a run may start for its upstreams, and which tasks one flow consists of."""

import random
from itertools import combinations_with_replacement, pairwise
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asyncsched.errors import ConfigError, DuplicateTask, UnknownTask
from asyncsched.graph import (
    READY,
    WAIT,
    Graph,
    Member,
    Rule,
    Skip,
    State,
    Tally,
    Verdict,
    failed,
    gate_verdict,
    join_ready,
    last_part,
    latest_ready,
    verdict,
)
from asyncsched.run import RunStatus, SkipReason

RULES: tuple[Rule, ...] = get_args(Rule)
UPSTREAM_FAILED, RULE = Skip(SkipReason.UPSTREAM_FAILED), Skip(SkipReason.RULE)

# What an end is to those below: S succeeded, F failed, N was not run.
ENDS: dict[State, str] = {
    (RunStatus.SUCCESS, None): "S",
    (RunStatus.FAILED, None): "F",
    (RunStatus.CANCELLED, "by hand"): "F",
    (RunStatus.SKIPPED, "upstream_failed"): "F",
    (RunStatus.SKIPPED, "overlap"): "N",
    (RunStatus.SKIPPED, "rule"): "N",
}
OPEN: list[State] = [(RunStatus.PENDING, None), (RunStatus.RUNNING, None), (RunStatus.PENDING, "handed back")]

# By the kinds of ends among the upstreams: R the run starts, U it is skipped for a failure, L by its rule.
TABLE = """
                S F N SF SN FN SFN
    all_success R U L U  L  U  U
    all_done    R R R R  R  R  R
    any_success R U L R  R  U  R
    any_failed  L R L R  L  R  R
    none_failed R U R U  R  U  U
"""
HEAD, *LINES = (line.split() for line in TABLE.strip().splitlines())
MEANING: dict[str, Verdict] = {"R": READY, "U": UPSTREAM_FAILED, "L": RULE}
EXPECTED = {
    (line[0], frozenset(kinds)): MEANING[sign] for line in LINES for kinds, sign in zip(HEAD, line[1:], strict=True)
}


def expected(rule: Rule, states: list[State]) -> Verdict:
    """The verdict that no end to come can change; ``all_done`` has to wait for the ends themselves."""
    if all(state in ENDS for state in states):
        return EXPECTED[rule, frozenset(ENDS[state] for state in states)]
    if rule == "all_done":
        return WAIT
    first = next(state for state in states if state not in ENDS)
    place = states.index(first)
    rest = [*states[:place], *states[place + 1 :]]
    ways = {expected(rule, [*rest, end]) for end in ENDS}
    return ways.pop() if len(ways) == 1 else WAIT


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_rule_is_its_line_of_the_table_and_decides_as_early_as_it_can(rule: Rule, count: int) -> None:
    for states in combinations_with_replacement([*ENDS, *OPEN], count):
        assert verdict(rule, states) == expected(rule, list(states)), states


def test_the_table_is_complete() -> None:
    assert len(EXPECTED) == 5 * 7
    assert {rule for rule, _kinds in EXPECTED} == set(RULES)


@pytest.mark.parametrize(
    ("rule", "alone"),
    [("all_success", READY), ("all_done", READY), ("none_failed", READY), ("any_success", RULE), ("any_failed", RULE)],
)
def test_without_upstreams_all_of_none_hold_and_any_of_none_does_not(rule: Rule, alone: Verdict) -> None:
    assert verdict(rule, []) == alone


@pytest.mark.parametrize(("state", "kind"), ENDS.items())
def test_what_was_cancelled_or_skipped_for_a_failure_counts_as_failed(state: State, kind: str) -> None:
    assert failed(*state) is (kind == "F")


@pytest.mark.parametrize("state", OPEN)
def test_what_has_not_ended_has_not_failed(state: State) -> None:
    assert not failed(*state)


def test_verdicts_differ() -> None:
    assert len({WAIT, READY, UPSTREAM_FAILED, RULE}) == 4
    assert WAIT != READY


@given(st.lists(st.sampled_from([*ENDS])), st.integers(0, 5))
def test_counting_one_end_after_the_other_gives_the_same_counts(ends: list[State], waiting: int) -> None:
    tally = Tally(waiting=waiting + len(ends))
    for end in ends:
        tally = tally.after(*end)
    assert tally == Tally.of([*ends, *[OPEN[0]] * waiting])


# --- the shape of the graph


def graph(text: str) -> Graph:
    """One task in each word: ``c<a,b`` needs a and b, ``c*`` has a trigger of its own."""
    members = []
    for word in text.split():
        name, _, needs = word.partition("<")
        members.append(Member(name.rstrip("*"), [*filter(None, needs.split(","))], own_trigger=name.endswith("*")))
    return Graph(members)


def test_a_graph_tells_its_edges() -> None:
    diamond = graph("d<b,c b<a c<a a")
    assert diamond.needs("d") == ["b", "c"]
    assert diamond.followers("a") == ["b", "c"]
    assert diamond.followers("d") == ()
    assert diamond.below("a") == ["b", "c", "d"]
    assert list(diamond) == ["d", "b", "c", "a"]
    assert len(diamond) == 4
    assert "b" in diamond
    assert "x" not in diamond
    assert diamond["b"].rule == "all_success"


def test_a_graph_without_tasks_is_empty() -> None:
    assert len(Graph()) == 0


def test_a_flow_does_not_pass_through_a_task_with_a_trigger_of_its_own() -> None:
    own = graph("a b<a report*<b mail<report late<b")
    assert own.below("a") == ["b", "late"]
    assert own.below("report") == ["mail"]
    assert own.followers("b") == ["report", "late"]
    assert own.roots("report") == {"report"}
    assert own.roots("mail") == {"report"}
    assert own.sides("report") == {}
    assert not own.is_join("report")


def test_a_join_begins_flows_of_its_own() -> None:
    both = graph("a b x<a j<x,b k<j l<k,j")
    assert both.below("a") == ["x"]
    assert both.below("b") == []
    assert both.below("j") == ["k", "l"]
    assert both.is_join("j")
    assert both.roots("j") == {"a", "b"}
    assert both.roots("x") == both.roots("a") == {"a"}
    assert both.roots("l") == {"j"}
    assert not both.is_join("l")


def test_the_sides_of_a_join_are_its_upstreams_by_root() -> None:
    both = graph("a b x<a y<a j<x,b,y")
    assert both.sides("j") == {"a": ["x", "y"], "b": ["b"]}
    assert both.sides("y") == {"a": ["a"]}
    assert both.sides("a") == {}


def test_what_follows_a_join_and_what_is_above_it_is_a_join_again() -> None:
    again = graph("a b x<a j<x,b k<j,x")
    assert again.sides("k") == {"j": ["j"], "a": ["x"]}
    assert again.below("j") == again.below("b") == []


def test_a_task_and_one_with_a_trigger_above_it_have_different_roots() -> None:
    assert graph("a o*<a k<o,a").roots("k") == {"o", "a"}


def test_a_run_by_hand_takes_along_what_needs_nothing_from_elsewhere() -> None:
    diamond = graph("a b<a c<a d<b,c e<b")
    assert diamond.below("b") == ["e"]
    assert diamond.below("d") == []


@pytest.mark.parametrize(
    ("rule", "one", "both"),
    [(rule, rule in ("any_success", "any_failed"), True) for rule in RULES],
)
def test_a_join_runs_when_all_its_sides_are_ready_or_one_where_any_will_do(rule: Rule, one: bool, both: bool) -> None:
    assert join_ready(rule, [True, False]) is one
    assert join_ready(rule, [True, True]) is both
    assert join_ready(rule, [False, False]) is False


# --- what cannot be


def test_an_unknown_upstream_is_named_and_so_is_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"task 'app:load' depends on 'app:extrct'.*did you mean 'app:extract'\?"):
        Graph([Member("app:extract"), Member("app:load", ["app:extrct"])])
    with pytest.raises(ConfigError, match=r"depends on 'extract'.*did you mean 'app.long.path:extract'\?"):
        Graph([Member("app.long.path:extract"), Member("app:load", ["extract"])])
    with pytest.raises(ConfigError, match="depends on 'zzz', which is no task's id: register that task too"):
        Graph([Member("app:extract"), Member("app:load", ["zzz"])])


def test_nobody_is_told_to_depend_on_itself() -> None:
    with pytest.raises(ConfigError) as caught:
        Graph([Member("app:load", ["app:loads"])])
    assert "did you mean" not in str(caught.value)


def test_a_cycle_is_named_from_its_first_task_on() -> None:
    with pytest.raises(ConfigError, match=r": a -> b -> a$"):
        graph("x a<b,x b<a")
    with pytest.raises(ConfigError, match=r": a -> c -> b -> a$"):
        graph("below<a a<b b<c c<a")


def test_a_trigger_of_its_own_does_not_make_a_cycle_right() -> None:
    with pytest.raises(ConfigError, match=r": a -> b -> a$"):
        graph("a*<b b*<a")


def test_other_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="task 'a' depends on itself: a -> a"):
        graph("a<a")
    with pytest.raises(ConfigError, match="task 'b' depends on 'a' twice"):
        graph("a b<a,a")
    with pytest.raises(DuplicateTask, match="'a'"):
        graph("a a")
    with pytest.raises(ConfigError, match="task 'a' has rule='all': one of all_success, all_done, any_success"):
        Graph([Member("a", rule="all")])  # type: ignore[arg-type]
    for ask in (Graph().needs, Graph().followers, Graph().below, Graph().roots, Graph().sides, Graph().is_join):
        with pytest.raises(UnknownTask, match="'a'"):
            ask("a")


def test_the_last_part_of_an_id_is_the_name_of_its_function() -> None:
    assert [last_part(each) for each in ("app.etl:load", "etl.load", "app:f.<locals>.load", "load")] == ["load"] * 4


def test_long_chains_and_wide_joins_have_no_limit() -> None:
    names = [f"t{number}" for number in range(10_000)]
    chain = Graph(Member(name, names[number - 1 : number]) for number, name in enumerate(names))
    assert chain.below("t0") == names[1:]
    wide = Graph([Member("root"), *(Member(name, ["root"]) for name in names), Member("end", names)])
    assert wide.below("root") == [*names, "end"]
    many = Graph([*(Member(name) for name in names), Member("end", names)])
    assert many.roots("end") == set(names)
    names.append(names[0])
    with pytest.raises(ConfigError, match=r"t0 -> t1 -> .* -> t9999 -> t0$"):
        Graph(Member(name, [names[number - 1] if number else names[-2]]) for number, name in enumerate(names[:-1]))


# --- the laws

Edges = list[list[int]]


@st.composite
def edges(draw: st.DrawFn, most: int = 60) -> Edges:
    """What each of the tasks 0, 1, 2 ... needs: some of those before it."""
    size = draw(st.integers(1, most))
    return [
        draw(st.lists(st.integers(0, number - 1), max_size=4, unique=True)) if number else [] for number in range(size)
    ]


def reference(needs: Edges, rules: list[Rule], would: list[State]) -> list[State]:
    """The end of every task of one flow, from the first to the last; ``would``: how it ends if it runs."""
    ends = would[:1]
    for above, rule, own in zip(needs[1:], rules[1:], would[1:], strict=True):
        kinds = [ENDS[ends[each]] for each in above]
        good, bad, rest = kinds.count("S"), kinds.count("F"), kinds.count("N")
        runs = {
            "all_success": not bad and not rest,
            "all_done": True,
            "any_success": good > 0,
            "any_failed": bad > 0,
            "none_failed": not bad,
        }
        ends.append(own if runs[rule] else (RunStatus.SKIPPED, "upstream_failed" if bad else "rule"))
    return ends


class Flow:
    """One flow as a store may keep it: the counts of each task's upstreams, or the ends that it has to ask for."""

    def __init__(self, tasks: Graph, would: dict[str, State], *, counts: bool) -> None:
        self.tasks = tasks
        self.would = would
        self.counts = counts
        below = tasks.below("0")
        self.tally = {each: Tally(waiting=len(tasks.needs(each))) for each in below}
        self.states: dict[str, State] = dict.fromkeys(["0", *below], OPEN[0])
        self.running = ["0"]

    def end(self, each: str, end: State) -> None:
        """Record the end, then decide on its followers, and theirs where they are skipped."""
        ended = [(each, end)]
        for name, state in ended:
            self.states[name] = state
            for follower in self.tasks.followers(name):
                self.tally[follower] = self.tally[follower].after(*state)
                if self.states[follower] == OPEN[0] and isinstance(found := self.decide(follower), Skip):
                    self.states[follower] = (RunStatus.SKIPPED, found.reason)
                    ended.append((follower, self.states[follower]))

    def decide(self, each: str) -> Verdict:
        rule = self.tasks[each].rule
        if self.counts:
            found = self.tally[each].verdict(rule)
        else:
            found = verdict(rule, [self.states[need] for need in self.tasks.needs(each)])
        if found == READY:
            self.states[each] = (RunStatus.RUNNING, None)
            self.running.append(each)
        return found

    def run(self, order: random.Random) -> dict[str, State]:
        while self.running:
            each = self.running.pop(order.randrange(len(self.running)))
            self.end(each, self.would[each])
        return self.states


@settings(max_examples=500, deadline=None)
@given(edges(), st.randoms(use_true_random=False), st.booleans(), st.data())
def test_a_flow_ends_as_the_reference_says_in_whatever_order_its_runs_end(
    needs: Edges, order: random.Random, counts: bool, data: st.DataObject
) -> None:
    size = len(needs)
    needs = [above or [0] if number else [] for number, above in enumerate(needs)]
    rules = data.draw(st.lists(st.sampled_from(RULES), min_size=size, max_size=size))
    would = data.draw(st.lists(st.sampled_from([*ENDS]), min_size=size, max_size=size))
    members = [Member(str(each), [*map(str, needs[each])], rules[each]) for each in range(size)]
    order.shuffle(members)
    flow = Flow(Graph(members), {str(each): end for each, end in enumerate(would)}, counts=counts)
    assert flow.run(order) == {str(each): end for each, end in enumerate(reference(needs, rules, would))}


@settings(max_examples=500, deadline=None)
@given(edges(), st.sets(st.integers(0, 59), max_size=5))
def test_flows_are_what_the_definitions_say(needs: Edges, own: set[int]) -> None:
    tasks = Graph(Member(str(each), [*map(str, above)], own_trigger=each in own) for each, above in enumerate(needs))
    heads: list[int] = []
    for each, above in enumerate(needs):
        over = {heads[need] for need in above} if above and each not in own else {each}
        heads.append(over.pop() if len(over) == 1 else each)
    for start in range(len(needs)):
        below = [int(each) for each in tasks.below(str(start))]
        reached = {start}
        for each, above in enumerate(needs):
            if above and each not in own and each != start and reached.issuperset(above):
                reached.add(each)
        assert sorted([start, *below]) == sorted(reached)
        for place, each in enumerate(below):  # upstreams first
            assert set(needs[each]) <= {start, *below[:place]}
        if heads[start] == start:  # a root: every task is one, or below exactly one
            assert set(below) == {each for each, head in enumerate(heads) if head == start} - {start}
        else:
            assert {heads[each] for each in below} <= {heads[start]}


@settings(max_examples=500, deadline=None)
@given(edges(20), st.sets(st.integers(0, 19), max_size=5))
def test_the_sides_of_a_task_are_its_upstreams_by_their_roots(needs: Edges, own: set[int]) -> None:
    tasks = Graph(Member(str(each), [*map(str, above)], own_trigger=each in own) for each, above in enumerate(needs))
    for each, above in enumerate(needs):
        name, free = str(each), each not in own
        sides = tasks.sides(name)
        assert sorted(need for side in sides.values() for need in side) == sorted(map(str, above if free else []))
        for root, side in sides.items():
            for need in side:
                assert need == root or need in tasks.below(root)
            assert [int(need) for need in side] == [need for need in above if str(need) in side]
        assert tasks.roots(name) == (set(sides) or {name})
        assert tasks.is_join(name) is (len(sides) > 1)
        assert all(root == other or root not in tasks.below(other) for root in sides for other in sides)


@settings(max_examples=500, deadline=None)
@given(st.integers(2, 14).flatmap(lambda size: st.sets(st.tuples(*[st.integers(0, size - 1)] * 2), max_size=20)))
@example({(0, 1), (1, 0), (2, 3), (3, 2)})
def test_a_cycle_is_found_where_there_is_one_and_the_path_named_is_one(arrows: set[tuple[int, int]]) -> None:
    arrows = {(above, each) for above, each in arrows if above != each}
    reach = set(arrows)
    for middle in range(14):
        reach |= {(a, d) for a, b in reach if b == middle for c, d in reach if c == middle}
    members = [Member(str(each), [str(above) for above, other in arrows if other == each]) for each in range(14)]
    if not any(a == b for a, b in reach):
        assert len(Graph(members)) == 14
        return
    with pytest.raises(ConfigError) as caught:
        Graph(members)
    path = [int(each) for each in str(caught.value).rpartition(": ")[2].split(" -> ")]
    assert path[0] == path[-1] == min(path)
    assert len(set(path)) == len(path) - 1
    assert all(step in arrows for step in pairwise(path))


# -- fires that depend on others


@pytest.mark.parametrize(
    ("dependency", "succeeded_us", "waiting", "expected"),
    [
        ("ever", [5, 9], False, READY),
        ("ever", [5, 9], True, READY),  # it has what it needs
        ("ever", [5, None], True, WAIT),
        ("ever", [5, None], False, Skip(SkipReason.DEPENDENCY)),
        ("fresh", [11, 12], False, READY),
        ("fresh", [11, 12], True, WAIT),  # what is under way may bring newer results
        ("fresh", [10, 12], True, WAIT),
        ("fresh", [10, 12], False, Skip(SkipReason.DEPENDENCY)),  # just then it was there for the fire before
        ("fresh", [None, 12], False, Skip(SkipReason.DEPENDENCY)),
    ],
)
def test_a_fire_with_upstreams(dependency: Any, succeeded_us: list[int | None], waiting: bool, expected: Any) -> None:
    assert gate_verdict(dependency, 10, succeeded_us, waiting=waiting) == expected
    if dependency == "fresh" and None not in succeeded_us:
        assert gate_verdict("fresh", None, succeeded_us, waiting=False) == READY


# -- joins


def test_the_latest_flow_of_a_side_that_is_ready() -> None:
    done, bad = (RunStatus.SUCCESS, None), (RunStatus.FAILED, None)
    flows = {"1": {"a": done, "b": done}, "2": {"a": done, "b": bad}, "3": {"a": done}}
    assert latest_ready("all_success", ["a", "b"], flows) == "1"
    assert latest_ready("all_done", ["a", "b"], flows) == "2"
    assert latest_ready("any_success", ["a", "b"], flows) == "3"
    assert latest_ready("any_failed", ["a", "b"], flows) == "2"
    assert latest_ready("all_success", ["a"], flows) == "3"
    assert latest_ready("all_success", ["a", "b"], {}) is None


def test_where_each_task_stands() -> None:
    graph = Graph(
        [
            Member("report", ["load", "rates"], own_trigger=True),
            Member("load", ["extract"]),
            Member("extract", own_trigger=True),
            Member("rates", own_trigger=True),
            Member("both", ["load", "rates"]),
        ]
    )
    assert list(graph.order).index("load") < list(graph.order).index("both")
    places = graph.places()
    assert places["extract"] == ((), (), (), 0)
    assert places["load"] == ((), (), ("both",), 1)
    assert places["rates"] == ((), (), ("both",), 0)
    assert places["report"] == (("load", "rates"), ("rates", "extract"), (), 2)
    assert graph.above("both") == ["load", "rates", "extract"]

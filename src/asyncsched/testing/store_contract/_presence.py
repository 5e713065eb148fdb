"""Which nodes are there, what each says of itself, and who is asked to drain."""

from __future__ import annotations

from dataclasses import replace

from asyncsched.nodes import NodeReport
from asyncsched.stores import Store
from asyncsched.testing.store_contract._bench import Bench, SharedBench
from asyncsched.testing.store_contract._making import a_run, claim, finish

SAID = NodeReport(
    host="häuschen", pid=7, version="1.2.3", tzdata="2025b", roles=("run",), queues=("mail",), skew_us=-2_500_000
)


class PresencePromises:
    """What a node says of itself is kept while it is there, and so is that it was asked to drain."""

    async def test_a_node_is_there_from_its_coming_to_its_leaving(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        (node,) = await store.nodes()
        assert (node.name, node.running, node.report, node.asked) == ("n1", 0, None, False)
        assert node.heard_us >= node.started_us > 0
        await store.close()
        store = await bench.enter("n2")
        assert [node.name for node in await store.nodes()] == ["n2"]
        await store.close()

    async def test_what_a_node_says_of_itself_is_kept_and_the_last_word_counts(self, store: Store) -> None:
        assert await store.report(SAID) is False
        assert [node.report for node in await store.nodes()] == [SAID]
        drains = replace(SAID, queues=None, skew_us=0, draining=True)
        assert await store.report(drains) is False
        assert await store.report(None) is False
        (node,) = await store.nodes()
        assert (node.report, node.draining, node.drained) == (drains, True, True)

    async def test_nothing_that_was_said_is_told_as_such(self, store: Store) -> None:
        assert await store.report(None) is None

    async def test_the_runs_under_way_at_a_node_are_counted(self, store: Store) -> None:
        await store.submit([a_run(), a_run(), a_run()])
        claimed = await claim(store, 2)
        assert [node.running for node in await store.nodes()] == [2]
        await finish(store, claimed)
        assert [node.running for node in await store.nodes()] == [0]

    async def test_a_node_that_is_asked_to_drain_hears_of_it_and_goes_on_being_asked(self, store: Store) -> None:
        await store.report(SAID)
        (node,) = await store.nodes()
        assert await store.ask_to_drain(node.id) is True
        assert await store.report(None) is True
        assert await store.report(replace(SAID, draining=True)) is True
        assert await store.ask_to_drain(node.id) is True
        (node,) = await store.nodes()
        assert (node.asked, node.draining, node.drained) == (True, True, True)

    async def test_nobody_is_asked_who_is_not_there(self, store: Store) -> None:
        assert await store.ask_to_drain("nobody") is False
        assert [node.asked for node in await store.nodes()] == [False]

    async def test_who_comes_anew_has_said_nothing_and_was_asked_nothing(self, bench: Bench) -> None:
        store = await bench.enter("n1")
        await store.report(SAID)
        (node,) = await store.nodes()
        await store.ask_to_drain(node.id)
        store = await bench.enter("n1")
        assert [(node.report, node.asked) for node in await store.nodes()] == [(None, False)]
        assert await store.report(None) is None
        assert await store.report(SAID) is False
        await store.close()


class SharedPresencePromises:
    """The same among several nodes."""

    async def test_all_nodes_are_told_in_the_order_in_which_they_came(self, store: Store, bench: SharedBench) -> None:
        other = await bench.beside("n2")
        await store.report(SAID)
        await other.report(replace(SAID, pid=8))
        await other.submit([a_run()])
        await claim(other)
        for each in (store, other):
            seen = [(node.name, node.report and node.report.pid, node.running) for node in await each.nodes()]
            assert sorted(seen) == [("n1", 7, 0), ("n2", 8, 1)]
        first, second = await store.nodes()
        assert first.started_us <= second.started_us
        assert first.id != second.id
        await other.close()
        assert [node.name for node in await store.nodes()] == ["n1"]

    async def test_one_node_asks_another_to_drain(self, store: Store, bench: SharedBench) -> None:
        other = await bench.beside("n2")
        await store.report(SAID)
        await other.report(SAID)
        (target,) = (node for node in await store.nodes() if node.name == "n2")
        assert await store.ask_to_drain(target.id) is True
        assert await other.report(None) is True
        assert await store.report(None) is False
        await other.close()
